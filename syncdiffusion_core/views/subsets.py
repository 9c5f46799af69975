"""Some of the windows, in turns: no two of them overlap, and in time each has its turn."""

from collections.abc import Sequence

Size = tuple[int, int]


def apart(origins: Sequence[Size], window: Size, canvas: Size, turn: int) -> tuple[int, ...]:
    """Numbers of windows that do not overlap, others at each turn.

    origins: (top, left) of windows in a grid, every top with every left; they may wrap around the canvas. Along each
    axis the first window is another one at each turn, and after it comes always the next that does not overlap.
    """
    tops, lefts = (sorted({origin[axis] for origin in origins}) for axis in (0, 1))
    turns = _overlapping_the_first(lefts, window[1])
    columns = _apart(lefts, window[1], canvas[1], turn % turns)
    rows = _apart(tops, window[0], canvas[0], turn // turns % _overlapping_the_first(tops, window[0]))
    return tuple(k for k, (top, left) in enumerate(origins) if top in rows and left in columns)


def _overlapping_the_first(starts: Sequence[int], length: int) -> int:
    """How many windows of an axis begin inside its first one, itself included."""
    return sum(start < starts[0] + length for start in starts)


def _apart(starts: Sequence[int], length: int, canvas: int, turn: int) -> set[int]:
    chosen: list[int] = []
    for start in [*starts[turn:], *starts[:turn]]:
        if all(min((start - other) % canvas, (other - start) % canvas) >= length for other in chosen):
            chosen.append(start)
    return set(chosen)
