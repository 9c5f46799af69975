"""Places between cells: the cells around them, and how much each of them counts."""

from torch import Tensor


def between(position: Tensor) -> list[tuple[Tensor, Tensor]]:
    """The numbers of the cells before and after positions along an axis, and their shares. Centres are at integers."""
    before = position.floor()
    share, first = position - before, before.long()
    return [(first, 1 - share), (first + 1, share)]


def around(y: Tensor, x: Tensor) -> list[tuple[Tensor, Tensor, Tensor]]:
    """(row, column, share) of the four cells around places."""
    return [(row, column, down * right) for row, down in between(y) for column, right in between(x)]
