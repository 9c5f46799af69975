"""Windows as a user gives them: pixels, independent of any model or canvas.

Convention: without wrap the last window of an axis is moved back to the edge, so every cell is covered whatever the
stride. With wrap the windows start at 0, stride, 2*stride, … below the canvas length, and run over the edge into its
other side.
"""

from dataclasses import dataclass, replace
from enum import Enum

from torch import Tensor

from ..blending import Blend
from ..views.schedule import CellGrid, Resolved, Space, Still
from .grids import Grid, moving_grid
from .windows import Windows


class Positions(str, Enum):
    """From where a model with positions counts the patches of a window."""

    WINDOW = "window's own corner"
    CANVAS = "place on the canvas"


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

    space = Space.LATENT
    distinct = False
    by_views = False

    @property
    def view_px(self) -> tuple[int, int]:
        """(height, width) of a window."""
        return self.window_height_px, self.window_width_px

    def shown(self, canvas: Tensor) -> Tensor:
        """What people are shown of a canvas: all of it."""
        return canvas

    def tiled(self, canvas: tuple[int, int], cells: CellGrid) -> "Windows":
        """Windows at every stride of a canvas of (height, width) latent cells, whatever the grid of the layout.

        Windows and strides become multiples of the model's patches.
        """
        (height, width), (cell_px, patch) = canvas, cells
        window_h = cells.along("window_height", self.window_height_px)
        window_w = cells.along("window_width", self.window_width_px)
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

    def resolve(self, canvas: tuple[int, int] | None, cells: CellGrid) -> Resolved:
        """The windows of a run on a canvas; those of a grid that moves have no use for the stride.

        Raises ValueError for a canvas that is missing or smaller than a window, and for sizes of no whole patches.
        """
        if canvas is None:
            raise ValueError("windows: they need a canvas; connect a latent image of the panorama's size")
        layout = self._half_overlapping() if self.grid is Grid.HALF else self
        tiled = layout.tiled(canvas, cells)
        if self.grid in (Grid.TILED, Grid.HALF):
            return Resolved(Still(tiled), Still(tiled.scaled(cells.cell_px)))
        wrap = (self.wrap_y, self.wrap_x)
        moving = moving_grid(self.grid, tiled, wrap, cells.patch)
        return Resolved(moving, moving.scaled(cells.cell_px))

    def _half_overlapping(self) -> "WindowLayout":
        """With strides of at least half a window; wider ones stay."""
        return replace(
            self,
            stride_x_px=max(self.stride_x_px, self.window_width_px // 2),
            stride_y_px=max(self.stride_y_px, self.window_height_px // 2),
        )


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
