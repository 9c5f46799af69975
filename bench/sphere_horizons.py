"""Does a horizon that is drawn all around hold on a sphere? The demo world's ControlNet in the views of a rig.

    python -m bench.sphere_horizons            # 24 seeds a row: pictures, figures, table, contact sheet
    python -m bench.sphere_horizons --seeds 4 --out /tmp/horizons

A skyline of a globe that nobody has learnt from, exact or as a hand would draw it, as an equirectangular mask; each
view is shown its own part. As the table of spheres else, whose views at the horizon measure: no row was made from them.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from torch import Tensor
from tqdm import tqdm

from bench.horizons import KINDS, SMOOTH_PX, kind_of
from bench.intervals import Triple, interval
from bench.sphere_maker import SphereMaker, resolved_of
from bench.sphere_rows import BALANCED, ROWS, SIZE_PX, SphereRow, place_of
from bench.sphere_scores import CLASSES, HORIZON, SphereJudge, held_out_views
from bench.strategies import made
from bench.tables import markdown
from demo.controlnet import ControlNet
from demo.export import REMEDY
from demo.globe_views import HELD_OUT_SEED
from demo.globes import globe
from demo.horizon import hint_of, smooth, straight
from demo.judge import load_judge
from demo.palettes import TIMES
from demo.pipeline import DemoModel, load_demo
from demo.pipeline import Denoiser as DemoDenoiser
from demo.schedule import timestep
from demo.skyline import detect
from demo.train_control import FILE
from syncdiffusion_core.guidance.targets import AnchorKind
from syncdiffusion_core.weights import open_weights

RESULTS = Path(__file__).parent / "results" / "sphere_horizons"
GLOBES = HELD_OUT_SEED + 700_000
SEEDS, BATCH, STRENGTH, KNOT_PX = 24, 8, 0.5, 24
"""STRENGTH as in the table of planar panoramas (``control_table``)."""
SHOWN, SHOWN_PX, LABEL_PX = 6, (384, 192), 16


@dataclass(frozen=True)
class Arm:
    """A line of the table: a way to make spheres, and how strongly the drawing is on its prompts."""

    name: str
    title: str
    row: SphereRow
    strength: float = STRENGTH


GUIDED = SphereRow("guided", "guided", preset=BALANCED, target=AnchorKind.MEAN)
ARMS = (
    Arm("free", "18 views", ROWS["light"], 0.0),
    Arm("steered", "18 views, ControlNet", ROWS["light"]),
    Arm("steered_guided", "18 views, ControlNet, guided", GUIDED),
)


def skyline(seed: int) -> Tensor:
    """Rows of sky above the land in each column of an equirectangular picture, [W], fractions allowed."""
    height, width = SIZE_PX
    elevation = globe(GLOBES + seed, TIMES[seed % len(TIMES)], place_of(seed)).skyline
    rows = (0.5 - elevation / math.pi) * height
    around = np.tile(rows.reshape(width, -1).mean(axis=1), 3)  # drawing knows no wrap: the middle one of three is taken
    if kind_of(seed) == KINDS[1]:
        around = smooth(around, SMOOTH_PX)
    elif kind_of(seed) == KINDS[2]:
        around = straight(around, np.arange(0, len(around), KNOT_PX))
    return torch.from_numpy(np.asarray(around[width : 2 * width], np.float32))


@dataclass(frozen=True)
class Steered(DemoModel):
    """The demo model under its ControlNet. hints: features of one for every row of the prompts, [K, C, h, w]."""

    control: ControlNet | None = None
    hints: Tensor | None = None
    strength: float = STRENGTH

    def denoiser(self, cond: Tensor, uncond: Tensor, cfg: float) -> DemoDenoiser:
        """As a demo model's; not on the negative prompt: CFG then presses for the drawing as it does for the words."""

        def denoise(x: Tensor, sigma: Tensor | float, rows: Iterable[int]) -> Tensor:
            sigma = torch.as_tensor(sigma, dtype=x.dtype).expand(len(x))
            scale, numbers = (1 + sigma[:, None, None, None] ** 2).sqrt(), torch.as_tensor(list(rows))
            given = (x / scale, timestep(sigma))
            residuals = self.control.residuals(given[0], self.hints[numbers], given[1], cond[numbers])
            with_hint = self.unet(*given, cond[numbers], [self.strength * each for each in residuals])
            without = self.unet(*given, uncond.expand(len(x), -1, -1))
            v = without + cfg * (with_hint - without)
            return x / scale**2 - v * sigma[:, None, None, None] / scale

        return denoise


