"""Which views move at a guided step, and what their moves mean to the others."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from torch import Tensor

from ..views.relations import apart
from ..views.view_set import ViewSet, aggregate


class Guided(str, Enum):
    """Which views of a guided step move."""

    ALL = "all"
    ROTATING = "rotating, none overlapping"


@dataclass(frozen=True)
class Turns:
    """guided: which views move. shared: whether every view takes F(m), the mean of moves on the canvas, not its own.

    Where views move in turns it is always so.
    """

    guided: Guided = Guided.ALL
    shared: bool = False

    def acting(self, views: ViewSet, number: int, stays: int | None) -> Sequence[int]:
        """The views of a turn; one in which only the reference would move, which never does, is passed over."""
        if self.guided is Guided.ALL:
            return range(len(views))
        turns = [apart(views, turn) for turn in range(len(views))]
        turns = [turn for turn in turns if {*turn} != {stays}]
        return turns[number % len(turns)] if turns else ()

    def spread(self, views: ViewSet, move: Tensor, acting: Sequence[int]) -> Tensor:
        """What the moves [V*N, …] of the views of a turn mean to every view."""
        if self.guided is Guided.ALL and not self.shared:
            return move
        some = move.unflatten(0, (len(views), -1))[list(acting)].flatten(0, 1)
        return views.project(aggregate(views.subset(acting), some)).to(move.dtype)
