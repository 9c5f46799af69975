"""The render cache of the world all around: globes, and perspective views of them in all directions."""

from __future__ import annotations

import math
from dataclasses import dataclass
from multiprocessing import Pool
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from syncdiffusion_core.canvases.rigs import Rig, looking
from syncdiffusion_core.canvases.sphere import looked_at
from syncdiffusion_core.views.tables import ResampledViews

from .dataset import labels_of
from .globes import SIZE, globe
from .palettes import BIOMES, TIMES
from .scenes import HEIGHT, cloud_cover

FIRST_SEED, HELD_OUT_SEED = 20_000_000, 30_000_000
"""Of the globes to learn from, and of those to test on."""
PER_GLOBE = 10
FOV = (70.0, 100.0)
ROLL = 4.0
"""Most by which a camera of the horizon is not level, in degrees."""


@dataclass(frozen=True)
class GlobeViews:
    """images: uint8 [N, 3, 128, 128]. index: seeds above the first, which are labels [N]. elevation: degrees [N]."""

    images: Tensor
    index: np.ndarray
    elevation: np.ndarray
    first_seed: int

    @property
    def covers(self) -> np.ndarray:
        """How cloudy the scenes are: [N]."""
        known = {i: cloud_cover(self.first_seed + i) for i in np.unique(self.index)}
        return np.array([known[i] for i in self.index])


def elevation_of(rng: np.random.Generator) -> float:
    """Where a camera looks, in degrees: as rigs do, a bit off, and everywhere between."""
    kind = rng.random()
    if kind < 0.40:
        return float(np.clip(rng.normal(0, 8), -22, 22))
    if kind < 0.70:
        return float(rng.choice([-45, -26, 22.5, 26, 45]) + rng.normal(0, 6))
    if kind < 0.88:
        return float(rng.choice([-1, 1]) * (90 - abs(rng.normal(0, 8))))
    return math.degrees(math.asin(rng.uniform(-1, 1)))


def seen(image: np.ndarray, places: list[tuple[float, float, float]], fov: float) -> Tensor:
    """Views of a globe at (azimuth, elevation, roll), degrees: float32 [V, 3, 128, 128] in [0, 1]."""
    rig = Rig(torch.stack([looking(*map(math.radians, place)) for place in places]), math.radians(fov))
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
    return ResampledViews(*looked_at(rig, SIZE, (HEIGHT, HEIGHT)), SIZE).project(pixels).float()


def _views(seed: int) -> tuple[np.ndarray, list[float]]:
    """Views of one globe, uint8 [PER_GLOBE, 3, 128, 128], and their elevations."""
    torch.set_num_threads(1)
    time, biome = labels_of(np.array(seed))
    image, rng = globe(seed, TIMES[time], BIOMES[biome]).image, np.random.default_rng([seed, 1])
    places = [(rng.uniform(-180, 180), elevation_of(rng), rng.uniform(-ROLL, ROLL)) for _ in range(PER_GLOBE)]
    pixels = torch.cat([seen(image, [place], rng.uniform(*FOV)) for place in places])
    return (pixels * 255).round().byte().numpy(), [elevation for _, elevation, _ in places]


def draw_views(path: Path, globes: int, first_seed: int, processes: int | None = None) -> None:
    """Write PER_GLOBE views of so many globes to path (.pt), all cores at work unless told otherwise."""
    images, elevations = [], []
    with Pool(processes) as pool:
        for i, (views, looks) in enumerate(pool.imap(_views, range(first_seed, first_seed + globes), chunksize=10)):
            images.append(torch.from_numpy(views))
            elevations += looks
            if i % 200 == 0:
                print(f"globes {i}/{globes}", flush=True)
    part = path.with_suffix(".part")
    torch.save({"images": torch.cat(images), "elevation": torch.tensor(elevations), "first_seed": first_seed}, part)
    part.rename(path)


def read_views(path: Path) -> GlobeViews:
    """What ``draw_views`` wrote."""
    cached = torch.load(path, weights_only=True, mmap=True)
    index = np.repeat(np.arange(len(cached["images"]) // PER_GLOBE), PER_GLOBE)
    return GlobeViews(cached["images"], index, cached["elevation"].numpy(), cached["first_seed"])
