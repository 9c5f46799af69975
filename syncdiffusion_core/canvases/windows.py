"""Planar windows: rectangles that slide over the canvas and may wrap around its edges.

Convention: positions are (top, left) of a window in cells of the canvas; y down, x right.
"""

from collections.abc import Sequence
from functools import cached_property
from itertools import chain
from types import EllipsisType

import torch
from torch import Tensor

from ..blending import Blend, window_weight
from ..views.view_set import Sums
from .subsets import apart

Area = tuple[EllipsisType, slice, slice]
"""A rectangle in the last two axes of a tensor."""


class Windows:
    """Rectangles of one size: the ViewSet of panoramas. origins: (top, left) of each, in cells."""

    def __init__(
        self,
        canvas: tuple[int, int],
        view: tuple[int, int],
        origins: tuple[tuple[int, int], ...],
        blend: Blend = Blend.UNIFORM,
        names: tuple[int, ...] | None = None,
    ) -> None:
        self.canvas, self.view, self.origins, self.blend = canvas, view, origins, blend
        self.names = tuple(range(len(origins))) if names is None else names

    def __len__(self) -> int:
        return len(self.origins)

    @cached_property
    def _pieces(self) -> tuple[tuple[tuple[Area, Area], ...], ...]:
        """Of each window its rectangles, (on the canvas, in the window): both maps use them.

        One rectangle, two or four where the window runs over an edge: sums over rectangles are made in one order on
        every device, sums over an index are not.
        """
        rows, columns = (
            {start: _runs(start, side, length) for start in {origin[axis] for origin in self.origins}}
            for axis, (side, length) in enumerate(zip(self.view, self.canvas, strict=True))
        )
        return tuple(
            tuple(((..., row, column), (..., y, x)) for row, y in rows[top] for column, x in columns[left])
            for top, left in self.origins
        )

    @cached_property
    def index(self) -> Tensor:
        """Of each cell of each window its cell on the canvas, counted row by row: [V, h, w] long."""
        cells = torch.arange(self.canvas[0] * self.canvas[1]).reshape(1, 1, *self.canvas)
        return self.project(cells)[:, 0]

    @cached_property
    def _weight(self) -> Tensor:
        return window_weight(self.blend, *self.view)  # [h, w]

    @property
    def reference(self) -> int:
        """Number of the middle window of the middle row: the official ``len // 2`` where there is one row."""
        columns = len({left for _, left in self.origins})
        return len(self) // columns // 2 * columns + columns // 2

    def visible(self) -> None:
        """All of a window is on the canvas."""

    def apart(self, turn: int) -> tuple[int, ...]:
        """Numbers of windows that do not overlap, others at each turn: see ``subsets.apart``."""
        return apart(self.origins, self.view, self.canvas, turn)

    def subset(self, numbers: Sequence[int]) -> "Windows":
        """Some of the windows, in that order, under their names."""
        origins = tuple(self.origins[number] for number in numbers)
        return Windows(self.canvas, self.view, origins, self.blend, tuple(self.names[number] for number in numbers))

    def scaled(self, scale: int) -> "Windows":
        """The same over a canvas of ``scale`` times as many cells along each side."""

        def times(size: tuple[int, int]) -> tuple[int, int]:
            return scale * size[0], scale * size[1]

        return Windows(times(self.canvas), times(self.view), tuple(map(times, self.origins)), self.blend, self.names)

    def project(self, canvas: Tensor) -> Tensor:
        """Crop: canvas [N, C, ..., H, W] -> views [V*N, C, ..., h, w]."""
        views = canvas.new_empty(len(self), *canvas.shape[:-2], *self.view)
        for k, pieces in enumerate(self._pieces):
            for place, part in pieces:
                views[k][part] = canvas[place]
        return views.reshape(-1, *canvas.shape[1:-2], *self.view)

    def unproject(self, views: Tensor) -> Sums:
        """Paste: views [V*N, C, ..., h, w] -> sums [N, C, ..., H, W].

        Sums are kept in float32 at least, whatever the dtype of the views, and made window after window: the same
        bits at every run, on a GPU too.
        """
        dtype = torch.promote_types(views.dtype, torch.float32)
        weight = self._weight.to(views.device, dtype)
        stacked = views.unflatten(0, (len(self), -1))  # [V, N, C, ..., h, w]
        total = torch.zeros(*stacked.shape[1:-2], *self.canvas, dtype=dtype, device=views.device)
        for view, pieces in zip(stacked, self._pieces, strict=True):
            weighted = view.to(dtype) * weight
            for place, part in pieces:
                total[place] += weighted[part]
        return Sums(total, self.coverage(weight)[None, None])

    def coverage(self, weight: Tensor | None = None) -> Tensor:
        """Sum of the windows' weights at every cell: [H, W]; with uniform weights, the number of windows."""
        weight = self._weight if weight is None else weight
        total = torch.zeros(self.canvas, dtype=weight.dtype, device=weight.device)
        for place, part in chain.from_iterable(self._pieces):
            total[place] += weight[part]
        return total


def full_canvas(canvas: tuple[int, int]) -> Windows:
    """One window over the whole canvas: plain sampling."""
    return Windows(canvas, canvas, ((0, 0),))


def _runs(start: int, side: int, length: int) -> list[tuple[slice, slice]]:
    """One axis of a window: (on the canvas, in the window), in two runs where it goes over the edge."""
    before = min(side, length - start)
    runs = [(slice(start, start + before), slice(0, before))]
    return runs if before == side else [*runs, (slice(0, side - before), slice(before, side))]
