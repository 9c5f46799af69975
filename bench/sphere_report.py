"""The report of the table of spheres: table.md, figures.csv, sheet.jpg."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from bench.intervals import Triple, draws_of, interval, ratio, triple
from bench.sphere_rows import place_of
from bench.sphere_scores import HORIZON, POLES, Scores, by_class
from bench.tables import markdown
from syncdiffusion_core.metrics.kernel import KernelDistance

SHOWN, SHOWN_PX, NAMES_PX, LABEL_PX = 3, (320, 160), 210, 18
SEAM = "seam"
COLUMNS = {
    "agree": ("at the majority's time ↑", 3, True),
    "agree_horizon": ("the same, horizon ↑", 3, True),
    "distance": ("distance of views ↓", 3, True),
    "distance_horizon": ("the same, horizon ↓", 3, False),
    SEAM: ("seam ratio (1)", 2, True),
    "pinch": ("pinch of poles (1)", 2, True),
    "broken": ("broken skylines ↓", 3, False),
}
"""Of figures a panorama: (title, digits, whether with its interval)."""
NOTE = """
Seeds of each row count from 0; 95 % bootstrap intervals over seeds. All figures but seam and pinch are of 26 views of
75 degrees that no row was made from: eight at the horizon, eight each 30 and 60 degrees above and below, both poles.
*At the majority's time*: share of a panorama's views that show the time of day most of them show, by the demo's
judge, which guides nothing. *Distance of views*: mean over all pairs by the same network; sky and ground differ in
any picture, so the true globes are its floor. *KID* x 1000 against views of {references} other true globes of the
same places at the same pitches, in the judge's standardised features. *Seam ratio*: mean absolute difference of
columns across the wrap over that at seven other meridians, where views and windows look as at the wrap. *Pinch*:
differences a pixel apart on circles of 1.5 to 4.5 px around the poles over those between neighbours elsewhere in the
poles' views. *Broken skylines*: share of views at the horizon whose skyline jumps by more than 20 px between columns.
Seconds: of one panorama ({devices}). Evaluations: of the model on one view of 128 px, guidance included. Memory: peak
of one panorama, weights included.
True globes are what a perfect row would show. python -m bench.spheres
"""


@dataclass(frozen=True)
class Costs:
    """Of a row, None where nothing was measured. evaluations: of each seed. seconds: of one panorama, on a device."""

    evaluations: Mapping[int, float]
    peak_bytes: int | None = None
    seconds: float | None = None
    device: str = ""


@dataclass(frozen=True)
class Line:
    """A row with all that is known of it. pictures: uint8 [N, 3, H, W]."""

    name: str
    title: str
    pictures: np.ndarray
    scores: Scores
    costs: Costs | None = None


def write_report(out: Path, lines: Sequence[Line], reference: Tensor) -> None:
    """reference: the judge's features of true globes, [M, views, D]."""
    out.mkdir(parents=True, exist_ok=True)
    figures_of(lines).to_csv(out / "figures.csv", index=False, float_format="%.6g")
    (out / "table.md").write_text(table(lines, reference), encoding="utf-8")
    sheet(lines).save(out / "sheet.jpg", quality=88)


def figures_of(lines: Sequence[Line]) -> pd.DataFrame:
    """A line a seed and row."""
    rows = []
    for line in lines:
        columns = {key: values.tolist() for key, values in line.scores.values.items()}
        for seed in range(len(line.pictures)):
            own = {key: values[seed] for key, values in columns.items()}
            known = None if line.costs is None else line.costs.evaluations.get(seed)
            rows.append({"row": line.name, "seed": seed, "place": place_of(seed), **own, "evaluations": known})
    return pd.DataFrame(rows)


def distances_of(features: Tensor, reference: Tensor) -> dict[str, Triple]:
    """KID by pitch, and that of the poles over that of the horizon, of [N, views, D]; none of a single panorama."""
    if len(features) < 2:
        return {}
    draws, of_all = draws_of(len(features)), torch.arange(len(features))[None]
    every = reference.flatten(0, 1)  # of all pitches: what hardly varies at one of them would drown the rest
    mean, deviation = every.mean(dim=0), every.std(dim=0).clamp(min=1e-6)
    references, result, drawn = dict(by_class((reference - mean) / deviation)), {}, {}
    for name, own in by_class((features - mean) / deviation):
        kernel = KernelDistance(own, references[name].flatten(0, 1))
        drawn[name] = kernel.resampled(draws)
        result[name] = triple(float(kernel.resampled(of_all)[0]), drawn[name])
    if result[HORIZON][0] > 0:
        result["ratio"] = triple(result[POLES][0] / result[HORIZON][0], drawn[POLES] / drawn[HORIZON])
    return result


def table(lines: Sequence[Line], reference: Tensor) -> str:
    """All rows as Markdown, and what the figures are."""
    classes = [name for name, _ in by_class(reference)]
    headings = [title for title, *_ in COLUMNS.values()] + [f"KID {name} ↓" for name in classes]
    body = []
    for line in lines:
        kids = distances_of(line.scores.features, reference)
        cells = [_shown(_figure(line.scores.values, key), digits, wide) for key, (_, digits, wide) in COLUMNS.items()]
        cells += [_shown(kids.get(name), 0, name in (HORIZON, POLES), 1000) for name in classes]
        poles = _shown(kids.get("ratio"), 1, False)
        body.append([line.title, str(len(line.pictures)), *cells, poles, *_cost_cells(line.costs)])
    costs = ["s", "evaluations", "GB"]
    devices = sorted({line.costs.device for line in lines if line.costs is not None and line.costs.device})
    note = NOTE.format(references=len(reference), devices=", ".join(devices) or "not measured")
    return markdown(["", "seeds", *headings, "poles / horizon ↓", *costs], body) + note


def _figure(values: Mapping[str, Tensor], key: str) -> Triple:
    return ratio(values["wrap"], values["elsewhere"]) if key == SEAM else interval(values[key])


def _shown(value: Triple | None, digits: int, wide: bool, scale: float = 1.0) -> str:
    if value is None:
        return "–"
    mean, low, high = (scale * v for v in value)
    return f"{mean:.{digits}f}" + (f" ({low:.{digits}f} to {high:.{digits}f})" if wide and low < high else "")


def _cost_cells(costs: Costs | None) -> list[str]:
    if costs is None:
        return ["–"] * 3
    evaluations = f"{np.mean(list(costs.evaluations.values())):.0f}" if costs.evaluations else "–"
    seconds = "–" if costs.seconds is None else f"{costs.seconds:.1f}"
    return [seconds, evaluations, "–" if costs.peak_bytes is None else f"{costs.peak_bytes / 1e9:.2f}"]


def sheet(lines: Sequence[Line]) -> Image.Image:
    """The same seeds of every row beside each other."""
    count = min(SHOWN, min(len(line.pictures) for line in lines))
    width, height = SHOWN_PX
    page = Image.new("RGB", (NAMES_PX + count * width, LABEL_PX + len(lines) * height), "white")
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(12)
    for seed in range(count):
        draw.text((NAMES_PX + seed * width + 4, 2), f"seed {seed}: {place_of(seed)}", "black", font)
    for number, line in enumerate(lines):
        top = LABEL_PX + number * height
        draw.multiline_text((4, top + height // 2 - 14), line.title.replace(", ", ",\n"), "black", font)
        for seed in range(count):
            image = Image.fromarray(np.ascontiguousarray(line.pictures[seed].transpose(1, 2, 0)))
            page.paste(image.resize(SHOWN_PX, Image.Resampling.LANCZOS), (NAMES_PX + seed * width, top))
    return page
