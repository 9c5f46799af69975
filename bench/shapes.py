"""Time and memory on networks of the shapes that people use, their weights random: nothing is downloaded."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import torch
from tqdm import tqdm

from bench.arms import UNGUIDED, Arm
from bench.frontier_arms import BALANCED, FAST, MAIN, MODE
from bench.hosts import in_process
from bench.in_process import InProcess
from bench.journal import Journal, write_whole
from bench.meter import peak_memory, says_how
from bench.shape_graphs import prepare, shape_graph, shape_protocol, size_of
from bench.shape_kinds import CUDA_SHAPES, SHAPES
from bench.surface import lacking
from bench.tables import markdown

STEPS = 10
"""Two of them guided, as in a full schedule a fifth is."""
FORWARD_ONLY = {"gradient": "forward only"}
GIB = 2**30


@dataclass(frozen=True)
class Measured:
    """One row. seconds: of a step, guided ones in their proportion. held_bytes: weights, before the run.

    estimate_bytes: what the user was told that the run would take beside them, if so.
    """

    shape: str
    canvas: str
    arm: str
    seconds: float
    peak_bytes: int
    held_bytes: int = 0
    estimate_bytes: int | None = None
    failed: str | None = None


def measure_shapes(folder: Path, names: Sequence[str]) -> str:
    """Measure what is missing of these shapes (the three of CUDA if none are named); the table, also in shapes.md.

    What failed is missing: it is tried again.
    """
    if unknown := [name for name in names if name not in SHAPES]:
        raise ValueError(f"--shapes: there is no {', '.join(unknown)}; there are {', '.join(SHAPES)}")
    if not torch.cuda.is_available() and "tiny" not in names:
        return "--shapes: no CUDA here, so nothing is measured (--shapes tiny shows that the command works)"
    names, journal = names or CUDA_SHAPES, Journal(folder / "shapes.jsonl")
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "processor"
    done = {_key(row) for row in journal if row["device"] == device and row["failed"] is None}
    with in_process() as runner, tempfile.TemporaryDirectory() as scratch:
        prepare(Path(scratch))
        jobs = [(name, canvas, arm) for name in names for canvas in SHAPES[name].canvases for arm in _arms(canvas)]
        for name, canvas, arm in tqdm(jobs, desc="shapes"):
            if (name, size_of(canvas), arm.name) not in done and _able(name, canvas, arm, runner):
                journal.append({"device": device, **asdict(measure_one(name, canvas, arm, runner))})
    rows = {_key(row): row for row in journal if row.pop("device") == device}  # of what failed before, the last
    text = shape_table([Measured(**row) for row in rows.values()]) + f"\n{device}; peak memory: {says_how()}.\n"
    write_whole(folder / "shapes.md", text.encode())
    return text


def _key(row: dict) -> tuple[str, str, str]:
    return row["shape"], row["canvas"], row["arm"]


def measure_one(name: str, canvas: tuple[int, int], arm: Arm, runner: InProcess) -> Measured:
    """One row on one canvas, its models loaded and its kernels chosen by two steps of it before."""
    protocol, row = shape_protocol(SHAPES[name], canvas, STEPS), partial(Measured, name, size_of(canvas), arm.name)
    try:
        runner.execute(shape_graph(replace(protocol, steps=2), arm, name, seed=1))
        held = torch.cuda.memory_allocated() if torch.cuda.is_available() else 0
        with peak_memory() as peak:
            started = time.monotonic()
            runner.execute(shape_graph(protocol, arm, name, seed=2))
            seconds = (time.monotonic() - started) / STEPS
            return row(seconds, peak(), held, runner.estimated_bytes())
    except RuntimeError as error:
        return row(float("nan"), 0, failed=str(error).splitlines()[0][:120])


def shape_table(rows: Sequence[Measured]) -> str:
    """Markdown: seconds a step and peak memory of each row, over MultiDiffusion's and the reference's of its canvas."""
    headings = ["", "canvas", "", "s a step", "x MultiDiffusion", "x reference", "peak GiB", "of it weights"]
    lines = []
    by_name = {(row.shape, row.canvas, row.arm): row for row in rows}
    for row in rows:
        title = SHAPES[row.shape].title
        if row.failed is not None:
            lines.append([title, row.canvas, row.arm, row.failed, *["–"] * 5])
            continue
        others = (by_name.get((row.shape, row.canvas, unit)) for unit in (UNGUIDED, MODE))
        times = ["–" if other is None or other.failed else f"{row.seconds / other.seconds:.2f}" for other in others]
        estimate = (
            "–" if row.estimate_bytes is None else f"{row.estimate_bytes / (row.peak_bytes - row.held_bytes):.2f}"
        )
        cells = [f"{row.seconds:.3f}", *times, f"{row.peak_bytes / GIB:.2f}", f"{row.held_bytes / GIB:.2f}", estimate]
        lines.append([title, row.canvas, row.arm, *cells])
    return markdown([*headings, "estimate / truth"], lines)


def _arms(canvas: tuple[int, int]) -> list[Arm]:
    guidance = {
        UNGUIDED: None,
        MODE: {},
        BALANCED: {"preset": "balanced", **FORWARD_ONLY},
        FAST: {"preset": "fast", **FORWARD_ONLY},
    }
    return [Arm(name, name, canvas[0], range(1), guidance=guidance[name]) for name in MAIN]


def _able(name: str, canvas: tuple[int, int], arm: Arm, runner: InProcess) -> bool:
    lack = lacking(shape_graph(shape_protocol(SHAPES[name], canvas, STEPS), arm, name, seed=1), runner.declared)
    if lack is not None:
        tqdm.write(f"skipped: {arm.name}, {lack}")
    return lack is None
