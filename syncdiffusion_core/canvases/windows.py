"""Planar windows: rectangles that slide over the canvas and may wrap around its edges.

Convention: positions are (top, left) of a window in latent cells; y down, x right. Without wrap the last
window of an axis is moved back to the edge, so every cell is covered whatever the stride. With wrap the
windows start at 0, stride, 2*stride, … below the canvas length, and run over the edge into its other side.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from itertools import chain
from types import EllipsisType

import torch
from torch import Tensor

from ..blending import Blend, window_weight
from .subsets import apart

Area = tuple[EllipsisType, slice, slice]
"""A rectangle in the last two axes of a tensor."""


class Positions(str, Enum):
    """From where a model with positions counts the patches of a window."""

    WINDOW = "window's own corner"
    CANVAS = "place on the canvas"


class Grid(str, Enum):
    """Where the windows of each step stand; see ``grids``."""

    TILED = "as tiled"
    HALF = "half overlapping"
    ROLLED = "rolled"
    ALTERNATING = "alternating"


@dataclass(frozen=True)
class WindowLayout:
    """Windows as a user gives them: pixels, independent of any model or canvas."""

    window_width_px: int
    window_height_px: int
    stride_x_px: int
    stride_y_px: int
    wrap_x: bool = False
    wrap_y: bool = False
    blend: Blend = Blend.UNIFORM
    positions: Positions = Positions.WINDOW
    grid: Grid = Grid.TILED

    def __post_init__(self) -> None:
        for axis, window, stride in (
            ("x", self.window_width_px, self.stride_x_px),
            ("y", self.window_height_px, self.stride_y_px),
        ):
            if window < 1:
                raise ValueError(f"window size along {axis} must be at least 1 px, got {window}")
            if not 1 <= stride <= window:
                raise ValueError(
                    f"stride_{axis} must be between 1 px and the window's {window} px, got {stride}; "
                    "a larger stride would leave gaps between windows"
                )

    def resolve(self, canvas: tuple[int, int], cell_px: int, patch: int = 1) -> "Windows":
        """Windows over a canvas of (height, width) latent cells.

        cell_px: pixels per latent cell (8 for SD, 1 for pixel-space models). patch: cells per model patch;
        windows and strides become multiples of it.
        """
        height, width = canvas
        window_h = _cells("window_height", self.window_height_px, cell_px, patch)
        window_w = _cells("window_width", self.window_width_px, cell_px, patch)
        for name, window, length in (("height", window_h, height), ("width", window_w, width)):
            if window > length:
                raise ValueError(
                    f"the window's {name} of {window * cell_px} px is larger than the canvas's {length * cell_px} px; "
                    f"make the window at most {length * cell_px} px or the canvas larger"
                )
        _check_wrap("y", height, self.wrap_y, cell_px, patch)
        _check_wrap("x", width, self.wrap_x, cell_px, patch)
        tops = _starts(height, window_h, _stride(self.stride_y_px, cell_px, patch), self.wrap_y)
        lefts = _starts(width, window_w, _stride(self.stride_x_px, cell_px, patch), self.wrap_x)
        origins = tuple((top, left) for top in tops for left in lefts)
        return Windows((height, width), (window_h, window_w), origins, self.blend)


class Windows:
    """A resolved set of windows: the ViewSet of panoramas."""

    def __init__(
        self,
        canvas: tuple[int, int],
        window: tuple[int, int],
        origins: tuple[tuple[int, int], ...],
        blend: Blend = Blend.UNIFORM,
        names: tuple[int, ...] | None = None,
    ) -> None:
        self.canvas, self.window, self.origins, self.blend = canvas, window, origins, blend
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
            for axis, (side, length) in enumerate(zip(self.window, self.canvas, strict=True))
        )
        return tuple(
            tuple(((..., row, column), (..., y, x)) for row, y in rows[top] for column, x in columns[left])
            for top, left in self.origins
        )

    @cached_property
    def _weight(self) -> Tensor:
        return window_weight(self.blend, *self.window)  # [h, w]

    @property
    def centre(self) -> int:
        """Index of the middle window of the middle row: the official ``len // 2`` where there is one row."""
        columns = len({left for _, left in self.origins})
        return len(self) // columns // 2 * columns + columns // 2

    @property
    def every(self) -> "Windows":
        """All windows of a run: these; see ``MovingWindows`` for others."""
        return self

    def at(self, step: int) -> "Windows":
        """The windows of one step: always the same."""
        return self

    def later(self, steps: int) -> "Windows":
        """These as a run sees them that begins so many steps later: the same."""
        return self

    def apart(self, turn: int) -> tuple[int, ...]:
        """Numbers of windows that do not overlap, others at each turn: see ``subsets.apart``."""
        return apart(self.origins, self.window, self.canvas, turn)

    @property
    def largest(self) -> int:
        """Most windows that a step sees: all."""
        return len(self)

    def nearest(self, origin: tuple[int, int]) -> int:
        """Number of the window whose corner (top, left) is nearest, over the edges too; the first of several."""

        def distance(other: tuple[int, int]) -> float:
            ways = zip(origin, other, self.canvas, strict=True)
            return math.hypot(*(min((a - b) % length, (b - a) % length) for a, b, length in ways))

        return min(range(len(self)), key=lambda k: distance(self.origins[k]))

    def subset(self, views: Sequence[int], scale: int = 1) -> "Windows":
        """Some of the windows, in that order; over a canvas of ``scale`` times as many cells if asked."""

        def scaled(size: tuple[int, int]) -> tuple[int, int]:
            return scale * size[0], scale * size[1]

        origins = tuple(scaled(self.origins[view]) for view in views)
        names = tuple(self.names[view] for view in views)
        return Windows(scaled(self.canvas), scaled(self.window), origins, self.blend, names)

    def project(self, canvas: Tensor) -> Tensor:
        """Crop: canvas [N, C, ..., H, W] -> views [V*N, C, ..., h, w]."""
        views = canvas.new_empty(len(self), *canvas.shape[:-2], *self.window)
        for k, pieces in enumerate(self._pieces):
            for place, part in pieces:
                views[k][part] = canvas[place]
        return views.reshape(-1, *canvas.shape[1:-2], *self.window)

    def unproject(self, views: Tensor) -> tuple[Tensor, Tensor]:
        """Paste: views [V*N, C, ..., h, w] -> (weighted sum [N, C, ..., H, W], weights [1, 1, H, W]).

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
        return total, self.coverage(weight)[None, None]

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


def _cells(name: str, pixels: int, cell_px: int, patch: int) -> int:
    unit = cell_px * patch
    if pixels % unit:
        below = pixels // unit * unit
        sizes = f"{below} or {below + unit}" if below else f"{unit}"
        raise ValueError(f"{name} must be a multiple of {unit} px for this model, got {pixels}; use {sizes}")
    return pixels // cell_px


def _stride(pixels: int, cell_px: int, patch: int) -> int:
    """Strides round down to whole patches: a finer stride only adds overlap."""
    return max(pixels // (cell_px * patch), 1) * patch


def _check_wrap(axis: str, length: int, wrap: bool, cell_px: int, patch: int) -> None:
    if wrap and length % patch:
        unit, side = cell_px * patch, "width" if axis == "x" else "height"
        below = length // patch * unit
        raise ValueError(
            f"wrapping along {axis} needs a {side} of the canvas that is a multiple of {unit} px for this model (a "
            f"patch of {patch} latent cells), got {length * cell_px} px ({length} cells); use {below} or {below + unit}"
        )


def _starts(length: int, window: int, stride: int, wrap: bool) -> list[int]:
    if wrap:
        return list(range(0, length, stride))
    last = length - window
    return sorted({*range(0, last, stride), last})
