"""Views whose way back is gathered too: every cell of the canvas interpolates in each view that sees it.

For canvases with an inverse map (spheres, textures): no holes and no splatting where the canvas is finer than a view.
Unproject is then not the adjoint of project, and need not be.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .tables import ResampledViews
from .view_set import Sums


class Inverse(NamedTuple):
    """What one view says of n cells of the canvas, each named once.

    cells [n] long, of the canvas counted flat. taps [K, n] long: cells of the view, counted flat; shares [K, n] >= 0,
    1 together. weight [n] > 0: how much the view counts there.
    """

    cells: Tensor
    taps: Tensor
    shares: Tensor
    weight: Tensor

    def to(self, device: torch.device) -> "Inverse":
        """The same on a device."""
        return Inverse(*(part.to(device) for part in self))


class GatheredViews(ResampledViews):
    """``ResampledViews`` with a map of their own in the other direction, an ``Inverse`` each."""

    def __init__(
        self,
        taps: Tensor,
        weights: Tensor,
        canvas: Sequence[int],
        inverses: Sequence[Inverse],
        names: Sequence[int] | None = None,
    ) -> None:
        super().__init__(taps, weights, canvas, names=names)
        if len(inverses) != len(self):
            raise ValueError(f"inverses must be one for each of {len(self)} views, got {len(inverses)}")
        self._inverses = list(inverses)

    def unproject(self, views: Tensor) -> Sums:
        """g: views [V*N, C, …, h, w] -> sums [N, C, …, *canvas], in float32 at least, view after view."""
        dtype, length = torch.promote_types(views.dtype, torch.float32), math.prod(self.canvas)
        stacked = views.flatten(-2).unflatten(0, (len(self), -1))  # [V, N, C, …, h*w]
        total = torch.zeros(*stacked.shape[1:-1], length, dtype=dtype, device=views.device)
        weight = torch.zeros(1, 1, length, dtype=dtype, device=views.device)
        for view, inverse in zip(stacked, self._inverses, strict=True):
            here = inverse.to(views.device)
            seen = sum(
                view[..., tap].to(dtype) * share.to(dtype) for tap, share in zip(here.taps, here.shares, strict=True)
            )
            total[..., here.cells] += seen * here.weight.to(dtype)
            weight[..., here.cells] += here.weight.to(dtype)
        return Sums(total.unflatten(-1, self.canvas), weight.unflatten(-1, self.canvas))

    def subset(self, numbers: Sequence[int]) -> "GatheredViews":
        """Some of the views, in that order, under their names."""
        some = self._named_subset(numbers)
        some._tables = [self._tables[number] for number in numbers]
        some._inverses = [self._inverses[number] for number in numbers]
        return some
