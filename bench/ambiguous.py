"""Ambiguous images of the demo world: which maps and prompts work, by how many seeds, and the best of each to look at.

    python -m bench.ambiguous                  # 16 seeds a cell: pictures, table, contact sheet
    python -m bench.ambiguous --seeds 4 --out /tmp/ambiguous

SyncTweedies as the View Sampler runs it with a light decoder: views agree in pictures, what the codec loses is added
again, the canvas is decoded by the VAE. 25 DDIM steps, CFG 7.5. Both views of a seed are judged against their prompts;
the example of the template is the best of its cell. A run goes on where it was stopped.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from tqdm import tqdm

from bench.networks import DemoCaptionScore
from bench.strategies import CELL_PX, SIZE_PX, denoiser_of, made, sampled
from bench.strategy_report import alignment, fits
from bench.tables import markdown
from demo.light_decoder import load_light_decoder
from demo.light_encoder import load_light_encoder
from demo.pipeline import DemoModel, load_demo
from syncdiffusion_core.agreement import PictureAgreement, keeps_colours
from syncdiffusion_core.batching import WindowBatches
from syncdiffusion_core.canvases.images import ImageLook, ImageMap, ImageViews
from syncdiffusion_core.reference import official_sigmas
from syncdiffusion_core.sampling import Method
from syncdiffusion_core.strategies import Synchronisation
from syncdiffusion_core.views.schedule import CellGrid

RESULTS = Path(__file__).parent / "results" / "ambiguous"
STEPS, CFG, SEEDS = 25, 7.5, 16
MAPS = (ImageMap.ROTATE_180, ImageMap.FLIP_UPSIDE_DOWN, ImageMap.NEGATE, ImageMap.JIGSAW)
PAIRS = (
    ("mountains at noon", "lake at sunset"),
    ("forest at noon", "lake at night"),
    ("desert at noon", "lake at night"),
)
RECOGNISED = 0.5
SHOWN_PX, TEXT_PX = 192, 44


class Example(NamedTuple):
    """A cell: what the second view does, and the prompts of both."""

    map: ImageMap
    prompts: tuple[str, str]

    @property
    def name(self) -> str:
        return f"{self.map.value}, {self.prompts[0]}, {self.prompts[1]}"


class Maker:
    """The demo model with its light codec."""

    def __init__(self, model: DemoModel) -> None:
        self.model, self.light, self.light_encoder = model, load_light_decoder(), load_light_encoder()
        self.sigmas = [*official_sigmas(STEPS)[:-1], 0.0]

    @torch.no_grad()
    def views(self, example: Example, seeds: Sequence[int]) -> Tensor:
        """What each view shows of the canvases of these seeds: [N, V, 3, H, W] in [0, 1]."""
        resolved = ImageViews((SIZE_PX, SIZE_PX), (ImageLook(), ImageLook(example.map))).resolve(
            None, CellGrid(CELL_PX)
        )
        pixels = resolved.pixels.every
        agreement = PictureAgreement(
            self.light.decode,
            self.light_encoder.encode,
            pixels,
            WindowBatches(2),
            keeps_colours(pixels),
            bake=self.model.decode,
        )
        denoiser = denoiser_of(self.model, [*example.prompts] * len(seeds), 2, CFG)
        method = Method(Synchronisation.SYNCTWEEDIES, agreement, batches=2)
        canvas = sampled(denoiser, resolved.latent, seeds, self.sigmas, method).canvas
        return ((pixels.project(canvas) + 1) / 2).clamp(0, 1).unflatten(0, (2, -1)).transpose(0, 1)


def table(pictures: dict[Example, Tensor], judge: DemoCaptionScore) -> pd.DataFrame:
    """A row a cell. A: the worse of both views' fits to their prompts, in [0, 1]."""
    rows = []
    for example, cell in pictures.items():
        a = alignment(fits(cell, [example.prompts] * len(cell), judge))
        share, best = float((a >= RECOGNISED).float().mean()), int(a.argmax())
        names = {"second view": example.map.value, "upright": example.prompts[0], "other": example.prompts[1]}
        rows.append(
            {**names, "recognised": share, "A, median": float(a.median()), "best seed": best, "A": float(a[best])}
        )
    return pd.DataFrame(rows)


def sheet(pictures: dict[Example, Tensor], frame: pd.DataFrame) -> Image.Image:
    """The best seed of each cell, both views beside each other, a map a line."""
    page = Image.new("RGB", (2 * len(PAIRS) * SHOWN_PX, len(MAPS) * (SHOWN_PX + TEXT_PX)), "white")
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(12)
    for number, (example, row) in enumerate(zip(pictures, frame.itertuples(), strict=True)):
        line, column = divmod(number, len(PAIRS))
        left, top = 2 * column * SHOWN_PX, line * (SHOWN_PX + TEXT_PX)
        words = f"{example.map.value}, seed {row[-2]}, A {row[-1]:.2f}\n" + " / ".join(example.prompts)
        draw.multiline_text((left + 4, top + 4), words, "black", font)
        for view, picture in enumerate(pictures[example][row[-2]]):
            image = Image.fromarray(picture.permute(1, 2, 0).numpy()).resize((SHOWN_PX, SHOWN_PX))
            page.paste(image, (left + view * SHOWN_PX, top + TEXT_PX))
    return page


def main(arguments: Sequence[str] | None = None) -> None:
    """Make what is missing and write the report; see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    options = parser.parse_args(arguments)
    maker, seeds, pictures = Maker(load_demo()), range(options.seeds), {}
    examples = [Example(*each) for each in product(MAPS, PAIRS)]
    with tqdm(total=len(examples) * options.seeds, unit="seed") as bar:
        for example in examples:
            file = options.out / "pictures" / f"{example.name}.npy".replace(", ", "_").replace(" ", "-")
            pictures[example] = torch.from_numpy(made(file, partial(maker.views, example), seeds, bar))
    frame = table(pictures, DemoCaptionScore())
    frame.to_csv(options.out / "figures.csv", index=False, float_format="%.4g")
    note = (
        f"{options.seeds} seeds in each row. A: the worse of both views' fits to their prompts by the demo's judge, .2 "
        f"for chance; recognised: share of seeds with A of {RECOGNISED} at least. python -m bench.ambiguous\n"
    )
    lines = frame.map(lambda value: f"{value:.2f}" if isinstance(value, float) else str(value)).values.tolist()
    (options.out / "table.md").write_text(markdown(list(frame.columns), lines) + "\n" + note, encoding="utf-8")
    sheet(pictures, frame).save(options.out / "sheet.jpg", quality=88)


if __name__ == "__main__":
    main()
