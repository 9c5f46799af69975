"""Figures of the toy experiment of strategies: a table with intervals, a CSV, a contact sheet."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from bench.networks import CaptionScorer, DemoCaptionScore, DemoFeatures
from bench.tables import markdown
from syncdiffusion_core.metrics.frechet import frechet_distance
from syncdiffusion_core.metrics.kernel import KernelDistance

DRAWS = 1000
CLIP_SHARPNESS = 100.0
"""What CLIP's networks were trained to multiply their cosines by."""
SHOWN, PICTURE_PX, NAMES_PX = 6, 96, 190


class Cell(NamedTuple):
    """Pictures of one strategy on one kind of projection, [N, V, 3, H, W], in [0, 1] or in bytes.

    seen: views as the model's last predictions have them; shown: as the canvas has them.
    """

    seen: Tensor
    shown: Tensor


class Column(NamedTuple):
    """A figure of draws of seeds by number [T, R] -> [T]; or one number, where resampling means nothing.

    Resampled rows lower the rank of a covariance: the Frechet distance has no such interval.
    """

    title: str
    digits: int
    of: Callable[[Tensor], Tensor] | float


def write_report(
    out: Path,
    cells: Mapping[tuple[str, str], Cell],
    singles: Tensor,
    prompts: Sequence[tuple[str, str]],
    clip: CaptionScorer | None = None,
) -> None:
    """table.md, figures.csv and sheet.jpg. cells: by (kind, strategy), of bytes, as are the single images.

    clip: gives A and C instead of the demo's judge.
    """
    judge, features, rows = clip or DemoCaptionScore(), DemoFeatures(), []
    sharpness = None if clip is None else CLIP_SHARPNESS
    reference = features.embed(singles.flatten(0, 1) / 255)
    mean, deviation, detail = reference.mean(dim=0), reference.std(dim=0), fine_detail(singles).mean()

    def embedded(pictures: Tensor) -> Tensor:
        return (features.embed(pictures.flatten(0, 1) / 255) - mean) / deviation

    for (kind, name), cell in cells.items():
        scores = fits(cell.shown, prompts, judge)
        for column in _columns(cell, (scores, sharpness), embedded(cell.shown), embedded(singles), detail):
            rows.append({"kind": kind, "strategy": name, "figure": column.title, **_interval(column, len(prompts))})
    frame = pd.DataFrame(rows)
    frame.to_csv(out / "figures.csv", index=False, float_format="%.6g")
    (out / "table.md").write_text(_table(frame, len(prompts)), encoding="utf-8")
    _sheet(cells, prompts).save(out / "sheet.jpg", quality=88)


def fits(pictures: Tensor, prompts: Sequence[tuple[str, str]], judge: CaptionScorer) -> Tensor:
    """How well view i of a seed fits prompt j, the demo judge's probability or CLIP's cosine: [N, V, V] in [0, 1]."""
    count = pictures.shape[1]
    scores = [
        judge.score(pictures[:, view] / 255, [texts[other] for texts in prompts]) / 100
        for view in range(count)
        for other in range(count)
    ]
    return torch.stack(scores, dim=1).unflatten(1, (count, count))


def alignment(scores: Tensor) -> Tensor:
    """A: the worst fit of a view to its own prompt, [N] (visual anagrams, CVPR 2024, section 4)."""
    return scores.diagonal(dim1=1, dim2=2).amin(dim=1)


def concealment(scores: Tensor, sharpness: float | None = None) -> Tensor:
    """C: how surely a view is told from its prompt, and a prompt from its view: [N] in [0, 1], .5 for chance of two.

    sharpness: of the softmax that visual anagrams take of CLIP's cosines; a judge's probabilities need none.
    """
    most = scores.amax(dim=(1, 2), keepdim=True)
    likely = scores if sharpness is None else (sharpness * (scores - most)).exp()
    own = likely.diagonal(dim1=1, dim2=2)
    by_view, by_prompt = own / likely.sum(dim=2), own / likely.sum(dim=1)
    return ((by_view + by_prompt) / 2).mean(dim=1)


