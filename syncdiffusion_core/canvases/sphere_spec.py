"""A picture of the whole sphere as people ask for it: cameras that stay, or turn from step to step."""

from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from ..views.gathered import GatheredViews
from ..views.schedule import CellGrid, Resolved, Space, Still, ViewSchedule
from .rigs import Rig
from .sphere import Size, share_seen, sphere_views
from .turning import Motion, turned

LEAST_SEEN = 0.999
"""Share of the sphere that every step of a rig that turns has to see."""


@dataclass(frozen=True)
class SphereViews:
    """The whole sphere as one picture, and the cameras that look at it: a ViewSpec.

    size_px: (height, width) of the picture, twice as wide as high. view_px: of every view.
    """

    rig: Rig
    size_px: Size
    view_px: Size
    space: Space = Space.RGB
    motion: Motion = Motion.STILL
    distinct: bool = False
    by_views: bool = True

    def __post_init__(self) -> None:
        height, width = self.size_px
        if width != 2 * height or height < 1:
            raise ValueError(
                f"the picture of a sphere is twice as wide as high, got {width} x {height} px; use {2 * height} x "
                f"{height}"
            )
        if self.motion is Motion.TURNING and (seen := share_seen(self.rig)) < LEAST_SEEN:
            raise ValueError(
                f"moves: a rig that turns has to see the whole sphere at every step, and this one sees {seen:.0%} of "
                f"it; choose a cube of 95 degrees in Camera Rig, or more views, or set moves to "
                f"'{Motion.STILL.value}'"
            )

    def shown(self, canvas: Tensor) -> Tensor:
        """The canvas as it is."""
        return canvas

    def resolve(self, canvas: Size | None, grid: CellGrid) -> Resolved:
        """The views for a model; see ``ViewSpec``."""
        view = (grid.along("view_height", self.view_px[0]), grid.along("view_width", self.view_px[1]))
        whole = CellGrid(grid.cell_px)  # the canvas is never shown to a network: it need not be in patches
        cells = (whole.along("height", self.size_px[0]), whole.along("width", self.size_px[1]))
        if canvas is not None and tuple(canvas) != cells:
            raise ValueError(
                f"the canvas is {canvas[1] * grid.cell_px} x {canvas[0] * grid.cell_px} px, the picture of the sphere "
                f"{self.size_px[1]} x {self.size_px[0]} px; give both the same size"
            )
        latent = self._schedule(cells, view)
        return Resolved(latent, latent if grid.cell_px == 1 else self._schedule(self.size_px, self.view_px))

    def _schedule(self, canvas: Size, view: Size) -> ViewSchedule:
        if self.motion is Motion.TURNING:
            return TurningSphere(self.rig, canvas, view)
        return Still(sphere_views(self.rig, canvas, view))


class TurningSphere:
    """Perspective views (height, width) of an equirectangular canvas (height, width), by a rig that turns.

    A ``ViewSchedule``. every: the views of the rig at rest, by whose names those of a step are known. Beside them one
    step's tables are held: they are larger than pictures. first: the step that a run begins with.
    """

    moves = True

    def __init__(self, rig: Rig, canvas: Size, view: Size, first: int = 0) -> None:
        self._rig, self._canvas, self._view, self._first = rig, canvas, view, first
        self._latest: tuple[int, GatheredViews] | None = None

    @cached_property
    def every(self) -> GatheredViews:
        """The views of the rig at rest."""
        return sphere_views(self._rig, self._canvas, self._view)

    @property
    def largest(self) -> int:
        """All cameras, at every step."""
        return len(self._rig)

    def at(self, step: int) -> GatheredViews:
        """The views of one step; those of the step before are dropped."""
        if self._latest is None or self._latest[0] != step:
            self._latest = None
            rig = turned(self._rig, self._first + step)
            self._latest = step, sphere_views(rig, self._canvas, self._view)
        return self._latest[1]

    def later(self, steps: int) -> "TurningSphere":
        """The same for a run that begins so many steps later."""
        return TurningSphere(self._rig, self._canvas, self._view, self._first + steps)
