"""What each row's panorama takes, counted once: passes through the networks and memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from tqdm import tqdm

from bench.arms import Arm
from bench.graphs import DECODE, graph_of
from bench.in_process import InProcess
from bench.journal import Journal
from bench.meter import DECODER, LIGHT, MODEL, Passes, counted, peak_memory, says_how
from bench.protocol import Protocol
from bench.settled import digest_of
from bench.timing import TIMING_SEED

CELL_PX = 8
KINDS = (MODEL, DECODER, LIGHT)
SAMPLING = "sampling_bytes"
"""Rows of journals from before it was measured lack it; they are counted anew."""


@dataclass(frozen=True)
class Taken:
    """Of one panorama. model, decoder, light (decoders): windows' worth of passes.

    sampling_bytes: the peak until the panorama is decoded, which is the sampler's. peak_bytes: of the whole run. What
    is counted ``says_how`` tells.
    """

    model: Passes
    decoder: Passes
    light: Passes
    sampling_bytes: int
    peak_bytes: int
    how: str


def count(protocol: Protocol, arms: Sequence[Arm], folder: Path, runner: InProcess) -> None:
    """Run every arm once under the counters, which slow it down; resumable."""
    journal = Journal(folder / "measures.jsonl")
    done = {(row["arm"], row["graph"]) for row in journal if SAMPLING in row}
    jobs = [arm for arm in arms if (arm.name, digest_of(protocol, arm)) not in done]
    for arm in tqdm(jobs, desc="passes and memory", unit="panorama"):
        taken = count_one(protocol, arm, runner)
        journal.append({"arm": arm.name, "graph": digest_of(protocol, arm), **asdict(taken)})


def count_one(protocol: Protocol, arm: Arm, runner: InProcess) -> Taken:
    """One panorama's, its models loaded beforehand by two steps of another."""
    runner.run(graph_of(replace(protocol, steps=2), arm, TIMING_SEED - 2))
    cells = (protocol.window_px // CELL_PX) ** 2
    peaks: dict[str, int] = {}  # by node, as it starts
    with counted(runner.kind_of, cells) as passes, peak_memory() as peak:
        runner.run(graph_of(protocol, arm, TIMING_SEED - 3), lambda node: peaks.update({node: peak()}))
        return Taken(*(passes[kind] for kind in KINDS), peaks[DECODE], peak(), says_how())


def taken_by_arm(protocol: Protocol, arms: Sequence[Arm], folder: Path) -> dict[str, Taken]:
    """What was counted of these rows, as their graphs are now."""
    digests = {arm.name: digest_of(protocol, arm) for arm in arms}
    current = (row for row in Journal(folder / "measures.jsonl") if digests.get(row["arm"]) == row["graph"])
    return {
        row["arm"]: Taken(*(Passes(**row[kind]) for kind in KINDS), row[SAMPLING], row["peak_bytes"], row["how"])
        for row in current
        if SAMPLING in row
    }
