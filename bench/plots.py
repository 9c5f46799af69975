"""The tables as pictures: weight against coherence and quality, time against coherence."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.arms import SINGLE, UNGUIDED
from bench.figures import Column, Row
from bench.frontier_tables import Frontier
from bench.judges import INTRA_LPIPS

BLUE, GREY = "#2a6f97", "#777777"
AGREE = "agree"


def plot_weights(rows: Sequence[Row], columns: Sequence[Column], path: Path) -> None:
    """Each column over w, bars over prompts, single images dashed (the paper's Figure 8)."""
    plt = _pyplot()
    weights = [(_weight(row), row) for row in rows if row.arm.section.startswith("Weight w")]
    single = next((row for row in rows if row.arm.name == SINGLE), None)
    columns = [c for c in columns if all(c.key in row.by_prompt for _, row in weights)]
    if len(weights) < 2 or not columns:
        return
    figure, axes = plt.subplots(1, len(columns), figsize=(3.1 * len(columns), 3.0), squeeze=False)
    for axis, column in zip(axes[0], columns, strict=True):
        figures = [row.by_prompt[column.key] for _, row in weights]
        means, deviations = ([(v or 0.0) * column.scale for v in part] for part in zip(*figures, strict=True))
        axis.errorbar([w for w, _ in weights], means, deviations, marker="o", color=BLUE, capsize=3)
        if single is not None and column.key in single.by_prompt:
            axis.axhline(single.by_prompt[column.key][0] * column.scale, color=GREY, linestyle="--", linewidth=1)
        axis.set_title(column.heading, fontsize=10)
        axis.set_xlabel("w")
    _save(plt, figure, path)


def plot_times(rows: Sequence[Row], seconds: Mapping[str, float], path: Path) -> None:
    """Intra-LPIPS against time, both axes in units of MultiDiffusion's, for the rows of the full width."""
    plt = _pyplot()
    shown = [row for row in rows if row.arm.name in seconds and INTRA_LPIPS in row.interval]
    base = next((row for row in shown if row.arm.name == UNGUIDED), None)
    if base is None:
        return
    shown = [row for row in shown if row.arm.width_px == base.arm.width_px]
    figure, axis = plt.subplots(figsize=(6.4, 4.2))
    for row in shown:
        x = seconds[row.arm.name] / seconds[UNGUIDED]
        mean, low, high = row.interval[INTRA_LPIPS]
        axis.errorbar(x, mean, [[mean - low], [high - mean]], marker="o", color=BLUE, capsize=3)
        axis.annotate(row.arm.title, (x, mean), textcoords="offset points", xytext=(7, 4), fontsize=8)
    axis.set_xscale("log")
    ticks = [
        2.0**k for k in range(math.ceil(math.log2(max(seconds[r.arm.name] for r in shown) / seconds[UNGUIDED])) + 1)
    ]
    axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.minorticks_off()
    axis.set_xlabel("time, times MultiDiffusion's")
    axis.set_ylabel(f"{INTRA_LPIPS} ↓")
    _save(plt, figure, path)


def plot_frontier(frontier: Frontier, main: Sequence[str], path: Path) -> None:
    """Label agreement against time in MultiDiffusions, on a log axis; the main rows with their intervals.

    The others are points with numbers, named beside the picture.
    """
    plt = _pyplot()
    points = [(frontier.time(row.arm.name, UNGUIDED), row) for row in frontier.rows if AGREE in row.interval]
    points = [(x, row) for x, row in points if x is not None]
    if not points:
        return
    figure, (axis, names) = plt.subplots(1, 2, figsize=(11, 5.6), width_ratios=(3, 1))
    others = [row.arm.title for _, row in points if row.arm.name not in main]
    for x, row in points:
        mean, low, high = row.interval[AGREE]
        place = {"textcoords": "offset points", "xytext": (6, 5)}
        if row.arm.name in main:
            axis.errorbar(x, mean, [[mean - low], [high - mean]], marker="o", color=BLUE, capsize=3, zorder=3)
            axis.annotate(row.arm.title, (x, mean), fontsize=9, color=BLUE, **place)
        else:
            axis.plot(x, mean, marker=".", color=GREY)
            axis.annotate(f"{others.index(row.arm.title) + 1}", (x, mean), fontsize=7, color=GREY, **place)
    key = "\n".join(f"{number}  {title}" for number, title in enumerate(others, start=1))
    names.text(0, 1, key, fontsize=7.5, color=GREY, verticalalignment="top", transform=names.transAxes)
    names.set_axis_off()
    axis.axvline(1, color=GREY, linestyle="--", linewidth=1)
    axis.set_xscale("log")
    times = [x for x, _ in points]
    powers = range(math.floor(math.log2(min(times))), math.ceil(math.log2(max(times))) + 1)
    axis.set_xticks([2.0**k for k in powers], [f"{2.0**k:g}" for k in powers])
    axis.minorticks_off()
    axis.set_xlabel("time, times MultiDiffusion's")
    axis.set_ylabel("windows at the majority's label ↑")
    _save(plt, figure, path)


def _weight(row: Row) -> float:
    return 0.0 if row.arm.guidance is None else float(row.arm.guidance["weight"])


def _pyplot():
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    return plt


def _save(plt, figure, path: Path) -> None:
    figure.tight_layout()
    figure.savefig(path, dpi=110, metadata={"Software": None})
    plt.close(figure)
