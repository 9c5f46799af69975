"""Hints of the horizon ControlNet: skylines as masks, exact ones and such as a hand would draw.

Convention: a skyline [W] is the number of rows of sky above the land of each column, in px, fractions allowed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from .scenes import HEIGHT

EXACT, SMOOTH, STRAIGHT = 0.35, 0.3, 0.25
"""Shares of training's hints left as they are, low-passed, and drawn in straight lines; the rest are steps."""


def hint_of(skylines: torch.Tensor, height: int = HEIGHT) -> torch.Tensor:
    """Pictures [N, 3, height, W] of skylines [N, W]: white land, black sky, the row of the edge by its share."""
    rows = torch.arange(height, device=skylines.device)[:, None]
    land = (rows + 1 - skylines[:, None]).clamp(0, 1)
    return land[:, None].expand(-1, 3, -1, -1)


def smooth(skyline: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian low-pass, sigma in px; the ends go on as they are."""
    reach = int(np.ceil(3 * sigma))
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    return np.convolve(np.pad(skyline, reach, mode="edge"), weights / weights.sum(), mode="valid")


def straight(skyline: np.ndarray, knots: Sequence[float]) -> np.ndarray:
    """Straight lines between the columns in knots, at the mean height around each."""
    columns = np.arange(len(skyline))
    spacing = max(2.0, len(skyline) / max(1, len(knots)))
    return np.interp(columns, knots, np.interp(knots, columns, smooth(skyline, spacing / 3)))


def steps(skyline: np.ndarray, width: int) -> np.ndarray:
    """Level pieces of width px, each at its mean rounded to a row."""
    pieces = np.split(skyline, np.arange(width, len(skyline), width))
    return np.concatenate([np.full(len(piece), np.round(piece.mean())) for piece in pieces])


def drawn(rng: np.random.Generator, skyline: np.ndarray) -> np.ndarray:
    """One skyline [W] as an artist may draw it."""
    kind = rng.random()
    if kind < EXACT:
        return skyline
    if kind < EXACT + SMOOTH:
        return smooth(skyline, rng.uniform(1.5, 14))
    if kind < EXACT + SMOOTH + STRAIGHT:
        inner = rng.uniform(0, len(skyline) - 1, len(skyline) // rng.integers(8, 40))
        return straight(skyline, [0, *np.sort(inner), len(skyline) - 1])
    return steps(skyline, int(rng.integers(3, 17)))
