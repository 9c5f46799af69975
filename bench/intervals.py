"""Means with their 95 % bootstrap intervals over panoramas."""

from __future__ import annotations

import torch
from torch import Tensor

RESAMPLES = 2000

Triple = tuple[float, float, float]
"""(mean, 2.5 %, 97.5 %)."""


def draws_of(count: int) -> Tensor:
    """Bootstrap draws of so many panoramas, always the same: [T, count]."""
    return torch.randint(count, (RESAMPLES, count), generator=torch.Generator().manual_seed(0))


def triple(value: float, resampled: Tensor) -> Triple:
    """A figure and the interval of what it is on draws [T]."""
    low, high = resampled.nanquantile(torch.tensor([0.025, 0.975], dtype=resampled.dtype)).tolist()
    return value, low, high


def ratio(numerator: Tensor, denominator: Tensor) -> Triple:
    """Of the means of [P] and [P], with its 95 % bootstrap interval over panoramas."""
    draws = draws_of(len(numerator))
    return triple(
        float(numerator.mean() / denominator.mean()), numerator[draws].mean(dim=1) / denominator[draws].mean(dim=1)
    )


def interval(values: Tensor) -> Triple:
    """Mean of [P] with its 95 % bootstrap interval over panoramas."""
    return triple(float(values.mean()), values[draws_of(len(values))].mean(dim=1))
