"""Views whose way back is gathered too: every cell of the canvas interpolates in each view that sees it.

For canvases with an inverse map (spheres, textures): no holes and no splatting where the canvas is finer than a view.
Unproject is then not the adjoint of project, and need not be.
"""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor

from .tables import ResampledViews


class Inverse:
    """What one view says of n cells of the canvas, each named once; kept on every device that asked for it.

    cells [n] int, of the canvas counted flat. taps [K, n] int: cells of the view, counted flat; shares [K, n] >= 0,
    1 together. weight [n] > 0: how much the view counts there.
    """

    def __init__(self, cells: Tensor, taps: Tensor, shares: Tensor, weight: Tensor) -> None:
        self._here: dict[torch.device, tuple[Tensor, ...]] = {cells.device: (cells, taps, shares, weight)}

    def add(self, total: Tensor, weight: Tensor, view: Tensor) -> None:
        """Adds what a view [N, C, …, h*w] says to total [N, C, …, cells] and weight [1, 1, cells]."""
        if view.device not in self._here:
            cells, taps, shares, counts = next(iter(self._here.values()))
            self._here[view.device] = tuple(part.to(view.device) for part in (cells, taps, shares, counts))
        cells, taps, shares, counts = self._here[view.device]
        looks = zip(taps, shares, strict=True)
        seen = sum(view[..., tap].to(total) * share.to(total) for tap, share in looks)
        cells = cells.long()
        total[..., cells] += seen * counts.to(total)
        weight[..., cells] += counts.to(weight)


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
        self._ways_back = list(inverses)

    def gathering(self, inverses: Sequence[Inverse]) -> "GatheredViews":
        """The same views with other ways back, by other weights for instance; what they see is held once."""
        other = copy.copy(self)
        other._ways_back = list(inverses)
        return other
