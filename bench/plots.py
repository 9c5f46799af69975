"""The tables as pictures: weight against coherence and quality, time against coherence."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.arms import SINGLE, UNGUIDED
from bench.figures import Column, Row
from bench.frontier_tables import Frontier
from bench.journal import write_whole
from bench.judges import INTRA_LPIPS
from bench.shares import Share

BLUE, GREY = "#2a6f97", "#777777"
KEPT = {"agree": "label agreement", INTRA_LPIPS: "second network"}
"""What the frontier's picture shows."""
BESIDE = {"textcoords": "offset points", "xytext": (6, 5)}
ABOVE = {"textcoords": "offset points", "xytext": (0, 6)}
PERCENT = "{x:.0%}"


def plot_weights(rows: Sequence[Row], columns: Sequence[Column], path: Path) -> None:
    """Each column over w, bars over prompts, single images dashed (the paper's Figure 8)."""
    plt = pyplot()
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
    save_figure(plt, figure, path)


def plot_times(rows: Sequence[Row], seconds: Mapping[str, float], path: Path) -> None:
    """Intra-LPIPS against time, both axes in units of MultiDiffusion's, for the rows of the full width."""
    plt = pyplot()
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
    save_figure(plt, figure, path)


def plot_frontier(frontier: Frontier, main: Sequence[str], path: Path) -> None:
    """The share of the reference's gain that each row keeps against its time in MultiDiffusions, with 95 % intervals.

    One part for each of KEPT that rows have. Shares are of the row's own seeds, so rows of few can be compared with
    rows of many; the main rows are named in the picture, the others have numbers, named beside it.
    """
    plt = pyplot()
    times = frontier.over(UNGUIDED)["time"]
    timed = [(times[row.arm.name], row) for row in frontier.rows if times[row.arm.name] > 0]
    parts = [(title, [(x, row, frontier.share(row, key)) for x, row in timed]) for key, title in KEPT.items()]
    parts = [(title, [point for point in points if point[2] is not None]) for title, points in parts]
    if not (parts := [(title, points) for title, points in parts if points]):
        return
    figure, (*axes, names) = plt.subplots(1, len(parts) + 1, figsize=(14, 5.6), width_ratios=(*[3] * len(parts), 1.6))
    others = [row.arm.name for _, row in timed if row.arm.name not in main]
    for axis, (title, points) in zip(axes, parts, strict=True):
        for x, row, share in points:
            number = None if row.arm.name in main else others.index(row.arm.name) + 1
            _kept(axis, x, share, row.arm.title if number is None else f"{number}", number is None)
        axis.plot(1, 0, marker="o", color=BLUE)
        axis.annotate("MultiDiffusion", (1, 0), fontsize=9, color=BLUE, **BESIDE)
        axis.axvline(1, color=GREY, linestyle="--", linewidth=1)
        axis.axhline(1, color=GREY, linestyle="--", linewidth=1)
        axis.set_xscale("log")
        times = [x for x, *_ in points]
        powers = range(math.floor(math.log2(min(times))), math.ceil(math.log2(max(times))) + 1)
        axis.set_xticks([2.0**k for k in powers], [f"{2.0**k:g}" for k in powers])
        axis.minorticks_off()
        axis.yaxis.set_major_formatter(PERCENT)
        axis.set_xlabel("time, times MultiDiffusion's")
        axis.set_ylabel(f"gain of the reference that is kept: {title}")
    title_of = {row.arm.name: f"{row.arm.title}, {row.count} seeds" for _, row in timed}
    key = "\n".join(f"{number}  {title_of[name]}" for number, name in enumerate(others, start=1))
    names.text(0, 1, key, fontsize=7.5, color=GREY, verticalalignment="top", transform=names.transAxes)
    names.set_axis_off()
    save_figure(plt, figure, path)


def _kept(axis, x: float, share: Share, name: str, is_main: bool) -> None:
    bars = [[share.value - share.low], [share.high - share.value]]
    style = {"capsize": 3, "zorder": 3} if is_main else {"linewidth": 0.5, "markersize": 4}
    axis.errorbar(x, share.value, bars, marker="o", color=BLUE if is_main else GREY, **style)
    if is_main:
        axis.annotate(name, (x, share.high), fontsize=9, color=BLUE, ha="center", **ABOVE)
    else:
        axis.annotate(name, (x, share.value), fontsize=7, color=GREY, **BESIDE)


def _weight(row: Row) -> float:
    return 0.0 if row.arm.guidance is None else float(row.arm.guidance["weight"])


def pyplot():
    """matplotlib's, without a screen."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    return plt


def save_figure(plt, figure, path: Path) -> None:
    """A PNG file, whole or not at all, that says nothing of when and by what it was drawn."""
    figure.tight_layout()
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=110, metadata={"Software": None})
    plt.close(figure)
    write_whole(path, file.getvalue())
