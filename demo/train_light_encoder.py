"""Stage `light_encoder`: a light encoder that gives the latents that the VAE's gives.

It is shown what views show each other while they are sampled: what the light decoder makes of clean predictions, of
encoded scenes and of blends of them, landscapes and views in all directions; and drawn scenes themselves.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from .dataset import Windows
from .export import half, save_atomically
from .globe_views import read_views
from .light_decoder import LightDecoder, load_light_decoder
from .light_encoder import FILE, LightEncoder
from .loop import CACHE, Plan, Trainer, in_half
from .pipeline import DemoModel, load_demo
from .train_light import GROUP, blended, latent_groups

BATCH = 16


def _around(model: DemoModel, light: LightDecoder, directory: Path, rng: np.random.Generator) -> Iterator[torch.Tensor]:
    """Groups [GROUP, 3, 128, 128] of views in all directions: drawn ones, and through latents that are blended."""
    images = read_views(directory / "globes.pt").images
    while True:
        rows = torch.from_numpy(np.sort(rng.integers(0, len(images), GROUP)))
        pictures = images[rows].float() / 255
        yield pictures
        yield light.decode(blended(model.encode_image(pictures), rng))


def _pictures(model: DemoModel, directory: Path) -> Iterator[torch.Tensor]:
    """Groups [GROUP, 3, 128, 128] in [0, 1], of landscapes and of views in all directions in turn."""
    light, rng = load_light_decoder(), np.random.default_rng(95)
    around = _around(model, light, directory, rng)
    for x0 in latent_groups(model, Windows(directory / "scenes.npy", seed=96), rng):
        yield light.decode(x0)
        yield next(around)


@torch.no_grad()
def lessons(directory: Path, count: int) -> dict[str, torch.Tensor]:
    """`count` pictures, uint8, and their latents by the VAE; made once."""
    path = directory / "light_encoder_lessons.pt"
    if path.exists():
        return torch.load(path, weights_only=True)
    torch.manual_seed(94)
    model, made = load_demo(), {"pictures": [], "latents": []}
    groups = _pictures(model, directory)
    for number in range(0, count, GROUP):
        pictures = (next(groups) * 255).round().byte()
        made["pictures"].append(pictures)
        made["latents"].append(model.encode_image(pictures.float() / 255).half())
        if number % 256 == 0:
            print(f"light encoder's lessons {number}/{count}", flush=True)
    whole = {name: torch.cat(parts) for name, parts in made.items()}
    torch.save(whole, path)
    return whole


def latent_loss(x0: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Squared error, of all detail and of what is left of it at a fourth of the size."""
    error = x0 - target
    return error.square().mean() + F.avg_pool2d(error, 4).square().mean()


def _export(trainer: Trainer) -> None:
    metadata = {
        "format": "syncdiffusion-demo-light-encoder",
        "config": json.dumps(trainer.model.config),
        "training": trainer.account(BATCH, recent=300),
    }
    save_atomically(half(trainer.ema), FILE, metadata)


def train_light_encoder(minutes: float = 12.0, count: int = 6144, directory: Path = CACHE) -> None:
    """Latents alone; a usable file is exported all along."""
    torch.manual_seed(9)
    made = lessons(directory, count)
    plan = Plan("light_encoder", minutes, lr=2e-3, ema=0.995, checkpoint_seconds=60)
    trainer = Trainer(plan, LightEncoder(), directory)
    rng = np.random.default_rng(97 + trainer.step)

    def loss_of(progress: float) -> torch.Tensor:
        rows = torch.from_numpy(rng.integers(0, len(made["pictures"]), BATCH))
        with in_half():
            x0 = trainer.model(made["pictures"][rows].float() / 255)
        return latent_loss(x0.float(), made["latents"][rows].float())

    trainer.run(loss_of, lambda: _export(trainer))
