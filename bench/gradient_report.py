"""The study of gradients as a table, a file of figures and a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from bench.journal import write_whole
from bench.plots import pyplot, save_figure
from bench.tables import markdown

DRAWN = {
    "exact J g (jvp)": "#222222",
    "forward, h = 0.1": "#2a6f97",
    "forward, h = 0.1, bfloat16": "#74b3d6",
    "Wiener, natural images": "#c1121f",
    "Wiener, this picture (online)": "#f4a261",
    "Wiener, measured": "#588157",
    "decoder gradient, plain": "#999999",
}
"""What the picture shows, and how."""

WORDS = (
    "Mean cosine with the true gradient (reverse mode, float32), and in brackets the median ratio of norms, over "
    "windows: 1 (1) is the true gradient itself.\n"
)


def write_report(rows: Sequence[dict], folder: Path) -> None:
    """table.md, figures.csv and cosine.png of the journal's rows."""
    windows = collect(rows)
    figures = figures_of(windows)
    write_whole(folder / "table.md", table(windows, figures).encode())
    write_whole(folder / "figures.csv", spreadsheet(figures).encode())
    plot(figures, folder / "cosine.png")


def collect(rows: Sequence[dict]) -> pd.DataFrame:
    """A row for every window of every seed and surrogate."""
    return pd.DataFrame(
        [
            (row["cfg"], row["sigma"], name, row["seed"], *window)
            for row in rows
            for name, windows in row["figures"].items()
            for window in windows
        ],
        columns=["cfg", "sigma", "gradient", "seed", "cosine", "norm ratio"],
    )


def figures_of(windows: pd.DataFrame) -> pd.DataFrame:
    """By CFG, level from noise to picture, and surrogate in its order: all windows of all seeds together."""
    groups = windows.groupby(["cfg", "sigma", "gradient"], sort=False)
    spread = groups[["cosine", "norm ratio"]].quantile([0.1, 0.5, 0.9]).unstack()
    spread.columns = [f"{what} {100 * q:.0f} %" for what, q in spread.columns]
    figures = groups["cosine"].agg(**{"windows": "size", "cosine mean": "mean", "cosine sd": "std"}).join(spread)
    return figures.sort_index(level=["cfg", "sigma"], ascending=[True, False], sort_remaining=False, kind="stable")


def table(windows: pd.DataFrame, figures: pd.DataFrame) -> str:
    """Markdown: a part for each CFG; mean cosine and median norm ratio at each level."""
    seeds = windows.groupby(["cfg", "sigma"])["seed"].nunique()  # a run that was stopped has early levels of more
    cells = figures.apply(lambda row: f"{row['cosine mean']:.2f} ({row['norm ratio 50 %']:.2g})", axis=1)
    (cfgs, sigmas), names = _levels(figures), figures.index.unique("gradient")
    parts = [WORDS]
    for cfg in cfgs:
        levels = [(cfg, sigma) for sigma in sigmas]
        rows = [["*windows*", *(f"*{figures['windows'].get((*level, names[0]), 0)}*" for level in levels)]]
        rows += [["*seeds*", *(f"*{seeds.get(level, 0)}*" for level in levels)]]
        rows += [[name, *(cells.get((*level, name), "–") for level in levels)] for name in names]
        parts.append(markdown([f"CFG {cfg:g}", *(f"σ = {sigma:.2f}" for sigma in sigmas)], rows))
    return "\n".join(parts)


def spreadsheet(figures: pd.DataFrame) -> str:
    """CSV: a row for each CFG, level and surrogate."""
    rounded = figures.drop(columns="windows").map("{:.4g}".format)
    return figures[["windows"]].join(rounded).to_csv(lineterminator="\n")


def plot(figures: pd.DataFrame, path: Path) -> None:
    """Cosine (band: middle 80 % of windows) and norm ratio over the noise level, a column for each CFG."""
    plt = pyplot()
    cfgs, sigmas = _levels(figures)
    figure, axes = plt.subplots(2, len(cfgs), figsize=(4.2 * len(cfgs), 6.4), squeeze=False, sharex=True, sharey="row")
    for column, cfg in zip(axes.T, cfgs, strict=True):
        for name, colour in DRAWN.items():
            shown = figures.reindex([(cfg, sigma, name) for sigma in sigmas])
            column[0].plot(sigmas, shown["cosine mean"], color=colour, marker="o", markersize=3, label=name)
            column[0].fill_between(
                sigmas, shown["cosine 10 %"], shown["cosine 90 %"], color=colour, alpha=0.08, linewidth=0
            )
            column[1].plot(sigmas, shown["norm ratio 50 %"], color=colour, marker="o", markersize=3)
        column[0].set_title(f"CFG {cfg:g}", fontsize=10)
        column[1].set_xlabel("noise level σ (early steps at the left)")
        column[1].set_yscale("log")
        column[1].minorticks_off()
        column[1].axhline(1, color="#cccccc", linewidth=1, zorder=0)
    axes[0, 0].set_ylabel("cosine with the true gradient")
    axes[1, 0].set_ylabel("norm ratio")
    axes[0, 0].set_xscale("log")
    axes[0, 0].set_xticks(sigmas, [f"{sigma:.1f}" for sigma in sigmas])
    axes[0, 0].minorticks_off()
    axes[0, 0].invert_xaxis()
    axes[0, -1].legend(fontsize=7, loc="lower right")
    save_figure(plt, figure, path)


def _levels(figures: pd.DataFrame) -> tuple[list[float], list[float]]:
    """CFGs, and levels from noise to picture."""
    return sorted(figures.index.unique("cfg")), sorted(figures.index.unique("sigma"), reverse=True)
