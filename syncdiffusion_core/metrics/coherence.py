"""Coherence of a panorama: how alike its parts look, and whether its ends meet."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..perceptual.distance import PerceptualDistance, pairwise
from ..views.windows import WindowLayout, Windows
from .seam import wrap_seam


@dataclass(frozen=True)
class Coherence:
    """How coherent one panorama is.

    pairs: distances between non-overlapping windows, [W, W]. intra: their mean over all pairs (the paper's
    Intra-LPIPS), lower is more alike, 0 for fewer than two windows. seam: see ``wrap_seam``.
    """

    pairs: Tensor
    intra: float
    seam: float


def coherence(image: Tensor, distance: PerceptualDistance, window_px: int) -> Coherence:
    """Figures of one panorama [3, H, W] in [0, 1], windows of window_px side by side along its longer side."""
    with torch.no_grad():
        pairs = pairwise(distance, distance.features(side_by_side(image, window_px)))
    return Coherence(pairs, mean_of_pairs(pairs), wrap_seam(image))


def side_by_side(image: Tensor, window_px: int) -> Tensor:
    """Non-overlapping windows of [3, H, W] along the longer side: [W, 3, h, w]; what is left over is dropped."""
    height, width = image.shape[-2:]
    wide = width >= height
    window = (height, min(window_px, width)) if wide else (min(window_px, height), width)
    layout = WindowLayout(window[1], window[0], window[1], window[0])
    windows = layout.resolve((height, width), cell_px=1)
    kept = [origin for origin in windows.origins if origin[1 if wide else 0] % window[1 if wide else 0] == 0]
    return Windows((height, width), window, tuple(kept)).project(image[None])


def mean_of_pairs(pairs: Tensor) -> float:
    """Mean of the entries above the diagonal of [W, W]."""
    count = len(pairs)
    if count < 2:
        return 0.0
    rows, columns = torch.triu_indices(count, count, offset=1)
    return float(pairs[rows, columns].mean())
