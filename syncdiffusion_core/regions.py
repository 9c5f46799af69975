"""Parts of a canvas for prompts of their own: weights that add up to 1 at every place."""

import torch
from torch import Tensor


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
