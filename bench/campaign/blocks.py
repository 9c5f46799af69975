"""Cases drawn by hypothesis in blocks: case k of a seed is always the same, and a failing one is made smaller."""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Callable
from dataclasses import dataclass

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import HypothesisException

from bench.campaign.cases import Case
from bench.campaign.strategies import cases

BLOCK = 50
"""Cases of one draw; the first of them is always the smallest case of its node."""
SHRINKING_RUNS = 120
"""Cases that are tried at most to make one smaller."""


@dataclass(frozen=True)
class Place:
    """Where a case stands: seed of the campaign, node, block of the node, index in the block."""

    seed: int
    node: str
    block: int
    index: int = 0

    @property
    def drawn_from(self) -> int:
        """The seed of the block."""
        return zlib.crc32(f"{self.seed} {self.node} {self.block}".encode())

    def __str__(self) -> str:
        return f"{self.node}/{self.block}/{self.index}"


class _Wanted(Exception):
    """The case fails as it is wanted to."""


def draw_block(place: Place) -> list[Case]:
    """The cases of a block, none of them run."""
    drawn: list[Case] = []

    @_configured(place, (Phase.generate,))
    def keep(case: Case) -> None:
        drawn.append(case)

    keep()
    return drawn


def smallest(place: Place, fails: Callable[[Case], bool]) -> Case:
    """A small case for which fails(case), beginning with the one at this place; that one if none is smaller."""
    best = draw_block(place)[place.index]
    seen = tried = 0

    @_configured(place, (Phase.generate, Phase.shrink))
    def fail(case: Case) -> None:
        nonlocal seen, tried, best
        seen += 1
        if seen <= place.index or tried >= SHRINKING_RUNS:
            return
        tried += 1
        if fails(case):
            best = case
            raise _Wanted

    with contextlib.suppress(_Wanted, HypothesisException):  # the latter where the tries are used up
        fail()
    return best


def _configured(place: Place, phases: tuple[Phase, ...]) -> Callable:
    """Decorator of a function of one case: what hypothesis is told."""
    told = settings(
        max_examples=BLOCK,
        phases=phases,
        database=None,
        deadline=None,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
        print_blob=False,
    )
    return lambda function: seed(place.drawn_from)(told(given(cases(place.node))(function)))
