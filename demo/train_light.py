"""Stage `light`: a light decoder that shows what the VAE's shows, and whose gradient points where the VAE's points.

Guidance looks at clean predictions early in sampling, when they are blurred means of many scenes. So the light decoder
learns from such predictions, from encoded scenes and from blends of them; and at the end from the gradient itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from syncdiffusion_core.perceptual.files import load_perceptual
from syncdiffusion_core.perceptual.scene_net import SceneNet

from .captions import captions_of
from .dataset import Windows, labels_of
from .export import WEIGHTS, half, save_atomically
from .light_decoder import FILE, LightDecoder
from .loop import CACHE, Plan, Trainer, in_half
from .pipeline import DemoModel, load_demo
from .schedule import sigmas
from .train_vae import pyramid_loss
from .vae import SCALE_FACTOR

GROUP = 16
"""Latents of one kind; each has the next of its group for an anchor, as windows of one step have."""
BATCH = 8
GRADIENT_FROM = 0.4
"""Part of the training after which gradients count: a double backward pass costs five times a plain one."""
POOLED = 4
SCALES = (1, POOLED)
CFG = (1.0, 3.0, 7.5)


def _predicted(model: DemoModel, x0: torch.Tensor, index: np.ndarray, cover: np.ndarray, rng) -> torch.Tensor:
    """One-step predictions at one timestep of 300 .. 999, all under one prompt without its time of day."""
    sigma = sigmas()[int(rng.integers(300, 1000))]
    caption = captions_of(rng, *labels_of(index[:1]), cover[index[:1]], with_time=False)
    denoise = model.denoiser(model.encode(caption), model.encode([""]), CFG[rng.integers(len(CFG))])
    return denoise(x0 + sigma * torch.randn_like(x0), sigma, range(len(x0))).float()


def blended(x0: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Mixtures of neighbours, partly low-passed, partly noised."""
    share = torch.rand(len(x0), 1, 1, 1)
    mixed = share * x0 + (1 - share) * x0.roll(3, 0)
    low = F.interpolate(F.avg_pool2d(mixed, int(rng.choice([2, 4, 8]))), x0.shape[-2:], mode="bilinear")
    return torch.lerp(mixed, low, torch.rand(len(x0), 1, 1, 1)) + 0.2 * torch.rand(1) * torch.randn_like(x0)


def latent_groups(model: DemoModel, windows: Windows, rng: np.random.Generator) -> Iterator[torch.Tensor]:
    """Groups [GROUP, 4, 16, 16]: half are predictions, a quarter each encoded scenes and blends of them."""
    while True:
        for kind in ("predicted", "encoded", "predicted", "blended"):
            image, index = windows.sample(GROUP)
            x0 = model.encode_image((image + 1) / 2).float()
            if kind == "predicted":
                x0 = _predicted(model, x0, index, windows.cover, rng)
            yield blended(x0, rng) if kind == "blended" else x0


def gradient(image: torch.Tensor, x0: torch.Tensor, distance: SceneNet, anchor, **kwargs: bool) -> torch.Tensor:
    """dL/dx0 [N, 4, h, w] of the distance of a decoded image [N, 3, H, W] to its anchor's features."""
    features = tuple(f.float() for f in distance.features(image))
    (g,) = torch.autograd.grad(distance.distance(features, anchor).sum(), x0, **kwargs)
    return g


def lesson(model: DemoModel, distance: SceneNet, x0: torch.Tensor) -> dict[str, torch.Tensor]:
    """What the VAE's decoder says of a group: pictures in [-1, 1], unclamped, and gradients."""
    leaf = x0.clone().requires_grad_(True)
    with in_half():
        pictures = model.vae.decode(leaf / SCALE_FACTOR)
    pictures = pictures.float()
    image = ((pictures + 1) / 2).clamp(0, 1)
    with torch.no_grad():
        anchor = tuple(f.roll(-1, 0) for f in distance.features(image))
    return {"latents": x0, "pictures": pictures.detach().half(), "gradients": gradient(image, leaf, distance, anchor)}


