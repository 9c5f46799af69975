"""Parts of a canvas for prompts of their own: weights that add up to 1 at every place."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import conv2d

Box = tuple[float, float, float, float]
"""(x, y, width, height) in pixels."""


def sections(count: int, length: int, blend: float = 0.5, loop: bool = False) -> Tensor:
    """Weights of ``count`` equal sections of an axis, one after the other: [count, length], columns sum to 1.

    blend: width of the crossfade between neighbours in sections, from 0 (hard borders) to 1 (from middle to
    middle). loop: the last section fades into the first.
    """
    if count < 1:
        raise ValueError(f"an axis is divided into at least 1 section, got {count}")
    if not 0 <= blend <= 1:
        raise ValueError(f"blend must be between 0 and 1 sections, got {blend}")
    place = (torch.arange(length, dtype=torch.float64) + 0.5) / length * count  # in sections

    def passed(border: int) -> Tensor:
        offset = place - border
        return (0.5 + offset / blend).clamp(0, 1) if blend > 0 else (offset >= 0).double()

    inside = [passed(k) - passed(k + 1) for k in range(-1, count + 1)]  # one more at either end
    before, weights, after = inside[0], inside[1:-1], inside[-1]
    first, last = (after, before) if loop else (before, after)
    weights[0] = weights[0] + first
    weights[-1] = weights[-1] + last  # the same one where there is one
    return torch.stack(weights).float()


def boxes_mask(boxes: Sequence[Box], size: tuple[int, int], loop: bool = False) -> Tensor:
    """1 inside any of the boxes, 0 elsewhere: [H, W] float32.

    Convention: a box is (x, y, width, height) in pixels of a canvas of ``size`` (height, width); x to the right, y
    down, the right and lower edge excluded. Fractions are rounded to whole pixels. loop: what a box has beyond the
    left or right side comes in at the other one; else it is cut off there, as it is at top and bottom.
    """
    height, width = size
    mask = torch.zeros(size)
    for box in boxes:
        x, y, x_end, y_end = round(box[0]), round(box[1]), round(box[0] + box[2]), round(box[1] + box[3])
        columns = torch.arange(x, min(x_end, x + width))
        columns = columns % width if loop else columns[(columns >= 0) & (columns < width)]
        part = mask[max(y, 0) : max(y_end, 0)]
        if not len(part) or not len(columns):
            raise ValueError(
                f"the box of {box[2]:g}x{box[3]:g} px at ({box[0]:g}, {box[1]:g}) covers nothing of a canvas of "
                f"{width}x{height} px; move it inside, or set width and height to those of the picture it was drawn on"
            )
        part[:, columns] = 1.0
    return mask


def feathered(mask: Tensor, width_px: int, loop: bool = False) -> Tensor:
    """The mask [..., H, W] with its edges faded over ``width_px`` pixels, half of them inside, half outside.

    The mean over a square of that side: a straight edge becomes the linear ramp 1/2 + distance / width_px. The mask
    goes on beyond the canvas's sides, so that what touches a side does not fade there; with loop it goes on at the
    other side, left and right.
    """
    if width_px < 0:
        raise ValueError(f"a feather is 0 pixels wide or wider, got {width_px}")
    if width_px == 0:
        return mask
    reach = width_px // 2
    taps = torch.ones(2 * reach + 1, dtype=mask.dtype, device=mask.device)
    if width_px % 2 == 0:
        taps[[0, -1]] = 0.5  # half of the pixel at either end
    taps = taps / width_px
    rows = torch.arange(-reach, mask.shape[-2] + reach, device=mask.device).clamp(0, mask.shape[-2] - 1)
    columns = torch.arange(-reach, mask.shape[-1] + reach, device=mask.device)
    columns = columns % mask.shape[-1] if loop else columns.clamp(0, mask.shape[-1] - 1)
    wide = mask[..., rows[:, None], columns].reshape(-1, 1, len(rows), len(columns))
    faded = conv2d(conv2d(wide, taps[None, None, None, :]), taps[None, None, :, None])
    return faded.clamp(0, 1).reshape(mask.shape)


def behind(mask: Tensor, region: Tensor, strength: float) -> Tensor:
    """What is left of a mask [..., H, W] behind a region of that strength: together they weigh what the mask did."""
    return mask * (1 - strength * region)
