"""What windows do not do on a canvas, in words: one that stands alone, borders and edges that nothing runs over.

Convention: a border lies between cell p - 1 and cell p of an axis, 0 < p < its length; where the axis wraps, p = 0 is
the edge. Windows that begin at p or end there touch it; windows with cells on either side run over it.
"""

from collections.abc import Collection
from typing import NamedTuple

from ..views.schedule import CellGrid
from .grids import Grid
from .window_layout import WindowLayout
from .windows import Windows

LISTED = 4
"""Places that a sentence names; of more it gives the number."""
LEAST_OVERLAP = 0.25
"""Share of a window below which its borders begin to show, measured on the demo model as the step at a border over the
median step: 1.2 to 1.9 at overlaps of a half, 1.5 to 2.5 of a quarter, 2.0 to 4.9 below, 12 to 16 at none (feathered).
"""


class _Axis(NamedTuple):
    """One axis of the windows of a run: x or y, all starts, the window's and the canvas's cells, in words of nodes."""

    name: str
    starts: Collection[int]
    window: int
    length: int
    wraps: bool
    unit_px: int
    cell_px: int

    def open_borders(self) -> list[int]:
        """Borders and edges of windows that no window runs over at any step of the run, in cells."""
        ends = {(start + self.window) % self.length for start in self.starts}
        places = sorted({*self.starts, *ends} if self.wraps else {*self.starts, *ends} - {0})
        return [place for place in places if not any(self._runs_over(start, place) for start in self.starts)]

    def narrowest_overlap(self) -> int:
        """Cells that two neighbours share at the least, 0 or below where some only touch; the window's own for one."""
        starts = sorted(self.starts)
        following = [*starts[1:], *([starts[0] + self.length] if self.wraps else [])]
        return min((start + self.window - after for start, after in zip(starts, following, strict=False)), default=0)

    def _runs_over(self, start: int, place: int) -> bool:
        return 0 < ((place - start) % self.length if self.wraps else place - start) < self.window


def remarks(layout: WindowLayout, windows: Windows, cells: CellGrid) -> list[str]:
    """Sentences about what the windows of a layout leave undone; empty for most.

    One window over the whole canvas; an axis that is to wrap and does not; borders that show because nothing overlaps,
    or hardly anything.
    """
    said = [_alone(windows, cells.cell_px)] if len(windows) == 1 else []
    for axis in _axes(layout, windows, cells):
        places = axis.open_borders()
        if 0 in places:
            said.append(_open_edge(axis))
        if any(places):
            said.append(_borders(axis, [place for place in places if place]))
        if layout.grid in (Grid.TILED, Grid.HALF) and 0 < axis.narrowest_overlap() < LEAST_OVERLAP * axis.window:
            said.append(_narrow(axis))
    return said


def refuse_open_wrap(layout: WindowLayout, windows: Windows, cells: CellGrid) -> None:
    """Raise ValueError where an axis is to wrap and no window of the run goes over its edge: its ends do not meet."""
    for axis in _axes(layout, windows, cells):
        if 0 in axis.open_borders():
            raise ValueError(_open_edge(axis))


def _axes(layout: WindowLayout, windows: Windows, cells: CellGrid) -> list[_Axis]:
    tops, lefts = ({origin[axis] for origin in windows.origins} for axis in (0, 1))
    (height, width), (h, w), unit = windows.canvas, windows.view, cells.cell_px * cells.patch
    return [
        _Axis("x", lefts, w, width, layout.wrap_x, unit, cells.cell_px),
        _Axis("y", tops, h, height, layout.wrap_y, unit, cells.cell_px),
    ]


def _alone(windows: Windows, cell_px: int) -> str:
    height, width = (cell_px * side for side in windows.canvas)
    return (
        f"one window covers the whole canvas of {width} x {height} px: there is nothing to join, and no other window "
        "for guidance to draw together; make the canvas larger, or the windows smaller"
    )


def _open_edge(axis: _Axis) -> str:
    edge = "right" if axis.name == "x" else "bottom"
    return (
        f"wrap_{axis.name}: no window runs over the {edge} edge of a canvas of {axis.length * axis.cell_px} px, so its "
        f"ends would not meet; {_remedy(axis)}, or turn wrap_{axis.name} off"
    )


def _borders(axis: _Axis, places: list[int]) -> str:
    listed = ", ".join(str(place * axis.cell_px) for place in places[:LISTED])
    more = f" and {len(places) - LISTED} places more" if len(places) > LISTED else ""
    return f"windows only touch at {axis.name} = {listed} px{more}, so their borders will show; {_remedy(axis)}"


def _narrow(axis: _Axis) -> str:
    overlap, window = (axis.cell_px * cells for cells in (axis.narrowest_overlap(), axis.window))
    return (
        f"windows of {window} px overlap by {overlap} px only along {axis.name}, so their borders may show; "
        f"{_remedy(axis)}"
    )


def _remedy(axis: _Axis) -> str:
    """What makes windows overlap by half; a larger window where none can."""
    window_px, side = axis.window * axis.cell_px, "width" if axis.name == "x" else "height"
    half = window_px // 2 // axis.unit_px * axis.unit_px
    if not half:
        return f"make window_{side} larger than {window_px} px"
    return f"choose a stride_{axis.name} of {half} px or less, or the grid '{Grid.ROLLED.value}'"
