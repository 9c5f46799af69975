"""Charts of a texture: rectangles laid out on shelves, with gaps between them."""

from __future__ import annotations

from collections.abc import Sequence

Rectangle = tuple[float, float, float, float]
"""(left, top, width, height) in the texture, whose sides are 1 and whose origin is top left."""

GAP = 1 / 64
"""Around every chart."""
FINER = 0.98
"""By how much charts are made smaller until they fit."""


def laid_out(sizes: Sequence[tuple[float, float]]) -> list[Rectangle]:
    """Where charts of sizes (width, height) in any unit come to lie, one scale for all."""
    scale = 1 / max(max(size) for size in sizes)
    while (found := _shelved(sizes, scale)) is None:
        scale *= FINER
    return found


def _shelved(sizes: Sequence[tuple[float, float]], scale: float) -> list[Rectangle] | None:
    """Left to right, the highest first; None where they do not fit."""
    places: dict[int, Rectangle] = {}
    left = top = GAP
    shelf = 0.0
    for number in sorted(range(len(sizes)), key=lambda n: -sizes[n][1]):
        width, height = (scale * side for side in sizes[number])
        if left + width + GAP > 1 and left > GAP:
            left, top, shelf = GAP, top + shelf + GAP, 0.0
        if left + width + GAP > 1 or top + height + GAP > 1:
            return None
        places[number] = (left, top, width, height)
        left, shelf = left + width + GAP, max(shelf, height)
    return [places[number] for number in range(len(sizes))]