class Drawn:
    """What makes the arms."""

    def __init__(self, model: DemoModel) -> None:
        self.model, self.control = model, _control()

    @torch.no_grad()
    def make(self, arm: Arm, seeds: Sequence[int]) -> Tensor:
        """Pictures of these seeds: [N, 3, *SIZE_PX] in [0, 1]."""
        model = self.model
        if arm.strength:
            pixels = resolved_of(arm.row.cameras).pixels.every
            seen = pixels.project(torch.cat([drawing(seed) for seed in seeds]))  # view-major
            by_row = seen.unflatten(0, (len(pixels), -1)).transpose(0, 1).flatten(0, 1)
            hints = self.control.input_hint_block(by_row, None, None)
            model = Steered(model.unet, model.vae, model.text, model.tokenizer, self.control, hints, arm.strength)
        return SphereMaker(model).make(arm.row, seeds)


@cache
def drawing(seed: int) -> Tensor:
    """The mask of a seed: [1, 3, *SIZE_PX], white land below a black sky."""
    return hint_of(skyline(seed)[None], SIZE_PX[0])


def errors(judge: SphereJudge, pictures: Tensor) -> Tensor:
    """|drawn - found| of the skylines, mean over columns of the held-out views at the horizon, px: [N]."""
    views = held_out_views(SIZE_PX).subset(CLASSES[HORIZON])
    found = [detect(judge.detector, views.project(picture[None])) for picture in pictures]
    wanted = [(1 - views.project(drawing(seed))[:, 0]).sum(dim=1) for seed in range(len(pictures))]
    return (torch.stack(found) - torch.stack(wanted)).abs().mean(dim=(1, 2))


def table(lines: Sequence[tuple[str, Triple, Triple]], seeds: int, by_kind: str) -> str:
    """Markdown."""

    def cell(values: Triple, digits: int) -> str:
        return "{:.{d}f} ({:.{d}f} to {:.{d}f})".format(*values, d=digits)

    body = [[title, cell(error, 2), cell(agree, 3)] for title, error, agree in lines]
    note = (
        f"\n{seeds} seeds in each row; 95 % bootstrap intervals over seeds. Error: of the detected skyline against the "
        "drawn one, in px of views of 128 px and 75 degrees that no row was made from; a detector with an error of its "
        f"own.\nThe last row by kind of drawing, px: {by_kind}. python -m bench.sphere_horizons\n"
    )
    return markdown(["", "skyline error, px ↓", "horizon's views at the majority's time ↑"], body) + note


def sheet(pictures: dict[Arm, Tensor]) -> Image.Image:
    """The first seeds, an arm a row, the drawn skyline dotted over the pictures."""
    width, height = SHOWN_PX
    count = min(SHOWN, *map(len, pictures.values()))
    page = Image.new("RGB", (count * width, LABEL_PX + len(pictures) * height), "white")
    draw = ImageDraw.Draw(page)
    for seed in range(count):
        draw.text((seed * width + 4, 2), f"seed {seed}: {place_of(seed)}, {kind_of(seed)}", "black")
        line = (skyline(seed) * height / SIZE_PX[0]).round().long()
        columns = range(0, width, 4)
        for number, each in enumerate(pictures.values()):
            shown = F.interpolate(each[seed][None], (height, width), mode="area")[0]
            for x in columns:
                shown[:, line[x * SIZE_PX[1] // width].clamp(0, height - 1), x] = torch.tensor([1.0, 0.0, 1.0])
            image = Image.fromarray((shown * 255).byte().permute(1, 2, 0).numpy())
            page.paste(image, (seed * width, LABEL_PX + number * height))
    return page


def _control() -> ControlNet:
    with torch.device("meta"):
        control = ControlNet()
    open_weights(FILE, "safetensors file", REMEDY).fill(control, "the horizon ControlNet")
    return control.eval().requires_grad_(False)


def main(arguments: Sequence[str] | None = None) -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    options = parser.parse_args(arguments)
    drawn, judge = Drawn(load_demo(around=True)), SphereJudge(load_judge(around=True))
    pictures, lines = {}, []
    with tqdm(total=len(ARMS) * options.seeds, unit="panorama") as bar:
        for arm in ARMS:
            file = options.out / "pictures" / f"{arm.name}.npy"
            kept = made(file, partial(drawn.make, arm), range(options.seeds), bar, BATCH)
            pictures[arm] = torch.from_numpy(kept).float() / 255
    for arm, each in pictures.items():
        off, shares = errors(judge, each), judge.scores((each * 255).byte()).values["agree_horizon"]
        lines.append((arm.title, interval(off), interval(shares)))
    kinds = [kind_of(seed) for seed in range(options.seeds)]
    by_kind = {kind: off[[own == kind for own in kinds]] for kind in dict.fromkeys(kinds)}
    said = ", ".join(f"{kind} {float(values.mean()):.2f}" for kind, values in by_kind.items())
    (options.out / "table.md").write_text(table(lines, options.seeds, said), encoding="utf-8")
    sheet(pictures).save(options.out / "contact_sheet.jpg", quality=85)


if __name__ == "__main__":
    main()