def fine_detail(pictures: Tensor) -> Tensor:
    """Root mean square of what a blur of 3 x 3 pixels takes away, of pictures [N, V, 3, H, W] of bytes: [N]."""
    flat = pictures.flatten(0, 1) / 255
    left = flat - F.avg_pool2d(flat, 3, 1, 1, count_include_pad=False)
    return left.square().flatten(1).mean(dim=1).sqrt().unflatten(0, (len(pictures), -1)).mean(dim=1)


def _columns(
    cell: Cell, judged: tuple[Tensor, float | None], features: Tensor, reference: Tensor, detail: Tensor
) -> list[Column]:
    """judged: ``fits`` and how sharply they are told apart. detail: of single images."""
    a, c, fine = alignment(judged[0]), concealment(*judged), fine_detail(cell.shown) / detail
    apart = (cell.seen.float() - cell.shown.float()).square().flatten(1).mean(dim=1).sqrt() / 255
    kernel, views = KernelDistance(features, reference), cell.shown.shape[1]

    def kid(draws: Tensor) -> Tensor:
        return 1000 * kernel.resampled((views * draws[..., None] + torch.arange(views)).flatten(-2))

    return [
        Column("A", 3, lambda draws: a[draws].mean(dim=-1)),
        Column("C", 3, lambda draws: c[draws].mean(dim=-1)),
        Column("KID x 1000", 0, kid),
        Column("FID", 1, frechet_distance(features, reference)),
        Column("fine detail", 2, lambda draws: fine[draws].mean(dim=-1)),
        Column("views off the canvas", 4, lambda draws: apart[draws].mean(dim=-1)),
    ]


def _interval(column: Column, count: int) -> dict[str, float]:
    """Value and the bounds of its 95 % bootstrap interval over seeds, where it has one."""
    if isinstance(column.of, float):
        return {"value": column.of, "low": column.of, "high": column.of, "digits": column.digits}
    draws = torch.randint(count, (DRAWS, count), generator=torch.manual_seed(0))
    low, high = column.of(draws).double().nanquantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return {"value": float(column.of(torch.arange(count)[None])[0]), "low": low, "high": high, "digits": column.digits}


def _table(frame: pd.DataFrame, count: int) -> str:
    titles, lines = list(dict.fromkeys(frame["figure"])), []
    for (kind, strategy), rows in frame.groupby(["kind", "strategy"], sort=False):
        cells = [_cell(row) for row in rows.itertuples()]
        lines.append([kind, strategy, *cells])
    note = (
        f"{count} seeds in each row, the same for all; 95 % bootstrap intervals over seeds. A: the worst fit of a view "
        "to its prompt; C: how surely views are told apart (.5 is chance); KID and FID: the canvas's views against "
        "single images of the same prompts, in the judge's features, which hardly see noise or blur; fine detail: over "
        "that of single images, more for noise, less for blur; views off the canvas: root mean square distance of the "
        "last predictions to what the canvas shows. python -m bench.strategies\n"
    )
    return markdown(["projection", "strategy", *titles], lines) + "\n" + note


def _cell(row: object) -> str:
    digits = int(row.digits)
    value = f"{row.value:.{digits}f}"
    return value if row.low == row.high else f"{value} ({row.low:.{digits}f} to {row.high:.{digits}f})"


def _sheet(cells: Mapping[tuple[str, str], Cell], prompts: Sequence[tuple[str, str]]) -> Image.Image:
    """The first seeds: a strategy a line, both views of each seed beside each other, as the canvas shows them."""
    count, font = min(SHOWN, len(prompts)), ImageFont.load_default(12)
    sheet = Image.new("RGB", (NAMES_PX + 2 * count * PICTURE_PX, 36 + len(cells) * PICTURE_PX), "white")
    draw = ImageDraw.Draw(sheet)
    for seed in range(count):
        draw.multiline_text((NAMES_PX + 2 * seed * PICTURE_PX + 2, 2), "\n".join(prompts[seed]), "black", font)
    for line, ((kind, name), cell) in enumerate(cells.items()):
        top = 36 + line * PICTURE_PX
        draw.multiline_text((4, top + PICTURE_PX // 2 - 14), f"{kind}\n{name}", "black", font)
        for column, picture in enumerate(cell.shown[:count].flatten(0, 1)):
            image = Image.fromarray(picture.permute(1, 2, 0).numpy()).resize((PICTURE_PX, PICTURE_PX))
            sheet.paste(image, (NAMES_PX + column * PICTURE_PX, top))
    return sheet
