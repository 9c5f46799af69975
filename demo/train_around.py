"""Stages `globes`, `around` and `around_judge`: the demo model learns to look around, and a judge with it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrize

from .around import DOWN, FILE, TEXT, TEXT_CONFIG_AROUND, UNET, UP, VOCABULARY_AROUND, LowRank, is_low_rank
from .captions import caption_around
from .dataset import labels_of
from .export import save_atomically
from .globe_views import FIRST_SEED, HELD_OUT_SEED, GlobeViews, draw_views, read_views
from .loop import CACHE, DEVICE, Plan, Trainer, in_half, save_pictures
from .palettes import BIOMES, TIMES
from .pipeline import DemoModel, load_demo
from .schedule import STEPS
from .text_encoder import TextEncoder
from .tokenizer import Tokenizer
from .train_perceptual import Labelled, Lessons, to_bytes, train_scorer
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
def encode_views(directory: Path = CACHE) -> Path:
    """Latents of all views and what captions are made of, once."""
    path = directory / "around_latents.pt"
    if not path.exists():
        views, model = read_views(directory / "globes.pt"), load_demo()
        model.vae.to(DEVICE)
        with in_half(DEVICE):
            parts = (model.encode_image(part.to(DEVICE).float() / 255) for part in views.images.split(100))
            latents = [part.float().half().cpu() for part in parts]
        known = {"index": views.index, "elevation": views.elevation, "cover": views.covers}
        torch.save({"latents": torch.cat(latents), **{k: torch.from_numpy(v) for k, v in known.items()}}, path)
    return path


class AroundBatches:
    """Random encoded views with fresh captions."""

    def __init__(self, directory: Path, seed: int):
        cached = torch.load(encode_views(directory), weights_only=True)
        self.latents = cached["latents"].to(DEVICE)
        self.index, self.elevation, self.cover = (cached[key].numpy() for key in ("index", "elevation", "cover"))
        self.rng, self.tokenizer = np.random.default_rng(seed), Tokenizer(tuple(VOCABULARY_AROUND))

    def sample(self, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        """x0 [count, 4, 16, 16] float32 and token ids [count, length]; some prompts are empty."""
        rows = self.rng.integers(0, len(self.latents), count)
        times, biomes = labels_of(self.index[rows])
        labels = zip(times, biomes, self.cover[rows], self.elevation[rows], strict=True)
        texts = [caption_around(self.rng, TIMES[t], BIOMES[b], c, e) for t, b, c, e in labels]
        texts = ["" if self.rng.random() < EMPTY_PROMPTS else text for text in texts]
        return self.latents[torch.from_numpy(rows).to(DEVICE)].float(), self.tokenizer.batch(texts).to(DEVICE)


def started(model: DemoModel) -> nn.ModuleDict:
    """The networks to train: the UNet's large weights frozen beside what changes them, all else free."""
    unet, text = model.unet.requires_grad_(True), TextEncoder(TEXT_CONFIG_AROUND)
    for module in list(unet.modules()):
        weight = getattr(module, "weight", None)
        if weight is not None and is_low_rank(weight):
            weight.requires_grad_(False)
            parametrize.register_parametrization(module, "weight", LowRank(weight))
    own, known = text.state_dict(), model.text.state_dict()
    rows = known["token_embedding.weight"]
    own["token_embedding.weight"].normal_(0, float(rows.std()))[: len(rows)] = rows
    text.load_state_dict({**known, "token_embedding.weight": own["token_embedding.weight"]})
    return nn.ModuleDict({"unet": unet, "text": text.requires_grad_(True)}).to(DEVICE)


def tensors_of(model: nn.ModuleDict) -> dict[str, torch.Tensor]:
    """What the file holds, fp16; see ``around``."""
    renamed = {".parametrizations.weight.0.up": ".weight" + UP, ".parametrizations.weight.0.down": ".weight" + DOWN}
    tensors = {TEXT + name: value for name, value in model["text"].state_dict().items()}
    for name, value in model["unet"].state_dict().items():
        if name.endswith(".parametrizations.weight.original"):
            continue
        for old, new in renamed.items():
            name = name.replace(old, new)
        tensors[UNET + name] = value
    return {name: value.half().cpu().contiguous() for name, value in tensors.items()}


def _export(trainer: Trainer, directory: Path) -> None:
    metadata = {"format": "syncdiffusion-demo-around", "training": trainer.account(BATCH, "loss_v", device=DEVICE)}
    save_atomically(tensors_of(trainer.ema), FILE, metadata)
    save_pictures(directory / "around.png", list(preview(load_demo(around=True), PREVIEWS).split(5)))


def train_around(minutes: float = 85.0, directory: Path = CACHE) -> None:
    """Plain v loss, uniform timesteps; a usable file is exported all along. The shipped one: 1.5 minutes (H200)."""
    torch.manual_seed(0)
    plan = Plan("around", minutes, lr=6e-4, ema=0.998, weight_decay=0.01, checkpoint_seconds=150)
    trainer = Trainer(plan, started(load_demo()), directory)
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
    learnt, unseen = (read_views(directory / f"{name}.pt") for name in ("globes", "held_out_globes"))
    tests = {"renders": _labelled(unseen), "reconstructions": _rebuilt(model, unseen, 500)}
    lessons = Lessons(_rebuilt(model, learnt, count), lambda size: _labelled(learnt), tests)
    train_scorer("around_judge", JUDGE, minutes, (17, 74), lessons, directory)


def _labelled(views: GlobeViews) -> Labelled:
    return Labelled(views.images, views.index)


@torch.no_grad()
def _rebuilt(model: DemoModel, views: GlobeViews, count: int) -> Labelled:
    """Views through the autoencoder and back."""
    rows = torch.linspace(0, len(views.images) - 1, count).long()
    with in_half():
        parts = [model.decode(model.encode_image(part.float() / 255)).float() for part in views.images[rows].split(50)]
    return Labelled(to_bytes(torch.cat(parts)), views.index[rows.numpy()])
