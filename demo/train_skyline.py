"""Stage `skyline`: the detector of the land's upper edge, on renders and on reconstructions."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from .dataset import HELD_OUT_SEED, Windows
from .export import half, save_atomically
from .horizon import hint_of
from .loop import CACHE, Plan, Trainer, in_half
from .pipeline import DemoModel, load_demo
from .skyline import FILE, SkylineNet, detect, sky_rows
from .train_perceptual import augmented

BATCH = 32


@dataclass(frozen=True)
class Outlined:
    """Images uint8 [N, 3, 128, 128] and their skylines [N, 128]."""

    images: torch.Tensor
    skylines: torch.Tensor

    def pick(self, rng: np.random.Generator, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        rows = torch.from_numpy(rng.integers(0, len(self.images), count))
        return self.images[rows].float() / 255, self.skylines[rows]


@torch.no_grad()
def outlined(windows: Windows, count: int, model: DemoModel | None = None) -> Outlined:
    """Renders, or with a model what its autoencoder makes of them."""
    parts = []
    for _ in range(count // 50):
        images, skylines, _ = windows.sample_skylines(50)
        images = (images + 1) / 2
        if model is not None:
            images = model.decode(model.encode_image(images))
        parts.append(((images * 255).round().byte(), skylines))
    images, skylines = zip(*parts, strict=True)
    return Outlined(torch.cat(images), torch.cat(skylines))


def error_px(net: SkylineNet, data: Outlined) -> float:
    """Mean absolute error over all columns."""
    found = torch.cat([detect(net, part.float() / 255) for part in data.images.split(100)])
    return float((found - data.skylines).abs().mean())


def _loss(net: SkylineNet, image: torch.Tensor, skyline: torch.Tensor) -> torch.Tensor:
    land = hint_of(skyline, image.shape[-2])[:, 0]
    with in_half():
        logits = net(image)
    logits = logits.float()
    return F.binary_cross_entropy_with_logits(logits, land) + 0.02 * (sky_rows(logits) - skyline).abs().mean()


def montages(image: torch.Tensor, skyline: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Half of the batch fades sideways into its neighbours, as windows of panoramas do: one picture, two lights."""
    count, width = len(image) // 2, image.shape[-1]
    at = torch.rand(count, 1) * 1.4 - 0.2
    ramp = ((torch.linspace(0, 1, width) - at) * torch.rand(count, 1).mul(20).add(4) + 0.5).clamp(0, 1)
    mixed = torch.lerp(image[:count], image.roll(1, 0)[:count], ramp[:, None, None])
    edges = torch.where(ramp < 0.5, skyline[:count], skyline.roll(1, 0)[:count])
    return torch.cat([mixed, image[count:]]), torch.cat([edges, skyline[count:]])


def train_skyline(minutes: float = 5.0, count: int = 1200, directory: Path = CACHE) -> None:
    """Half renders, half reconstructions; the held-out errors go into the file."""
    torch.manual_seed(9)
    model, windows = load_demo(), Windows(directory / "scenes.npy", seed=91)
    drawn, rebuilt = outlined(windows, 2 * count), outlined(windows, count, model)
    trainer = Trainer(Plan("skyline", minutes, lr=3e-3, ema=0.99, weight_decay=0.01), SkylineNet(), directory)
    rng = np.random.default_rng([9, trainer.step])

    def loss_of(progress: float) -> torch.Tensor:
        (a, i), (b, j) = drawn.pick(rng, BATCH // 2), rebuilt.pick(rng, BATCH // 2)
        order = torch.from_numpy(rng.permutation(BATCH))  # montages of renders, of reconstructions, and of both
        image, skyline = montages(torch.cat([a, b])[order], torch.cat([i, j])[order])
        return _loss(trainer.model, augmented(image, 0.08, 0.05), skyline)

    trainer.run(loss_of)
    net, unseen = trainer.ema.eval(), Windows(directory / "held_out.npy", seed=92, first_seed=HELD_OUT_SEED)
    tests = {"renders": outlined(unseen, 400), "reconstructions": outlined(unseen, 400, model)}
    training = {
        "minutes": minutes,
        "steps": trainer.step,
        "held_out_error_px": {name: round(error_px(net, data), 3) for name, data in tests.items()},
    }
    print("skyline", json.dumps(training), flush=True)
    save_atomically(half(net), FILE, {"format": "syncdiffusion-demo-skyline", "training": json.dumps(training)})
