"""The toy experiment of SyncTweedies on the demo model: five strategies, three kinds of projection.

    python -m bench.strategies                 # 64 seeds a cell: pictures, figures, table, contact sheet
    python -m bench.strategies --seeds 8 --out /tmp/strategies
    python -m bench.strategies --clip clip-vit-base-patch16/    # CLIP-A and CLIP-C of the same pictures

Ambiguous images of two prompts, 20 DDIM steps, CFG 10, in latents of 16 x 16 cells. One-to-one: upright and upside
down. One-to-n: upright, and the inner circle turned by 45 degrees. n-to-one: upright and upside down of a canvas of ten
planes, whose mean a view shows. Of each strategy, on the same seeds: how well each view fits its prompt, and how far
views are from what the canvas shows of itself (SyncTweedies, NeurIPS 2024, section 3.4).

Latents are pictures here: a view is what the decoder makes of a turned latent. So no strategy has an encoder in it, and
all five can run; ambiguous images for people agree in pictures (the row "in pictures", on the decoded canvas).
A run goes on where it was stopped: what is made stays in the folder, a file a cell.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from bench.networks import ClipFeatures
from bench.strategy_report import Cell, write_report
from demo.palettes import BIOMES, TIMES
from demo.pipeline import DemoModel, load_demo
from syncdiffusion_core.agreement import LATENTS, PictureAgreement
from syncdiffusion_core.batching import WindowBatches
from syncdiffusion_core.canvases.images import ImageLook, ImageMap, ImageViews
from syncdiffusion_core.denoiser import Denoiser, Rows
from syncdiffusion_core.moving import sample_moving
from syncdiffusion_core.process import variance_exploding
from syncdiffusion_core.reference import official_sigmas
from syncdiffusion_core.sampling import Method, Sampled, sample
from syncdiffusion_core.strategies import STRATEGIES, Synchronisation
from syncdiffusion_core.views.noise import redrawn
from syncdiffusion_core.views.schedule import CellGrid, Resolved, ViewSchedule

RESULTS = Path(__file__).parent / "results" / "strategies"
SIZE_PX, CELL_PX = 128, 8
STEPS, CFG, PLANES, ANGLE_DEG = 20, 10.0, 10, 45.0
"""The paper's 30 steps are no divisor of 1,000, which the official schedule needs."""
SEEDS, BATCH = 64, 16
PICTURES = "in pictures"

UPRIGHT, TURNED = ImageLook(), ImageLook(ImageMap.ROTATE_180)
KINDS = {
    "one-to-one": ImageViews((SIZE_PX, SIZE_PX), (UPRIGHT, TURNED)),
    "one-to-n": ImageViews((SIZE_PX, SIZE_PX), (UPRIGHT, ImageLook(ImageMap.INNER_CIRCLE, ANGLE_DEG, amount=1.0))),
    "n-to-one": ImageViews((SIZE_PX, SIZE_PX), (UPRIGHT, TURNED), planes=PLANES),
}


class Ask(NamedTuple):
    """One cell of the experiment: a kind of projection and a strategy, in latents or in pictures."""

    kind: str
    synchronisation: Synchronisation
    pictures: bool = False

    @property
    def name(self) -> str:
        return f"{self.synchronisation.value}{f' {PICTURES}' * self.pictures}"


def asks() -> Iterator[Ask]:
    """All cells, kind by kind."""
    for kind in KINDS:
        yield from (Ask(kind, synchronisation) for synchronisation in Synchronisation)
    yield Ask("one-to-one", Synchronisation.SYNCTWEEDIES, pictures=True)


def prompts(seed: int) -> tuple[str, str]:
    """Of both views: two places and two times of day, others for each seed, never the same."""
    place, time = divmod(seed, len(BIOMES))
    first = f"{BIOMES[seed % len(BIOMES)]} at {TIMES[place % len(TIMES)]}"
    return first, f"{BIOMES[(seed + 2) % len(BIOMES)]} at {TIMES[(place + 2 + time % 2) % len(TIMES)]}"


