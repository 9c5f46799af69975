"""The README's table of the demo model: `python -m bench.demo_table`.

Six windows wide, prompt without the time of day, 50 steps of which 10 are guided. Makes what is missing under
bench/results/demo, scores it, and writes table.md, scores.json and contact_sheet.jpg there.
"""

import argparse
import json
from dataclasses import replace
from itertools import takewhile
from pathlib import Path

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from bench.arms import ARMS, CURVE_SEEDS, TABLE_SEEDS, Arm
from bench.generate import generate, picture
from bench.score import Kid, Scores, fresh_embeddings, score

RESULTS = Path(__file__).parent / "results" / "demo"
RESAMPLES = 2000
SHEET_SEEDS = 8
COLUMNS = ("windows at the majority's time", "all six alike", "Intra-LPIPS (judge)", "KID x 1000", "variance")


def interval(values: Tensor, resamples: Tensor) -> tuple[float, float, float]:
    """(mean, 2.5 %, 97.5 %) of the mean by bootstrap over panoramas."""
    means = values[resamples].mean(dim=1)
    low, high = means.quantile(torch.tensor([0.025, 0.975]))
    return float(values.mean()), float(low), float(high)


def figures(scores: Scores, fresh: Tensor) -> dict[str, tuple[float, float, float]]:
    """Each column of the table with its 95 % interval."""
    count = len(scores.agree)
    resamples = torch.randint(count, (RESAMPLES, count), generator=torch.Generator().manual_seed(0))
    kid = Kid(scores.embedding, fresh)
    kids = torch.tensor([kid.of(rows) for rows in resamples[:500]]).quantile(torch.tensor([0.025, 0.975]))
    columns = (scores.agree, scores.alike, scores.intra)
    values = [interval(column, resamples) for column in columns]
    values.append(tuple(1000 * v for v in (kid.of(torch.arange(count)), float(kids[0]), float(kids[1]))))
    values.append(interval(scores.variance, resamples))
    return dict(zip(COLUMNS, values, strict=True))


def table(rows: dict[str, dict[str, tuple[float, float, float]]], seeds: int) -> str:
    """A Markdown table: mean and 95 % interval."""
    lines = [f"| {seeds} seeds | " + " | ".join(COLUMNS) + " |", "|---" * (len(COLUMNS) + 1) + "|"]
    for title, row in rows.items():
        cells = [f"{mean:.3f} ({low:.3f}–{high:.3f})" for mean, low, high in row.values()]
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def contact_sheet(arms: list[Arm], folder: Path) -> Image.Image:
    """The first seeds, an arm a row, seed by seed."""
    width, height, label = 768, 128, 16
    sheet = Image.new("RGB", (width * 2, SHEET_SEEDS // 2 * (len(arms) * height + label)), "white")
    draw = ImageDraw.Draw(sheet)
    for k in range(SHEET_SEEDS):
        left, top = k % 2 * width, k // 2 * (len(arms) * height + label)
        draw.text((left + 4, top + 2), f"seed {arms[0].seeds[k]}: {', '.join(arm.title for arm in arms)}", "black")
        for row, arm in enumerate(arms):
            sheet.paste(Image.open(picture(folder, arm, arm.seeds[k])), (left, top + label + row * height))
    return sheet


def finished(arms: list[Arm], folder: Path) -> list[Arm]:
    """The arms over the leading seeds for which all of them have a picture."""
    ready = (all(picture(folder, arm, seed).exists() for arm in arms) for seed in arms[0].seeds)
    count = sum(takewhile(bool, ready))
    return [replace(arm, seeds=arm.seeds[:count]) for arm in arms]


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=2, help="ComfyUI processes at once")
    parser.add_argument("--out", type=Path, default=RESULTS, help="results folder")
    parser.add_argument("--arms", nargs="*", default=[arm.name for arm in ARMS], help="make pictures of these only")
    parser.add_argument("--score-only", action="store_true", help="make no picture, score the seeds that are there")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    if not options.score_only:
        generate([arm for arm in ARMS if arm.name in options.arms], options.out, options.workers)
    fresh = fresh_embeddings()
    long = finished([arm for arm in ARMS if arm.seeds == TABLE_SEEDS], options.out)
    curve = finished([replace(arm, seeds=CURVE_SEEDS) for arm in ARMS], options.out)
    parts = [
        (len(arms[0].seeds), {arm.title: figures(score(arm, options.out), fresh) for arm in arms})
        for arms in (long, curve)
        if arms[0].seeds
    ]
    text = "\n\n".join(table(rows, seeds) for seeds, rows in parts) + "\n"
    (options.out / "table.md").write_text(text, encoding="utf-8")
    (options.out / "scores.json").write_text(json.dumps(dict(parts), indent=1) + "\n", encoding="utf-8")
    contact_sheet(long, options.out).save(options.out / "contact_sheet.jpg", quality=88)
    print(text)


if __name__ == "__main__":
    main()
