"""Windows that move from step to step: a grid that hardly overlaps, so that a step costs as little as it can.

Where windows overlap, every cell is denoised several times a step. A grid whose windows only touch costs one
evaluation of each cell; its borders would show, so the grid stands elsewhere in the next step, and over the run every
cell is inside a window far more often than at its border (SpotDiffusion, Frolov et al. 2024, arXiv 2407.15507).
"""

from collections.abc import Sequence
from enum import Enum

from .windows import Windows

GOLDEN = (5**0.5 - 1) / 2  # its multiples, modulo 1, are spread the most evenly at every length


class Grid(str, Enum):
    """Where the windows of each step stand."""

    TILED = "as tiled"
    HALF = "half overlapping"
    ROLLED = "rolled"
    ALTERNATING = "alternating"


class MovingWindows:
    """Windows of which each step sees others.

    every: all windows of a run, by whose numbers conditioning knows them. steps: numbers of the windows of each
    step; later steps begin again. first: the step that the run begins with.
    """

    def __init__(self, every: Windows, steps: Sequence[Sequence[int]], first: int = 0) -> None:
        self.every, self.moves = every, True
        self._numbers, self._first = steps, first
        self._steps = [every.subset(step) for step in steps]

    def at(self, step: int) -> Windows:
        """The windows of one step of the run."""
        return self._steps[(self._first + step) % len(self._steps)]

    def later(self, steps: int) -> "MovingWindows":
        """The same for a run that begins so many steps later: the second part of one that was cut in two."""
        return MovingWindows(self.every, self._numbers, self._first + steps)

    def scaled(self, scale: int) -> "MovingWindows":
        """The same over a canvas of ``scale`` times as many cells along each side."""
        return MovingWindows(self.every.scaled(scale), self._numbers, self._first)

    @property
    def largest(self) -> int:
        """Most windows that a step sees."""
        return max(len(step) for step in self._steps)


def moving_grid(grid: Grid, like: Windows, wrap: tuple[bool, bool], patch: int) -> MovingWindows:
    """Windows side by side, shifted at each step by a part of a window: rolled or alternating.

    like: windows of that canvas, size and blend. wrap: of (y, x). Shifts are multiples of ``patch`` cells.
    An axis that wraps has its windows run over the edge; else the windows at either end stay on the canvas, and overlap
    their neighbours there. An axis that one window fills moves where it wraps: its ends would never meet otherwise.
    """
    steps, (canvas, window) = [], (like.canvas, like.view)
    for down, right in _shifts(grid, window, patch):
        tops = _side_by_side(canvas[0], window[0], wrap[0], down)
        steps.append([(top, left) for top in tops for left in _side_by_side(canvas[1], window[1], wrap[1], right)])
    origins = tuple(sorted({origin for step in steps for origin in step}))
    number = {origin: k for k, origin in enumerate(origins)}
    every = Windows(canvas, window, origins, like.blend)
    return MovingWindows(every, [[number[origin] for origin in step] for step in steps])


def _shifts(grid: Grid, window: tuple[int, int], patch: int) -> list[tuple[int, int]]:
    """(down, right) of each step, until they repeat."""
    rows, columns = window[0] // patch, window[1] // patch
    if grid is Grid.ALTERNATING:
        return [(0, 0), (rows // 2 * patch, columns // 2 * patch)]
    parts = [k * GOLDEN % 1 for k in range(max(rows, columns))]
    return [(int(part * rows) * patch, int(part * columns) * patch) for part in parts]


def _side_by_side(canvas: int, window: int, wrap: bool, shift: int) -> list[int]:
    """Starts of windows that cover an axis, ``shift`` cells off its beginning."""
    if wrap:
        return sorted((shift + k * window) % canvas for k in range(-(-canvas // window)))
    if window == canvas:
        return [0]
    last = canvas - window
    return sorted({min(max(start, 0), last) for start in range(shift - window * (shift > 0), canvas, window)})