class Experiment:
    """The demo model and its codec."""

    def __init__(self, model: DemoModel) -> None:
        self.model, self.sigmas = model, [*official_sigmas(STEPS)[:-1], 0.0]

    @torch.no_grad()
    def cell(self, ask: Ask, seeds: Sequence[int]) -> Cell:
        """Both views of these seeds, as the model left them and as the canvas shows them: pictures [N, V, 3, H, W]."""
        resolved = KINDS[ask.kind].resolve(None, CellGrid(CELL_PX))
        views = resolved.latent.every
        method = Method(ask.synchronisation, self._agreement(ask, resolved), batches=len(views))
        denoiser = denoiser_of(self.model, [text for seed in seeds for text in prompts(seed)], len(views), CFG)
        made = sampled(denoiser, resolved.latent, seeds, self.sigmas, method)
        if ask.pictures:
            shown = (resolved.pixels.every.project(made.canvas) + 1) / 2
        else:
            shown = self.model.decode(views.project(made.canvas))
        seen = self.model.decode(made.x0)
        return Cell(*(part.clamp(0, 1).unflatten(0, (len(views), -1)).transpose(0, 1) for part in (seen, shown)))

    @torch.no_grad()
    def singles(self, seeds: Sequence[int]) -> Tensor:
        """Pictures of the same prompts by the model alone, of another noise: [N, V, 3, H, W]."""
        texts, process = [text for seed in seeds for text in prompts(seed)], variance_exploding()
        noise = [torch.randn(4, 16, 16, generator=torch.manual_seed(10**6 + k)) for k in range(2 * len(seeds))]
        x = self.sigmas[0] * torch.stack(noise)
        predict = self.model.denoiser(self.model.encode(texts), self.model.encode([""]), CFG)
        for sigma, after in zip(self.sigmas[:-1], self.sigmas[1:], strict=True):
            x = process.step(x, predict(x, sigma, range(len(x))), sigma, after)
        return self.model.decode(x).unflatten(0, (-1, 2))

    def _agreement(self, ask: Ask, resolved: Resolved) -> object:
        if not ask.pictures:
            return LATENTS
        return PictureAgreement(
            self.model.decode, self.model.encode_image, resolved.pixels.every, WindowBatches(len(resolved.pixels.every))
        )


def denoiser_of(model: DemoModel, texts: list[str], n_views: int, cfg: float) -> Denoiser:
    """Of views with a prompt each. texts: sample-major."""
    predict = model.denoiser(model.encode(texts), model.encode([""]), cfg)

    def denoiser(x: Tensor, sigma: float, rows: Rows) -> Tensor:
        return predict(x, sigma, [s * n_views + v for s, v in zip(rows.samples, rows.views, strict=True)])

    return denoiser


def sampled(
    denoiser: Denoiser,
    schedule: ViewSchedule,
    seeds: Sequence[int],
    sigmas: Sequence[float],
    method: Method,
    device: torch.device | str = "cpu",
) -> Sampled:
    """What becomes of the noise of these seeds, which is the same on every device."""
    views, process = schedule.every, variance_exploding()
    noise = torch.stack([torch.randn(4, *views.canvas, generator=torch.manual_seed(seed)) for seed in seeds])
    state = sigmas[0] * STRATEGIES[method.synchronisation].start(views, noise).to(device)
    if schedule.moves:
        return sample_moving(denoiser, process, schedule, state, sigmas, partial(redrawn, noise.to(state)), method)
    return sample(denoiser, process, schedule, state, sigmas, method)


def made(path: Path, make: object, seeds: Sequence[int], bar: tqdm, batch: int | None = None) -> np.ndarray:
    """What is in a file, made and kept where there is none or of fewer seeds: uint8. batch: seeds made at once."""
    known = np.load(path) if path.exists() else None
    while known is None or len(known) < len(seeds):
        start = 0 if known is None else len(known)
        part = make(seeds[start : start + (batch or BATCH)])
        part = (torch.stack(part, dim=1) if isinstance(part, Cell) else part).mul(255).round().byte().numpy()
        known = part if known is None else np.concatenate([known, part])
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.with_suffix(".part").open("wb") as file:
            np.save(file, known)
        path.with_suffix(".part").replace(path)
        bar.update(len(part))
    return known[: len(seeds)]


def main(arguments: Sequence[str] | None = None) -> None:
    """Make what is missing and write the report; see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--clip", type=Path, help="folder of a CLIP model of transformers: gives A and C instead")
    options = parser.parse_args(arguments)
    clip = None if options.clip is None else ClipFeatures(options.clip)
    seeds, experiment, cells = range(options.seeds), Experiment(load_demo()), {}
    pictures = options.out / "pictures"
    with tqdm(total=options.seeds * (1 + len(list(asks()))), unit="seed") as bar:
        singles = made(pictures / "singles.npy", experiment.singles, seeds, bar)
        for ask in asks():
            file = pictures / f"{ask.kind} {ask.name}.npy".replace(" ", "_")
            both = made(file, partial(experiment.cell, ask), seeds, bar)
            cells[ask.kind, ask.name] = Cell(*(torch.from_numpy(both[:, k]) for k in (0, 1)))
    write_report(options.out, cells, torch.from_numpy(singles), [prompts(seed) for seed in seeds], clip)


if __name__ == "__main__":
    main()
