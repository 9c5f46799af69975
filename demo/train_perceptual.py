"""Stages `perceptual` and `judge`: two scene nets that share neither weights, shape, data order nor purpose.

The guide also learns from one-step predictions of the trained UNet, so that it reads the time of day in the
blur of early denoising; the judge never sees them.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from syncdiffusion_core.perceptual.scene_net import SceneNet

from .captions import captions_of
from .dataset import HELD_OUT_SEED, Windows, labels_of
from .export import WEIGHTS, half, save_atomically
from .loop import CACHE, Plan, Trainer, in_half, save_pictures
from .pipeline import DemoModel, load_demo
from .schedule import sigmas

GUIDE = {"widths": [32, 64, 96, 128], "depth": 1, "first_stride": 2}
JUDGE = {"widths": [24, 48, 96, 144, 192], "depth": 1, "first_stride": 2}
BATCH = 64
GUIDE_CONSTANT = 60.0  # C: on tuning seeds w = 20 then makes the windows agree; twice as much burns the sky


@dataclass(frozen=True)
class Naming:
    """The two things that a net says of a picture, and from an index [N] to the labels of both, [N] each."""

    things: tuple[str, str]
    labels_of: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


SCENES = Naming(("time", "biome"), labels_of)


@dataclass
class Labelled:
    """Images uint8 [N, 3, 128, 128] and their strips' indices [N]."""

    images: torch.Tensor
    index: np.ndarray

    def pick(self, rng: np.random.Generator, count: int) -> tuple[torch.Tensor, np.ndarray]:
        rows = rng.integers(0, len(self.images), count)
        return self.images[torch.from_numpy(rows)].float() / 255, self.index[rows]


def to_bytes(image: torch.Tensor) -> torch.Tensor:
    """[0, 1] -> uint8."""
    return (image.float().clamp(0, 1) * 255).round().byte()


