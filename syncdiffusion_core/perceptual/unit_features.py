"""The arithmetic of LPIPS: unit-length features, weighted squared differences, spatial means."""

from collections.abc import Sequence

import torch
from torch import Tensor

from .distance import Features

EPS = 1e-10


def unit_normalise(features: Tensor) -> Tensor:
    """[N, C, h, w] of unit length over channels at each place.

    Where all channels are 0 the result is 0, and so is its gradient (a bare square root would give NaN).
    """
    return features / ((features.square().sum(dim=1, keepdim=True) + EPS**2).sqrt() + EPS)


def lpips_distance(features: Features, anchor: Features, weights: Sequence[Tensor]) -> Tensor:
    """Sum over layers of the spatial mean of the weighted squared difference (LPIPS, Eq. 1): [N].

    weights: one non-negative vector [C_l] a layer. The anchor's batch is N or 1.
    """
    layers = [
        ((f - a).square() * w[:, None, None]).sum(dim=1).mean(dim=(-2, -1))
        for f, a, w in zip(features, anchor, weights, strict=True)
    ]
    return torch.stack(layers).sum(dim=0)
