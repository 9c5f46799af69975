"""How long a panorama takes, measured on its own: nothing else should run beside it."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from bench.arms import UNGUIDED, Arm
from bench.graphs import graph_of
from bench.hosts import Runner
from bench.journal import Journal
from bench.protocol import Protocol

TIMING_SEED = 2_000_000  # no picture of a table, so that the host's cache never answers


def measure(protocol: Protocol, arms: Sequence[Arm], folder: Path, runner: Runner, repeats: int) -> None:
    """Time every arm of the full width ``repeats`` times, one after the other, in turns; resumable.

    Two untimed steps of the same row before each load what it needs.
    """
    arms = [arm for arm in arms if arm.width_px == protocol.widths_px[0]]
    journal = Journal(folder / "timing.jsonl")
    done = {(row["arm"], row["repeat"]) for row in journal}
    jobs = [(arm, k) for k in range(repeats) for arm in arms if (arm.name, k) not in done]
    short = replace(protocol, steps=2)
    for arm, repeat in tqdm(jobs, desc="timing", unit="panorama"):
        runner.run(graph_of(short, arm, TIMING_SEED - 1))
        started = time.monotonic()
        runner.run(graph_of(protocol, arm, TIMING_SEED + repeat))
        journal.append({"arm": arm.name, "repeat": repeat, "seconds": round(time.monotonic() - started, 3)})


def medians(folder: Path) -> dict[str, float]:
    """Median seconds of each arm that was timed."""
    seconds: dict[str, list[float]] = {}
    for row in Journal(folder / "timing.jsonl"):
        seconds.setdefault(row["arm"], []).append(row["seconds"])
    return {arm: statistics.median(each) for arm, each in seconds.items()}


def time_table(arms: Sequence[Arm], seconds: dict[str, float]) -> str:
    """Markdown: seconds, and times MultiDiffusion's (Table 3's last column)."""
    lines = ["| | seconds | x MultiDiffusion |", "|---|---|---|"]
    for arm in arms:
        if arm.name in seconds and UNGUIDED in seconds:
            ratio = seconds[arm.name] / seconds[UNGUIDED]
            lines.append(f"| {arm.title} | {seconds[arm.name]:.1f} | {ratio:.2f} |")
    return "\n".join(lines) + "\n"