@torch.no_grad()
def reconstructions(model: DemoModel, windows: Windows, count: int) -> Labelled:
    """Windows through the autoencoder and back."""
    images, indices = [], []
    with in_half():
        for _ in range(count // 50):
            image, index = windows.sample(50)
            images.append(to_bytes(model.decode(model.encode_image((image + 1) / 2).float())))
            indices.append(index)
    return Labelled(torch.cat(images), np.concatenate(indices))


@torch.no_grad()
def rebuilt(model: DemoModel, views: Labelled, count: int) -> Labelled:
    """So many of these, spread evenly, through the autoencoder and back."""
    rows = torch.linspace(0, len(views.images) - 1, count).long()
    with in_half():
        parts = [model.decode(model.encode_image(part.float() / 255)).float() for part in views.images[rows].split(50)]
    return Labelled(to_bytes(torch.cat(parts)), views.index[rows.numpy()])


@torch.no_grad()
def predictions(model: DemoModel, windows: Windows, count: int, rng: np.random.Generator) -> Labelled:
    """Decoded one-step x0 at t in 400 .. 990, prompted without the time of day; CFG 1 and 5 take turns."""
    images, indices, table = [], [], sigmas()
    with in_half():
        for turn in range(count // 50):
            image, index = windows.sample(50)
            x0 = model.encode_image((image + 1) / 2).float()
            sigma = table[torch.randint(400, 991, (50,))]
            cond = model.encode(captions_of(rng, *labels_of(index), windows.cover[index], with_time=False))
            denoise = model.denoiser(cond.float(), model.encode([""]).float(), (1.0, 5.0)[turn % 2])
            x = x0 + sigma[:, None, None, None] * torch.randn_like(x0)
            images.append(to_bytes(model.decode(denoise(x, sigma, range(50)).float())))
            indices.append(index)
    return Labelled(torch.cat(images), np.concatenate(indices))


def augmented(image: torch.Tensor, colour: float, noise: float) -> torch.Tensor:
    """Channel gains of 1 +- colour, a blur in half of the images, noise of random strength up to `noise`."""
    count = len(image)
    image = image * (1 + colour * torch.randn(count, 3, 1, 1))
    blurred = F.interpolate(F.avg_pool2d(image, 4), scale_factor=4, mode="bilinear")
    image = torch.lerp(image, blurred, torch.rand(count, 1, 1, 1) * (torch.rand(count, 1, 1, 1) < 0.5))
    return (image + noise * torch.rand(count, 1, 1, 1) * torch.randn_like(image)).clamp(0, 1)


def _naming_loss(net: SceneNet, image: torch.Tensor, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    with in_half():
        first_logits, second_logits = net.logits(image)
    return F.cross_entropy(first_logits.float(), first, label_smoothing=0.06) + 0.5 * F.cross_entropy(
        second_logits.float(), second, label_smoothing=0.06
    )


def _train(
    name: str, config: dict, minutes: float, seed: int, colour: float, draw, directory: Path, naming: Naming = SCENES
) -> SceneNet:
    """draw(rng, count) gives images in [0, 1] and strip indices; returns the averaged net."""
    torch.manual_seed(seed)
    net = SceneNet(**config).to(memory_format=torch.channels_last)
    trainer = Trainer(Plan(name, minutes, lr=2e-3, ema=0.995, weight_decay=0.05), net, directory)
    rng = np.random.default_rng([seed, trainer.step])

    def loss_of(progress: float) -> torch.Tensor:
        image, index = draw(rng, BATCH)
        labels = (torch.from_numpy(labels) for labels in naming.labels_of(index))
        image = augmented(image, colour, noise=0.06).contiguous(memory_format=torch.channels_last)
        return _naming_loss(net, image, *labels)

    trainer.run(loss_of)
    return trainer.ema.eval()


@torch.no_grad()
def accuracy(net: SceneNet, data: Labelled, naming: Naming = SCENES) -> tuple[float, float]:
    """Shares of pictures of which each of both things is said rightly."""
    said = zip(*(net.logits(part.float() / 255) for part in data.images.split(100)), strict=True)
    right = [
        torch.cat(logits).argmax(1).numpy() == labels
        for logits, labels in zip(said, naming.labels_of(data.index), strict=True)
    ]
    return float(right[0].mean()), float(right[1].mean())


def _renders(windows: Windows, count: int) -> Labelled:
    image, index = windows.sample(count)
    return Labelled(to_bytes((image + 1) / 2), index)


def _weigh(net: SceneNet, data: Labelled, rng: np.random.Generator, naming: Naming = SCENES) -> None:
    """Triples: a window, another of the same time, and one of another time but the same biome; or whatever is named."""
    time, biome = naming.labels_of(data.index)
    first = rng.integers(0, len(time), 300)
    alike = [rng.choice(np.flatnonzero(time == time[i])) for i in first]
    unlike = [rng.choice(np.flatnonzero((time != time[i]) & (biome == biome[i]))) for i in first]
    net.weigh(*(data.images[torch.as_tensor(rows)].float() / 255 for rows in (first, alike, unlike)), total=0.5)


def _finish(
    net: SceneNet,
    name: str,
    tests: dict[str, Labelled],
    training: dict,
    constant: float = 1.0,
    naming: Naming = SCENES,
) -> None:
    figures = {key: accuracy(net, data, naming) for key, data in tests.items()}
    training["_".join(("held_out_accuracy", *naming.things))] = figures
    print(name, json.dumps(training), flush=True)
    metadata = {
        "format": "syncdiffusion-perceptual",
        "net": "scene",
        "config": json.dumps(net.config),
        "constant": repr(constant),
        "training": json.dumps(training),
    }
    save_atomically(half(net), WEIGHTS / name, metadata)


def train_guide(minutes: float = 3.5, count: int = 2400, directory: Path = CACHE) -> None:
    """The perceptual net that guides: half predictions, a quarter each of reconstructions and renders."""
    model, rng = load_demo(), np.random.default_rng(40)
    windows = Windows(directory / "scenes.npy", seed=41)
    predicted = predictions(model, windows, count, rng)
    rebuilt = reconstructions(model, windows, count // 3)
    save_pictures(directory / "predictions.png", list((predicted.images[:100:5] / 127.5 - 1).split(10)))

    def draw(rng: np.random.Generator, size: int) -> tuple[torch.Tensor, np.ndarray]:
        parts = [
            predicted.pick(rng, size // 2),
            rebuilt.pick(rng, size // 4),
            _renders(windows, size - size // 2 - size // 4).pick(rng, size - size // 2 - size // 4),
        ]
        return torch.cat([p[0] for p in parts]), np.concatenate([p[1] for p in parts])

    net = _train("perceptual", GUIDE, minutes, 4, 0.03, draw, directory)
    unseen = Windows(directory / "held_out.npy", seed=42, first_seed=HELD_OUT_SEED)
    tests = {
        "renders": _renders(unseen, 400),
        "reconstructions": reconstructions(model, unseen, 300),
        "predictions": predictions(model, unseen, 500, rng),
    }
    pairs = Labelled(torch.cat([d.images for d in tests.values()]), np.concatenate([d.index for d in tests.values()]))
    _weigh(net, pairs, rng)
    _finish(net, "scene_perceptual.safetensors", tests, {"minutes": minutes}, GUIDE_CONSTANT)


@dataclass(frozen=True)
class Lessons:
    """Of a net that scores: pictures through the autoencoder, renders(at least so many), and what it is tested on."""

    rebuilt: Labelled
    renders: Callable[[int], Labelled]
    tests: dict[str, Labelled]
    naming: Naming = SCENES


def train_scorer(
    name: str, config: dict, minutes: float, seeds: tuple[int, int], lessons: Lessons, directory: Path
) -> None:
    """Half reconstructions, half renders, stronger colour augmentation. seeds: of training, and of the distance."""

    def draw(rng: np.random.Generator, size: int) -> tuple[torch.Tensor, np.ndarray]:
        (a, i), (b, j) = lessons.rebuilt.pick(rng, size // 2), lessons.renders(size // 2).pick(rng, size // 2)
        return torch.cat([a, b]), np.concatenate([i, j])

    net = _train(name, config, minutes, seeds[0], 0.06, draw, directory, lessons.naming)
    _weigh(net, lessons.tests["reconstructions"], np.random.default_rng(seeds[1]), lessons.naming)
    _finish(net, f"{name}.safetensors", lessons.tests, {"minutes": minutes}, naming=lessons.naming)


def train_judge(minutes: float = 6.0, count: int = 1200, directory: Path = CACHE) -> None:
    """The net that scores: reconstructions and renders only."""
    model, windows = load_demo(), Windows(directory / "scenes.npy", seed=71)
    rebuilt = reconstructions(model, windows, count)
    unseen = Windows(directory / "held_out.npy", seed=72, first_seed=HELD_OUT_SEED)
    tests = {"renders": _renders(unseen, 800), "reconstructions": reconstructions(model, unseen, 500)}
    lessons = Lessons(rebuilt, lambda size: _renders(windows, size), tests)
    train_scorer("judge", JUDGE, minutes, (7, 73), lessons, directory)