def lessons(model: DemoModel, distance: SceneNet, directory: Path, count: int) -> dict[str, torch.Tensor]:
    """`count` latents with the VAE's answers; made once."""
    path = directory / "light_lessons.pt"
    if path.exists():
        return torch.load(path, weights_only=True)
    torch.manual_seed(90)
    groups = latent_groups(model, Windows(directory / "scenes.npy", seed=91), np.random.default_rng(92))
    parts = []
    for number, _ in enumerate(range(0, count, GROUP)):
        with torch.no_grad():
            x0 = next(groups)
        parts.append(lesson(model, distance, x0))
        if number % 16 == 0:
            print(f"light lessons {number * GROUP}/{count}", flush=True)
    made = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    torch.save(made, path)
    return made


def gradient_loss(g: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """One minus the cosine, of the gradients and of their low frequencies, and the error of the logarithmic length."""
    loss = torch.zeros(())
    for scale in SCALES:
        pairs = (F.avg_pool2d(x, scale).flatten(1) for x in (g, target))
        loss = loss + (1 - F.cosine_similarity(*pairs, eps=1e-12)).mean()
    lengths = [x.flatten(1).square().sum(dim=1).clamp(min=1e-16).log() for x in (g, target)]
    return loss + 0.05 * (lengths[0] - lengths[1]).square().clamp(max=4).mean()


class Lessons:
    """The loss of random lessons."""

    def __init__(self, made: dict[str, torch.Tensor], distance: SceneNet, seed: int):
        self.made, self.distance, self.rng = made, distance, np.random.default_rng(seed)

    def loss(self, decoder: LightDecoder, with_gradient: bool) -> torch.Tensor:
        rows = self.rng.integers(0, len(self.made["latents"]), BATCH)
        after = rows - rows % GROUP + (rows + 1) % GROUP
        picked = {name: values[rows].float() for name, values in self.made.items()}
        x0 = picked["latents"].requires_grad_(with_gradient)
        with in_half():
            pictures = decoder(x0)
            image = ((pictures + 1) / 2).clamp(0, 1)
            features = self.distance.features(image)
            with torch.no_grad():
                target = self.distance.features(((picked["pictures"] + 1) / 2).clamp(0, 1))
        alike = self.distance.distance(features, target).mean()
        loss = pyramid_loss(pictures.float(), picked["pictures"]) + alike
        if not with_gradient:
            return loss
        with torch.no_grad(), in_half():
            anchor = self.distance.features(decoder.decode(self.made["latents"][after]))
        pull = self.distance.distance(features, anchor).sum()
        (g,) = torch.autograd.grad(pull, x0, create_graph=True)
        return loss + 0.5 * gradient_loss(g, picked["gradients"])


def _export(trainer: Trainer) -> None:
    metadata = {
        "format": "syncdiffusion-demo-light-decoder",
        "config": json.dumps(trainer.model.config),
        "training": trainer.account(BATCH, recent=300),
    }
    save_atomically(half(trainer.ema), FILE, metadata)


def train_light(minutes: float = 12.0, count: int = 1024, directory: Path = CACHE) -> None:
    """Pictures and their features first, then the gradient too; a usable file is exported all along.

    The shipped one is that of 6 minutes on a fifth of a core; the whole 12 gain .001 in the gradient's cosine.
    """
    torch.manual_seed(9)
    distance = load_perceptual(WEIGHTS / "scene_perceptual.safetensors")
    made = lessons(load_demo(), distance, directory, count)
    trainer = Trainer(Plan("light", minutes, lr=2e-3, ema=0.995, checkpoint_seconds=60), LightDecoder(), directory)
    batches = Lessons(made, distance, 93 + trainer.step)
    trainer.run(lambda progress: batches.loss(trainer.model, progress > GRADIENT_FROM), lambda: _export(trainer))
