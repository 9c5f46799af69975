"""Views as tables or as functions: what a canvas of any kind is made of.

A canvas is whatever a table can point into: its trailing shape has one, two or three axes, and its cells are counted
as they lie in memory. ``IndexedViews`` move cells, ``ResampledViews`` mix them, ``LinearViews`` are any linear
function. All three unproject by the adjoint of their projection P, views first weighted: total = P^T(w x), and
weight = P^T w.
"""

import copy
import math
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from .sparse import SparseView
from .view_set import Sums

ProjectOne = Callable[[Tensor, int], Tensor]
"""project(canvas [N, C, *canvas], number of a view) -> view [N, C, h, w]: linear in the canvas, constants kept."""

UNIT = 1e-4
"""How far interpolation weights may be from a sum of 1."""

Set = TypeVar("Set", bound="_Named")
Resampled = TypeVar("Resampled", bound="ResampledViews")


class WayBack(Protocol):
    """Of one view to the canvas."""

    def add(self, total: Tensor, weight: Tensor, view: Tensor) -> None:
        """Adds to total [N, C, …, cells] and weight [1, 1, cells] what a view [N, C, …, h*w] says."""
        ...


class _Named:
    """What views of every kind know of themselves."""

    def __init__(self, canvas: Sequence[int], view: Sequence[int], count: int, names: Sequence[int] | None) -> None:
        if count < 1:
            raise ValueError("a set of views needs at least one view, got none")
        if names is not None and len(names) != count:
            raise ValueError(f"names must be one for each of the {count} views, got {len(names)}")
        self.canvas, self.view = tuple(canvas), (view[0], view[1])
        self.names = tuple(range(count)) if names is None else tuple(names)

    def __len__(self) -> int:
        return len(self.names)

    def _named_subset(self: Set, numbers: Sequence[int]) -> Set:
        """A copy with some of the names; what is derived from the views is not copied with it."""
        some = copy.copy(self)
        for derived in ("index", "sign", "_visible"):
            some.__dict__.pop(derived, None)
        some.names = tuple(self.names[number] for number in numbers)
        return some


class ResampledViews(_Named):
    """Views whose cells are weighted means of cells of the canvas.

    taps [V, K, h, w], int or long: cells of the canvas, counted flat, -1 for nothing. weights [V, K, h, w] >= 0: by how
    much each counts; of every cell that has taps they sum to 1, so that constants stay. canvas: its trailing shape.
    weight [V, h, w] >= 0 (1 if not given): how much cells of views count on the canvas. sign [V] of 1 and -1: a view
    of -1 shows the negated canvas. Raises ValueError for tables that do not fit.
    """

    _kind: type[SparseView] = SparseView

    def __init__(
        self,
        taps: Tensor,
        weights: Tensor,
        canvas: Sequence[int],
        weight: Tensor | None = None,
        sign: Tensor | None = None,
        names: Sequence[int] | None = None,
    ) -> None:
        super().__init__(canvas, taps.shape[-2:], len(taps), names)
        weight = torch.ones(len(taps), *self.view) if weight is None else weight
        sign = torch.ones(len(taps)) if sign is None else sign
        _check(taps, weights, weight, sign, math.prod(self.canvas))
        taps, shares = taps.int(), torch.where(taps >= 0, weights, 0)
        self._tables = [
            self._kind(*tables)
            for tables in zip(taps.flatten(2), shares.flatten(2), weight.flatten(1), sign, strict=True)
        ]
        self._ways_back: Sequence[WayBack] = self._tables

    @cached_property
    def index(self) -> Tensor:
        """Of each cell of the views the cell of the canvas that counts the most: [V, h, w] long, -1 for none."""
        return torch.stack([table.nearest for table in self._tables]).unflatten(1, self.view)

    @cached_property
    def sign(self) -> Tensor:
        """1 or -1 of each view: [V]."""
        return torch.stack([table.sign for table in self._tables])

    def visible(self) -> Tensor | None:
        """Which cells show anything of the canvas: [V, 1, h, w] bool; None where all do. See ``relations``."""
        return self._visible

    @cached_property
    def _visible(self) -> Tensor | None:
        if all(bool(table.visible.all()) for table in self._tables):
            return None
        return torch.stack([table.visible for table in self._tables]).unflatten(1, self.view)[:, None]

    def project(self, canvas: Tensor) -> Tensor:
        """f: canvas [N, C, …, *canvas] -> views [V*N, C, …, h, w], of the same dtype."""
        flat = canvas.flatten(-len(self.canvas))
        return torch.cat([table.seen(flat) for table in self._tables]).unflatten(-1, self.view)

    def unproject(self, views: Tensor) -> Sums:
        """g: views [V*N, C, …, h, w] -> sums [N, C, …, *canvas], in float32 at least."""
        dtype, cells = torch.promote_types(views.dtype, torch.float32), math.prod(self.canvas)
        stacked = views.flatten(-2).unflatten(0, (len(self), -1))  # [V, N, C, …, h*w]
        total = torch.zeros(*stacked.shape[1:-1], cells, dtype=dtype, device=views.device)
        weight = torch.zeros(1, 1, cells, dtype=dtype, device=views.device)
        for view, back in zip(stacked, self._ways_back, strict=True):
            back.add(total, weight, view)
        return Sums(total.unflatten(-1, self.canvas), weight.unflatten(-1, self.canvas))

    def subset(self: Resampled, numbers: Sequence[int]) -> Resampled:
        """Some of the views, in that order, under their names; they share the tables, sorted ones too."""
        some = self._named_subset(numbers)
        some._tables = [self._tables[number] for number in numbers]
        some._ways_back = [self._ways_back[number] for number in numbers]
        return some


