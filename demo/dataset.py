"""The render cache and its random windows: strips on disk, crops in [-1, 1] on demand."""

from __future__ import annotations

from multiprocessing import Pool
from pathlib import Path

import numpy as np
import torch

from .palettes import BIOMES, TIMES
from .scenes import HEIGHT, cloud_cover, render

STRIP_WIDTH = 384
COMBINATIONS = len(TIMES) * len(BIOMES)
HELD_OUT_SEED = 10_000_000


def labels_of(index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Strip index [N] -> (time [N], biome [N]); combinations take turns."""
    return index % COMBINATIONS // len(BIOMES), index % len(BIOMES)


def _render(seed: int) -> np.ndarray:
    time, biome = labels_of(np.array(seed))
    return render(seed, TIMES[time], BIOMES[biome], STRIP_WIDTH)


def draw_cache(path: Path, count: int, first_seed: int = 0, processes: int = 2) -> None:
    """Write uint8 [count, 128, 384, 3] to path (.npy), all cores at work; strip i has seed first_seed + i."""
    part = path.with_suffix(".part")
    shape = (count, HEIGHT, STRIP_WIDTH, 3)
    strips = np.lib.format.open_memmap(part, mode="w+", dtype=np.uint8, shape=shape)
    with Pool(processes) as pool:
        seeds = range(first_seed, first_seed + count)
        for i, strip in enumerate(pool.imap(_render, seeds, chunksize=50)):
            strips[i] = strip
            if i % 1000 == 0:
                print(f"scenes {i}/{count}", flush=True)
    strips.flush()
    part.rename(path)


class Windows:
    """Random mirrored windows of cached strips."""

    def __init__(self, path: Path, seed: int, first_seed: int = 0):
        self.strips = np.load(path, mmap_mode="r")
        self.cover = np.array([cloud_cover(first_seed + i) for i in range(len(self.strips))])
        self.rng = np.random.default_rng(seed)

    def indices(self, count: int) -> np.ndarray:
        return self.rng.integers(0, len(self.strips), count)

    def sample(self, count: int, size: int = HEIGHT) -> tuple[torch.Tensor, np.ndarray]:
        """Crops [count, 3, size, size] in [-1, 1] and the strip indices [count] they come from."""
        index = self.indices(count)
        crops = np.stack([self._crop(i, size) for i in index])
        return to_tensor(crops), index

    def _crop(self, index: int, size: int) -> np.ndarray:
        x = self.rng.integers(0, STRIP_WIDTH - size + 1)
        y = self.rng.integers(0, HEIGHT - size + 1)
        crop = self.strips[index, y : y + size, x : x + size]
        return crop[:, ::-1] if self.rng.random() < 0.5 else crop


def to_tensor(images: np.ndarray) -> torch.Tensor:
    """uint8 [N, H, W, 3] -> float32 [N, 3, H, W] in [-1, 1], channels last in memory."""
    return torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float() / 127.5 - 1
