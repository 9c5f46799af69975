"""The study of gradients as a table, a file of figures and a picture."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from bench.journal import write_whole
from bench.plots import pyplot, save_figure

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

NOTHING = np.full((1, 2), np.nan)

Figures = dict[tuple[float, float, str], np.ndarray]
"""(cfg, sigma, surrogate) -> (cosine, norm ratio) of every window, [n, 2]."""


def write_report(rows: Sequence[dict], folder: Path) -> None:
    """table.md, figures.csv and cosine.png of the journal's rows."""
    figures, file = collect(rows), io.StringIO()
    csv.writer(file, lineterminator="\n").writerows(spreadsheet(figures))
    write_whole(folder / "table.md", table(figures, seeds_of(rows)).encode())
    write_whole(folder / "figures.csv", file.getvalue().encode())
    plot(figures, folder / "cosine.png")


def collect(rows: Sequence[dict]) -> Figures:
    """All windows of all seeds together."""
    windows = defaultdict(list)
    for row in rows:
        for name, values in row["figures"].items():
            windows[row["cfg"], row["sigma"], name] += values
    return {key: np.array(values) for key, values in windows.items()}


def seeds_of(rows: Sequence[dict]) -> dict[tuple[float, float], int]:
    """(cfg, sigma) -> from how many seeds the windows are: a run that was stopped has early levels of more."""
    seeds = defaultdict(set)
    for row in rows:
        seeds[row["cfg"], row["sigma"]].add(row["seed"])
    return {key: len(each) for key, each in seeds.items()}


def table(figures: Figures, seeds: Mapping[tuple[float, float], int]) -> str:
    """Markdown: a part for each CFG; mean cosine and median norm ratio at each level."""
    cfgs, sigmas, names = _axes(figures)
    lines = [
        "Mean cosine with the true gradient (reverse mode, float32), and in brackets the median ratio of norms, over "
        "windows: 1 (1) is the true gradient itself.",
    ]
    for cfg in cfgs:
        lines += ["", f"| CFG {cfg:g} | {' | '.join(f'σ = {sigma:.2f}' for sigma in sigmas)} |"]
        lines.append("|---" * (len(sigmas) + 1) + "|")
        counts = [len(figures.get((cfg, sigma, names[0]), ())) for sigma in sigmas]
        lines.append(f"| *windows* | {' | '.join(f'*{count}*' for count in counts)} |")
        lines.append(f"| *seeds* | {' | '.join(f'*{seeds.get((cfg, sigma), 0)}*' for sigma in sigmas)} |")
        for name in names:
            cells = [_cell(figures.get((cfg, sigma, name))) for sigma in sigmas]
            lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def spreadsheet(figures: Figures) -> list[list]:
    """A row for each CFG, level and surrogate."""
    head = ["cfg", "sigma", "gradient", "windows", "cosine mean", "cosine sd"]
    head += [f"{what} {q} %" for what in ("cosine", "norm ratio") for q in (10, 50, 90)]
    rows = [head]
    for (cfg, sigma, name), values in sorted(figures.items(), key=lambda item: (item[0][0], -item[0][1])):
        cosine = values[:, 0]
        spread = np.percentile(values, (10, 50, 90), axis=0).T.flatten()
        rows.append(
            [cfg, sigma, name, len(values)] + [f"{v:.4g}" for v in (cosine.mean(), cosine.std(ddof=1), *spread)]
        )
    return rows


def plot(figures: Figures, path: Path) -> None:
    """Cosine (band: middle 80 % of windows) and norm ratio over the noise level, a column for each CFG."""
    plt = pyplot()
    cfgs, sigmas, _ = _axes(figures)
    figure, axes = plt.subplots(2, len(cfgs), figsize=(4.2 * len(cfgs), 6.4), squeeze=False, sharex=True, sharey="row")
    for column, cfg in zip(axes.T, cfgs, strict=True):
        for name, colour in DRAWN.items():
            values = [figures.get((cfg, sigma, name), NOTHING) for sigma in sigmas]
            low, high = (np.array([np.percentile(v[:, 0], q) for v in values]) for q in (10, 90))
            column[0].plot(sigmas, [v[:, 0].mean() for v in values], color=colour, marker="o", markersize=3, label=name)
            column[0].fill_between(sigmas, low, high, color=colour, alpha=0.08, linewidth=0)
            column[1].plot(sigmas, [np.median(v[:, 1]) for v in values], color=colour, marker="o", markersize=3)
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


def _axes(figures: Figures) -> tuple[list[float], list[float], list[str]]:
    """CFGs, levels from noise to picture, surrogates in their order."""
    cfgs, sigmas, names = (list(dict.fromkeys(key[k] for key in figures)) for k in range(3))
    return sorted(cfgs), sorted(sigmas, reverse=True), names


def _cell(values: np.ndarray | None) -> str:
    return "–" if values is None else f"{values[:, 0].mean():.2f} ({np.median(values[:, 1]):.2g})"
