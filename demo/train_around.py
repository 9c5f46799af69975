"""Stages `globes`, `around` and `around_judge`: the demo model learns to look around, and a judge with it."""

from __future__ import annotations

import json
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
from .judge import AROUND_FILE
from .loop import CACHE, DEVICE, Plan, Trainer, in_half, save_pictures
from .palettes import BIOMES, TIMES
from .pipeline import DemoModel, load_demo
from .schedule import STEPS, ddim_sigmas
from .text_encoder import TextEncoder
from .tokenizer import Tokenizer
from .train_perceptual import Labelled, finish_net, train_net, weigh_net
from .train_unet import EMPTY_PROMPTS, noised
from .vae import SCALE_FACTOR

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
        views, vae = read_views(directory / "globes.pt"), load_demo().vae.to(DEVICE)
        latents = []
        with in_half(DEVICE):
            for part in views.images.split(100):
                images = part.to(DEVICE).float() / 127.5 - 1
                latents.append((vae.encode(images).float() * SCALE_FACTOR).half().cpu())
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


@torch.no_grad()
def _preview(model: DemoModel, steps: int = 25, cfg: float = 5.0) -> torch.Tensor:
    """One view per prompt, DDIM; images in [-1, 1]."""
    levels = ddim_sigmas(steps)
    denoise = model.denoiser(model.encode(PREVIEWS), model.encode([""]), cfg)
    x = torch.randn(len(PREVIEWS), 4, 16, 16, generator=torch.Generator().manual_seed(3)) * levels[0]
    for sigma, lower in zip(levels[:-1], levels[1:], strict=True):
        x0 = denoise(x, sigma, range(len(x)))
        x = x0 + (x - x0) * (lower / sigma)
    return model.decode(x) * 2 - 1


def _export(trainer: Trainer, directory: Path) -> None:
    training = {
        "steps": trainer.step,
        "minutes": round(trainer.seconds / 60, 1),
        "device": DEVICE,
        "batch": BATCH,
        "loss_v": float(np.mean(trainer.losses[-500:])),
        "lr": trainer.plan.lr,
        "ema": trainer.plan.ema,
    }
    metadata = {"format": "syncdiffusion-demo-around", "training": json.dumps(training)}
    save_atomically(tensors_of(trainer.ema), FILE, metadata)
    save_pictures(directory / "around.png", list(_preview(load_demo(around=True)).split(5)))


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
    """The net that says the time of day of a view in any direction: renders, and the same through the autoencoder."""
    model = load_demo()
    learnt, unseen = (read_views(directory / f"{name}.pt") for name in ("globes", "held_out_globes"))
    rebuilt = _rebuilt(model, learnt, count)

    def draw(rng: np.random.Generator, size: int) -> tuple[torch.Tensor, np.ndarray]:
        (a, i), (b, j) = rebuilt.pick(rng, size // 2), _labelled(learnt).pick(rng, size // 2)
        return torch.cat([a, b]), np.concatenate([i, j])

    net = train_net("around_judge", JUDGE, minutes, 17, 0.06, draw, directory)
    tests = {"renders": _labelled(unseen), "reconstructions": _rebuilt(model, unseen, 500)}
    weigh_net(net, tests["reconstructions"], np.random.default_rng(74))
    finish_net(net, AROUND_FILE.name, tests, {"minutes": minutes})


def _labelled(views: GlobeViews) -> Labelled:
    return Labelled(views.images, views.index)


@torch.no_grad()
def _rebuilt(model: DemoModel, views: GlobeViews, count: int) -> Labelled:
    """Views through the autoencoder and back."""
    rows = torch.linspace(0, len(views.images) - 1, count).long()
    with in_half():
        parts = [model.decode(model.encode_image(part.float() / 255)).float() for part in views.images[rows].split(50)]
    pixels = (torch.cat(parts) * 255).round().byte()
    return Labelled(pixels, views.index[rows.numpy()])
