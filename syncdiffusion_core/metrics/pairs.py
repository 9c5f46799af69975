"""Means over pairs of panoramas, for many bootstrap draws at once."""

import torch
from torch import Tensor


def pair_means(values: Tensor, counted: Tensor, draws: Tensor) -> Tensor:
    """Mean of values [N, N] over the ordered pairs of different panoramas of each draw: [T], in float64.

    counted [N, N]: which pairs count. draws [T, R]: panoramas by number, which may repeat; a panorama and its copy
    are no pair. NaN for a draw that holds no pair.
    """
    counts = torch.zeros(len(draws), len(values), dtype=torch.float64, device=values.device)
    draws = draws.to(values.device)
    counts.scatter_add_(1, draws, torch.ones_like(draws, dtype=torch.float64))
    pairs = counted & ~torch.eye(len(values), dtype=torch.bool, device=values.device)
    total = ((counts @ (values.double() * pairs)) * counts).sum(dim=1)
    return total / ((counts @ pairs.double()) * counts).sum(dim=1)
