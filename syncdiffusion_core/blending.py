"""Window weights: how much each cell of a window counts where windows overlap.

All weights are symmetric in both axes and strictly positive, so that every covered cell can be normalised.
"""

from enum import Enum

import torch
from torch import Tensor

GAUSSIAN_STD = 0.3  # in half-windows: the edge of a window weighs about 0.4 % of its centre
FLOOR = 1e-3  # the least weight of a cell, so that a cell covered by one window alone is still defined


class Blend(str, Enum):
    """The shape of a window's weight."""

    UNIFORM = "uniform"
    GAUSSIAN = "gaussian"
    FEATHERED = "feathered"


def window_weight(blend: Blend, height: int, width: int) -> Tensor:
    """Weight of each cell of a window: [height, width] float32, largest value 1 or just below.

    uniform: 1 (the papers' plain mean, Eq. 12); gaussian: separable, standard deviation 0.3 half-windows;
    feathered: a linear ramp from the edges to the middle (a tent).
    """
    return _profile(blend, height)[:, None] * _profile(blend, width)[None, :]


def _profile(blend: Blend, length: int) -> Tensor:
    """One axis of the weight, at cell centres: position u in (-1, 1), symmetric by construction."""
    u = (2 * torch.arange(length, dtype=torch.float64) + 1) / length - 1
    profiles = {
        Blend.UNIFORM: torch.ones_like(u),
        Blend.GAUSSIAN: torch.exp(-0.5 * (u / GAUSSIAN_STD) ** 2),
        Blend.FEATHERED: 1 - u.abs(),
    }
    profile = profiles[blend].clamp(min=FLOOR)
    return ((profile + profile.flip(0)) / 2).float()
