"""Where a row's time goes: torch's own profile, kept as text."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

from bench.arms import Arm
from bench.graphs import graph_of
from bench.hosts import Runner
from bench.journal import write_whole
from bench.protocol import Protocol
from bench.timing import TIMING_SEED

ROWS = 25


def write_profile(protocol: Protocol, arm: Arm, folder: Path, runner: Runner) -> str:
    """Profile one panorama; the operations that took most, by their own time, also as profile_<arm>.txt."""
    on_cuda = torch.cuda.is_available()
    runner.run(graph_of(replace(protocol, steps=2), arm, TIMING_SEED - 4))
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_cuda else [])]
    with profile(activities=activities) as profiler:
        runner.run(graph_of(protocol, arm, TIMING_SEED - 5))
    key = "self_cuda_time_total" if on_cuda else "self_cpu_time_total"
    table = profiler.key_averages().table(sort_by=key, row_limit=ROWS, max_name_column_width=60)
    text = f"{arm.title}, {protocol.steps} steps, {arm.width_px}x{protocol.window_px} px\n\n{table}"
    write_whole(folder / f"profile_{arm.name}.txt", text.encode())
    return text
