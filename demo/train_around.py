"""Stages `globes`, `around` and `around_judge`: the demo model learns to look around, and a judge with it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from .around import AROUND
from .captions import caption_around
from .dataset import labels_of
from .export import save_atomically
from .globe_views import FIRST_SEED, HELD_OUT_SEED, draw_views, read_views
from .loop import CACHE, DEVICE, Plan, Trainer, in_half, save_pictures
from .low_rank import tensors_of
from .palettes import BIOMES, TIMES
from .pipeline import load_demo
from .schedule import STEPS
from .tokenizer import Tokenizer
from .train_perceptual import Labelled, Lessons, rebuilt, train_scorer
from .train_unet import EMPTY_PROMPTS, noised, preview

BATCH = 256 if DEVICE == "cuda" else 32
"""A step of so small a network takes a GPU the same time for any of these."""
JUDGE = {"widths": [16, 32, 64, 96, 128], "depth": 1, "first_stride": 2}
PREVIEWS = (
    "forest at noon",
    "looking up, forest at noon",
    "zenith, forest at noon",
    "looking down, forest at noon",
    "nadir, forest at noon",
    "lake at sunset",
    "looking up, lake at sunset",
    "zenith, sky at night",
    "looking down, desert at dusk",
    "nadir, meadow at dawn",
)


def draw_globes(globes: int = 1200, held_out: int = 100, directory: Path = CACHE) -> None:
    """Views to learn from and to test on, once."""
    for name, count, first in (("globes", globes, FIRST_SEED), ("held_out_globes", held_out, HELD_OUT_SEED)):
        if not (path := directory / f"{name}.pt").exists():
            draw_views(path, count, first)


@torch.no_grad()
def latents_of(images: torch.Tensor) -> torch.Tensor:
    """Of views uint8 [N, 3, 128, 128]: [N, 4, 16, 16] fp16, whatever the device."""
    model = load_demo()
    model.vae.to(DEVICE)
    with in_half(DEVICE):
        parts = (model.encode_image(part.to(DEVICE).float() / 255) for part in images.split(100))
        return torch.cat([part.float().half().cpu() for part in parts])


def encode_views(directory: Path = CACHE) -> Path:
    """Latents of all views and what captions are made of, once."""
    path = directory / "around_latents.pt"
    if not path.exists():
        views = read_views(directory / "globes.pt")
        known = {"index": views.index, "elevation": views.elevation, "cover": views.covers}
        tensors = {k: torch.from_numpy(v) for k, v in known.items()}
        torch.save({"latents": latents_of(views.images), **tensors}, path)
    return path


class AroundBatches:
    """Random encoded views with fresh captions."""

    def __init__(self, directory: Path, seed: int):
        cached = torch.load(encode_views(directory), weights_only=True)
        self.latents = cached["latents"].to(DEVICE)
        self.index, self.elevation, self.cover = (cached[key].numpy() for key in ("index", "elevation", "cover"))
        self.rng, self.tokenizer = np.random.default_rng(seed), Tokenizer(tuple(AROUND.vocabulary))

    def sample(self, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        """x0 [count, 4, 16, 16] float32 and token ids [count, length]; some prompts are empty."""
        rows = self.rng.integers(0, len(self.latents), count)
        times, biomes = labels_of(self.index[rows])
        labels = zip(times, biomes, self.cover[rows], self.elevation[rows], strict=True)
        texts = [caption_around(self.rng, TIMES[t], BIOMES[b], c, e) for t, b, c, e in labels]
        texts = ["" if self.rng.random() < EMPTY_PROMPTS else text for text in texts]
        return self.latents[torch.from_numpy(rows).to(DEVICE)].float(), self.tokenizer.batch(texts).to(DEVICE)


def _export(trainer: Trainer, directory: Path) -> None:
    metadata = {"format": "syncdiffusion-demo-around", "training": trainer.account(BATCH, "loss_v", device=DEVICE)}
    save_atomically(tensors_of(trainer.ema), AROUND.file, metadata)
    save_pictures(directory / "around.png", list(preview(load_demo(around=True), PREVIEWS).split(5)))


def train_around(minutes: float = 85.0, directory: Path = CACHE) -> None:
    """Plain v loss, uniform timesteps; a usable file is exported all along. The shipped one: 1.5 minutes (H200)."""
    torch.manual_seed(0)
    plan = Plan("around", minutes, lr=6e-4, ema=0.998, weight_decay=0.01, checkpoint_seconds=150)
    model = load_demo()
    trainer = Trainer(plan, AROUND.started(model.unet, model.text).to(DEVICE), directory)
    batches = AroundBatches(directory, 90 + trainer.step)

    def loss_of(progress: float) -> torch.Tensor:
        x0, ids = batches.sample(BATCH)
        t, eps = torch.randint(0, STEPS, (BATCH,)).to(DEVICE), torch.randn_like(x0)
        x_t, v = noised(x0, t, eps), noised(eps, t, -x0)
        with in_half(DEVICE):
            predicted = trainer.model["unet"](x_t, t, trainer.model["text"](ids))
        return F.mse_loss(predicted.float(), v)

    trainer.run(loss_of, lambda: _export(trainer, directory))


def train_around_judge(minutes: float = 6.0, count: int = 2000, directory: Path = CACHE) -> None:
    """The net that says the time of day of a view in any direction."""
    model = load_demo()
    learnt, unseen = (_labelled(directory / f"{name}.pt") for name in ("globes", "held_out_globes"))
    tests = {"renders": unseen, "reconstructions": rebuilt(model, unseen, 500)}
    lessons = Lessons(rebuilt(model, learnt, count), lambda size: learnt, tests)
    train_scorer("around_judge", JUDGE, minutes, (17, 74), lessons, directory)


def _labelled(path: Path) -> Labelled:
    views = read_views(path)
    return Labelled(views.images, views.index)
