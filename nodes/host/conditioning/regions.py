"""Areas and boxes of a conditioning: what is left of them inside a window, in its own coordinates.

They are rectangles of the canvas, and only rectangles can be told of them: views that are none want masks.
"""

from collections.abc import Sequence
from itertools import product

from ....syncdiffusion_core.canvases.windows import Windows

Parts = tuple
"""What has to be the same for all rows of one model call: (areas, boxes) of a condition, each None where it has none,
empty where the window sees nothing of them."""


class Regions:
    """Cuts areas and GLIGEN boxes to windows. patch: cells along the side of one of the model's patches."""

    def __init__(self, windows: Windows, patch: int) -> None:
        self._windows, self._patch = windows, patch

    def of(self, cond: dict, view: int, seen: bool) -> Parts:
        """Those of a condition in a window; seen: whether its mask leaves anything of it there."""
        return (self._areas(cond, view) if seen else (), self._boxes(cond, view))

    def _areas(self, cond: dict, view: int) -> tuple | None:
        """Areas (sizes…, offsets…) in the window's coordinates; None for a condition without one."""
        if cond.get("area") is None:
            return None
        area = tuple(cond["area"])
        dims = len(area) // 2
        sizes, offsets = area[:dims], area[dims:]
        parts = self._inside((*sizes[-2:], *offsets[-2:]), view)
        least = min((side for part in parts for side in part[:2]), default=self._patch)
        if -least % self._patch > least:
            raise ValueError(
                f"conditioning: an area reaches {least} latent cells into a window, of which this model's patches have "
                f"{self._patch}; use Conditioning (Set Mask) instead, or an area that ends with the windows"
            )
        return tuple((*sizes[:-2], h, w, *offsets[:-2], top, left) for h, w, top, left in parts)

    def _boxes(self, cond: dict, view: int) -> tuple | None:
        """GLIGEN's (embedding, height, width, top, left) in the window's coordinates."""
        if cond.get("gligen") is None:
            return None
        return tuple((embedding, *part) for embedding, *box in cond["gligen"][2] for part in self._inside(box, view))

    def _inside(self, box: Sequence[int], view: int) -> list[tuple[int, int, int, int]]:
        """(height, width, top, left) on the canvas -> its parts in the window; two where a window wraps around."""
        height, width, top, left = (int(value) for value in box)
        rows, columns = zip(self._windows.origins[view], self._windows.view, self._windows.canvas, strict=True)
        spans = product(_visible(top, height, *rows), _visible(left, width, *columns))
        return [(h, w, y, x) for (y, h), (x, w) in spans]


def _visible(start: int, length: int, origin: int, window: int, canvas: int) -> list[tuple[int, int]]:
    """Runs (start, length) of a window's cells that lie in [start, start + length) of the canvas."""
    inside = [start <= (origin + cell) % canvas < start + length for cell in range(window)]
    edges = [cell for cell in range(window + 1) if (cell < window and inside[cell]) != (cell > 0 and inside[cell - 1])]
    return [(first, last - first) for first, last in zip(edges[::2], edges[1::2], strict=True)]
