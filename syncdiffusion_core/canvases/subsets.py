"""Some of the windows, in turns: no two of them overlap, and in time each has its turn."""

from collections.abc import Sequence

Size = tuple[int, int]


def apart(origins: Sequence[Size], window: Size, canvas: Size, turn: int) -> tuple[int, ...]:
    """Numbers of windows that do not overlap, others at each turn.

    origins: (top, left) of windows in a grid, every top with every left; they may wrap around the canvas. Along each
    axis the first window is another one at each turn, and after it comes always the next that does not overlap.
    """
    tops, lefts = (sorted({origin[axis] for origin in origins}) for axis in (0, 1))
    round_, first = divmod(turn, len(lefts))
    columns = _apart(lefts, window[1], canvas[1], first)
    rows = _apart(tops, window[0], canvas[0], (round_ + first) % len(tops))  # every pair of firsts in time
    return tuple(k for k, (top, left) in enumerate(origins) if top in rows and left in columns)


def _apart(starts: Sequence[int], length: int, canvas: int, turn: int) -> set[int]:
    """Starts in order: only the first and the last of those chosen can be in the way of the next."""
    chosen = [starts[turn]]
    for start in [*starts[turn + 1 :], *starts[:turn]]:
        if (start - chosen[-1]) % canvas >= length and (chosen[0] - start) % canvas >= length:
            chosen.append(start)
    return set(chosen)
