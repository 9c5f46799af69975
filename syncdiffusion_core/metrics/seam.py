"""Seams: columns of a panorama that stand out against their neighbours.

Convention: pictures are [3, H, W]; border b lies between columns b - 1 and b. For seams between rows hand in the
transposed picture.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

FLAT = 1e-6
"""The least difference of neighbours to divide by: a flat picture has no seam, and no picture an infinite one."""


def wrap_seam(image: Tensor) -> float:
    """How far the wrap of [3, H, W] stands out: the difference of the first and last columns over that of neighbours.

    A ratio of mean absolute differences, in [0, inf): around 1 the ends meet; the more above, the more visible the
    seam. Source: own.
    """
    across = (image[:, :, 0] - image[:, :, -1]).abs().mean()
    return float(across / _steps(image).mean().clamp(min=FLAT))


def border_seam(image: Tensor, borders_px: Sequence[int], reach_px: int = 1) -> float:
    """How far the windows' borders stand out in [3, H, W]: steps across them over steps everywhere else.

    borders_px: each from 1 to W - 1. reach_px: columns on each side that belong to a border; 1 takes the one step
    across it, a latent cell (8 for most models) also finds a step that a decoder has spread out.
    A ratio of mean absolute differences of neighbouring columns, in [0, inf): around 1 the borders are as smooth as
    the rest, so invisible; the more above, the more visible; below 1 they are blurred. Means over rows and borders,
    because a seam is a step that a whole column shares, while scenery has its steps anywhere; a ratio, because one
    step is lost in foliage and shows in a sky. One picture with few borders scatters: compare means over pictures.
    Source: own.
    """
    width = image.shape[2]
    if not borders_px or not all(1 <= b < width for b in borders_px):
        raise ValueError(
            f"borders_px has to name at least one border from 1 to {width - 1}, got {list(borders_px)}: leave out the "
            "picture's own edges"
        )
    if reach_px < 1:
        raise ValueError(f"reach_px has to be at least 1, got {reach_px}: 1 takes the one step across a border")
    steps, at_border = _steps(image), torch.zeros(width - 1, dtype=torch.bool, device=image.device)
    for border in borders_px:
        at_border[max(border - reach_px, 0) : border + reach_px - 1] = True  # step k lies at border k + 1
    if at_border.all():
        raise ValueError(
            f"borders_px has to leave columns between the borders, got {list(borders_px)} with reach_px {reach_px} "
            f"in a picture {width} px wide: lower reach_px"
        )
    return float(steps[at_border].mean() / steps[~at_border].mean().clamp(min=FLAT))


def _steps(image: Tensor) -> Tensor:
    """Mean absolute difference of each column of [3, H, W] to the one before: [W - 1]."""
    return (image[:, :, 1:] - image[:, :, :-1]).abs().mean(dim=(0, 1))
