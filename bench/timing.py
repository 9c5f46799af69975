"""How long a panorama takes, measured on its own: nothing else should run beside it."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from bench.arms import UNGUIDED, Arm
from bench.graphs import graph_of
from bench.hosts import Runner
from bench.journal import Journal
from bench.protocol import Protocol
from bench.settled import digest_of
from bench.tables import markdown

TIMING_SEED = 2_000_000  # no picture of a table, so that the host's cache never answers


def measure(protocol: Protocol, arms: Sequence[Arm], folder: Path, runner: Runner, repeats: int) -> None:
    """Time every arm of the full width ``repeats`` times, one after the other, in turns; resumable.

    Every other turn goes backwards, so that a machine that warms up or slows down favours no row. Two untimed steps of
    the same row before each load what it needs.
    """
    arms = [arm for arm in arms if arm.width_px == protocol.widths_px[0]]
    journal, graphs = Journal(folder / "timing.jsonl"), _graphs(protocol, arms)
    done = {(row["arm"], row["repeat"]) for row in journal if _is_current(row, graphs)}
    turns = [(arm, k) for k in range(repeats) for arm in (reversed(arms) if k % 2 else arms)]
    short = replace(protocol, steps=2)
    for arm, repeat in tqdm(
        [job for job in turns if (job[0].name, job[1]) not in done], desc="timing", unit="panorama"
    ):
        runner.run(graph_of(short, arm, TIMING_SEED - 1))
        started = time.monotonic()
        runner.run(graph_of(protocol, arm, TIMING_SEED + repeat))
        seconds = round(time.monotonic() - started, 3)
        journal.append({"arm": arm.name, "graph": graphs[arm.name], "repeat": repeat, "seconds": seconds})


def timed(protocol: Protocol, arms: Sequence[Arm], folder: Path) -> dict[str, list[float]]:
    """Seconds of each arm that was timed as its graph is now, a repeat each."""
    graphs = _graphs(protocol, arms)
    seconds: dict[str, list[float]] = {}
    for row in Journal(folder / "timing.jsonl"):
        if _is_current(row, graphs):
            seconds.setdefault(row["arm"], []).append(row["seconds"])
    return seconds


def medians(protocol: Protocol, arms: Sequence[Arm], folder: Path) -> dict[str, float]:
    """Median seconds of each arm that was timed."""
    return {name: statistics.median(each) for name, each in timed(protocol, arms, folder).items()}


def _graphs(protocol: Protocol, arms: Sequence[Arm]) -> dict[str, str]:
    return {arm.name: digest_of(protocol, arm) for arm in arms}


def _is_current(row: dict, graphs: Mapping[str, str]) -> bool:
    """Whether a time is of the graph that its arm has now; rows from before graphs were kept do not say."""
    return row["arm"] in graphs and row.get("graph", graphs[row["arm"]]) == graphs[row["arm"]]


def time_table(arms: Sequence[Arm], seconds: dict[str, float]) -> str:
    """Markdown: seconds, and times MultiDiffusion's (Table 3's last column)."""
    base = seconds.get(UNGUIDED)
    timed = [(arm.title, seconds[arm.name]) for arm in arms if arm.name in seconds and base]
    rows = ([title, f"{own:.1f}", f"{own / base:.2f}"] for title, own in timed)
    return markdown(["", "seconds", "x MultiDiffusion"], rows)
