"""What guidance asks of a perceptual distance."""

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

Features = tuple[Tensor, ...]
Decoder = Callable[[Tensor], Tensor]
"""decode(x0 [N, C, h, w]) -> image [N, 3, H, W] in [0, 1], differentiable."""


class PerceptualDistance(Protocol):
    """Features of an image once, distances between features.

    ``constant`` is C: the effective weight of Eq. 14 is w * C * cells / 4096, so that w is the paper's number
    whatever the network (1 for LPIPS-VGG on Stable Diffusion).
    """

    constant: float

    def features(self, image: Tensor) -> Features:
        """Image [N, 3, H, W] in [0, 1] -> one tensor [N, …] a layer."""
        ...

    def distance(self, features: Features, anchor: Features) -> Tensor:
        """Distance of each row to the anchor's: [N]; the anchor's batch is N or 1."""
        ...


def pairwise(distance: PerceptualDistance, features: Features) -> Tensor:
    """All distances between the rows of one batch of features: [N, N], 0 on the diagonal."""
    count = features[0].shape[0]
    rows = [distance.distance(features, tuple(f[i : i + 1] for f in features)) for i in range(count)]
    return torch.stack(rows)
