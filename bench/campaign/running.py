"""The campaign itself: blocks of cases, clean runs in between, and a journal that a kill leaves usable."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from bench.campaign.blocks import BLOCK, Place, draw_block, smallest
from bench.campaign.cases import Case
from bench.campaign.control import State, differences, observe
from bench.campaign.ground import Ground, Ran, TooSlow
from bench.campaign.strategies import SHARES
from bench.campaign.verdicts import Verdict, has_nan, signature, verdict_of
from bench.journal import Journal

SLOW = 30.0
"""Seconds beyond which a small case is worth a line."""


@dataclass(frozen=True)
class Plan:
    """cases: of the whole campaign. folder: where the host writes."""

    cases: int
    seed: int
    folder: Path

    def blocks(self) -> Iterator[tuple[Place, int]]:
        """(place, cases) of every block, the nodes in turns."""
        left = {node: self.of(node) for node in SHARES}
        for block in range(-(-max(left.values()) // BLOCK)):
            for node in SHARES:
                size = min(left[node], BLOCK)
                if size > 0:
                    yield Place(self.seed, node, block), size
                left[node] -= size

    def of(self, node: str) -> int:
        """Cases of a node; at least as many as there are nodes of its kind to see."""
        return max(1, round(self.cases * SHARES[node] / sum(SHARES.values())))


def run(plan: Plan, ground: Ground, journal: Journal) -> None:
    """Run every block that the journal does not hold, a clean run after each."""
    done = {(row["node"], row["block"]) for row in journal if row["seed"] == plan.seed}
    blocks = list(plan.blocks())
    ground.world.make_all()
    observe(ground, plan.folder)  # what is loaded once, is loaded now
    before = observe(ground, plan.folder)
    for place, size in tqdm(blocks, desc="blocks"):
        if (place.node, place.block) in done:
            continue
        row = run_block(place, size, ground)
        after = observe(ground, plan.folder)
        journal.append({**row, "changed": differences(before, after)})
        before = State(before.bits, max(before.tensors, after.tensors), max(before.bytes, after.bytes), after.files)


def run_block(place: Place, size: int, ground: Ground) -> dict:
    """What the cases of one block came to, as a row of the journal."""
    counts = dict.fromkeys((verdict.value for verdict in Verdict), 0)
    row = {"seed": place.seed, "node": place.node, "block": place.block, "cases": 0, "nan": [], "unclear": {}}
    seconds, clear, slow = 0.0, {}, []
    for index, case in enumerate(draw_block(place)[:size]):
        ran = ground.run(case.call)
        verdict, seconds = verdict_of(ran.failure), seconds + ran.seconds
        counts[verdict.value] += 1
        row["cases"] += 1
        if ran.seconds > SLOW:
            slow.append([index, round(ran.seconds, 1)])
        if verdict is Verdict.UNCLEAR:
            row["unclear"].setdefault(signature(ran.failure), []).append(index)
        elif verdict is Verdict.CLEAR:
            clear.setdefault(signature(ran.failure), []).append(index)
        if has_nan(case, ran):
            row["nan"].append(index)
    return {**row, **counts, "clear": clear, "slow": slow, "seconds": round(seconds, 2)}


def shrunk(place: Place, wanted: str, ground: Ground) -> tuple[Case, Ran]:
    """A small case that fails like the one at this place, and its run; a slow one stays as it is."""
    if TooSlow.__name__ in wanted:
        case = draw_block(place)[place.index]
        return case, ground.run(case.call)

    def fails(case: Case) -> bool:
        failure = ground.run(case.call).failure
        return verdict_of(failure) is Verdict.UNCLEAR and signature(failure) == wanted

    case = smallest(place, fails)
    return case, ground.run(case.call)


def rows_of(journal: Journal, seed: int) -> list[Mapping]:
    """The rows of a campaign."""
    return [row for row in journal if row["seed"] == seed]
