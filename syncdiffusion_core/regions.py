"""Parts of a canvas for prompts of their own: weights that add up to 1 at every place."""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import pad

Box = tuple[float, float, float, float]
"""(x, y, width, height) in pixels."""

CHUNK = 2**18
"""Pixels that are feathered at a time, in double precision: as much as a processor keeps at hand."""


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
        rows = _inside(box[1], box[3], height)
        columns = _inside(box[0], box[2], width, loop)
        if not len(rows) or not len(columns):
            raise ValueError(
                f"the box of {box[2]:g}x{box[3]:g} px at ({box[0]:g}, {box[1]:g}) covers nothing of a canvas of "
                f"{width}x{height} px; move it inside, or set width and height to those of the picture it was drawn on"
            )
        mask[rows[:, None], columns] = 1.0
    return mask


def _inside(start: float, length: float, side: int, loop: bool = False) -> Tensor:
    """The pixels of [start, start + length) on a side, in no matter how large numbers."""
    first, end = round(start), round(start + length)
    if loop:
        return (torch.arange(max(min(end - first, side), 0)) + first % side) % side
    first = min(max(first, 0), side)
    return torch.arange(first, max(first, min(end, side)))


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
    faded = mask.clone().reshape(-1, *mask.shape[-2:])
    for picture in faded:
        _average(picture, width_px, loop)
        _average(picture.T, width_px, loop=False)
    return faded.clamp_(0, 1).reshape(mask.shape)


def _average(lines: Tensor, width_px: int, loop: bool) -> None:
    """Replace each pixel of [L, W] by the mean of the width_px around it in its line, some lines at a time.

    A mean is the difference of the sums up to its two ends, whatever lies between them.
    """
    for some in lines.split(max(1, CHUNK // lines.shape[-1])):
        exact = some.to(torch.float64, memory_format=torch.contiguous_format)
        sums = pad(exact.cumsum(dim=-1), (1, 0))  # up to each border of pixels: [l, W + 1]
        upto = partial(_sums_from, sums, exact[:, :1], exact[:, -1:], loop)
        reach = width_px // 2
        mean = upto(reach + 1) - upto(-reach)
        if width_px % 2 == 0:  # its ends lie in the middle of pixels
            mean = (mean + upto(reach) - upto(1 - reach)) / 2
        some.copy_(mean / width_px)


def _sums_from(sums: Tensor, first: Tensor, last: Tensor, loop: bool, border: int) -> Tensor:
    """The sums [l, W] up to W borders one after the other, from that one on, which may lie beyond the line.

    sums: [l, W + 1] up to the borders in it, from 0. first, last: pixels that go on beyond its ends.
    """
    length = sums.shape[-1] - 1
    if loop:
        turns, start = divmod(border, length)
        return torch.cat((sums[:, start:-1] + turns * sums[:, -1:], sums[:, :start] + (turns + 1) * sums[:, -1:]), -1)
    borders = torch.arange(border, border + length, dtype=sums.dtype, device=sums.device)
    before, after = borders[borders < 0], borders[borders > length]
    inside = sums[:, max(border, 0) : max(border + length, 0)]
    return torch.cat((before * first, inside, sums[:, -1:] + (after - length) * last), dim=-1)


def behind(mask: Tensor | float, region: Tensor, strength: float) -> Tensor:
    """What is left of a mask [..., H, W] behind a region of that strength: together they weigh what the mask did.

    A number is a mask that is the same everywhere.
    """
    return mask * (1 - strength * region)