class IndexedViews(ResampledViews):
    """Views that only move cells: each of theirs is one cell of the canvas, or nothing.

    index [V, h, w] long: cells of the canvas, counted flat, -1 for nothing (0 in the view). Else as
    ``ResampledViews``. Where every weight is 1, unproject is the adjoint of project.
    """

    def __init__(
        self,
        index: Tensor,
        canvas: Sequence[int],
        weight: Tensor | None = None,
        sign: Tensor | None = None,
        names: Sequence[int] | None = None,
    ) -> None:
        super().__init__(index[:, None], torch.ones(index[:, None].shape), canvas, weight, sign, names)


class LinearViews(_Named):
    """Views that a function makes of the canvas: splats, renderers, anything linear. Only project is stated.

    project: see ``ProjectOne``; frames come to it as channels. Its sums over the canvas, the backward pass of what it
    calls, are in one order where torch's are. weight [count, h, w] >= 0, 1 if not given. Which cell of the canvas is
    nearest is not known, so each view has noise of its own.
    """

    def __init__(
        self,
        project: ProjectOne,
        canvas: Sequence[int],
        view: Sequence[int],
        count: int,
        weight: Tensor | None = None,
        names: Sequence[int] | None = None,
    ) -> None:
        super().__init__(canvas, view, count, names)
        self._project, self._numbers = project, tuple(range(count))
        self._weight = torch.ones(count, *self.view) if weight is None else weight
        if self._weight.shape != (count, *self.view) or bool((self._weight < 0).any()):
            raise ValueError(f"weight must be [{count}, h, w] and not negative, got {tuple(self._weight.shape)}")

    def project(self, canvas: Tensor) -> Tensor:
        """f: canvas [N, C, …, *canvas] -> views [V*N, C, …, h, w], of the same dtype."""
        return torch.cat([self._seen(canvas, number).to(canvas.dtype) for number in self._numbers])

    def unproject(self, views: Tensor) -> Sums:
        """g, the vjp of f: views [V*N, C, …, h, w] -> sums [N, C, …, *canvas], in float32 at least."""
        dtype = torch.promote_types(views.dtype, torch.float32)
        stacked = views.to(dtype).unflatten(0, (len(self), -1))  # [V, N, C, …, h, w]
        total = torch.zeros(*stacked.shape[1:-2], *self.canvas, dtype=dtype, device=views.device)
        weight = torch.zeros(1, 1, *self.canvas, dtype=dtype, device=views.device)
        for number, view in zip(self._numbers, stacked, strict=True):
            share = self._weight[number].to(view)
            total += self._pulled(number, view * share, total)
            weight += self._pulled(number, share[None, None], weight)
        return Sums(total, weight)

    def subset(self, numbers: Sequence[int]) -> "LinearViews":
        """Some of the views, in that order, under their names."""
        some = self._named_subset(numbers)
        some._numbers = tuple(self._numbers[number] for number in numbers)
        return some

    def _seen(self, canvas: Tensor, number: int) -> Tensor:
        lead = canvas.shape[1 : canvas.ndim - len(self.canvas)]  # C and frames
        view = self._project(canvas.flatten(1, len(lead)), number)
        return view.unflatten(1, lead)

    def _pulled(self, number: int, view: Tensor, like: Tensor) -> Tensor:
        """P^T of one view, of the shape of a canvas."""
        with torch.enable_grad():
            canvas = torch.zeros_like(like, requires_grad=True)
            return torch.autograd.grad(self._seen(canvas, number), canvas, view.to(like))[0]


def _check(taps: Tensor, weights: Tensor, weight: Tensor, sign: Tensor, cells: int) -> None:
    count, _, height, width = taps.shape
    if weights.shape != taps.shape:
        raise ValueError(f"weights must be of the taps' shape {tuple(taps.shape)}, got {tuple(weights.shape)}")
    if weight.shape != (count, height, width):
        raise ValueError(f"weight must be [views, h, w] = {(count, height, width)}, got {tuple(weight.shape)}")
    if int(taps.min()) < -1 or int(taps.max()) >= cells:
        raise ValueError(
            f"cells must be between 0 and {cells - 1}, or -1 for nothing, got {int(taps.min())} … {int(taps.max())}"
        )
    if bool((weights < 0).any()) or bool((weight < 0).any()):
        raise ValueError(
            "weights must not be negative: a mean of views is defined by positive ones; use sign to negate"
        )
    if sign.shape != (count,) or bool((sign.abs() != 1).any()):
        raise ValueError(f"sign must be 1 or -1 for each of {count} views, got {sign.tolist()}")
    sums, some = torch.where(taps >= 0, weights, 0).sum(dim=1), (taps >= 0).any(dim=1)
    if bool(((sums - 1).abs() > UNIT)[some].any()):
        raise ValueError("weights of the taps of a cell must sum to 1, over those that are not -1; divide by their sum")
