"""The render cache and its random windows: strips on disk, crops in [-1, 1] on demand."""

from __future__ import annotations

from multiprocessing import Pool
from pathlib import Path

import numpy as np
import torch

from .palettes import BIOMES, TIMES
from .scenes import HEIGHT, Scene, cloud_cover, scene

STRIP_WIDTH = 384
COMBINATIONS = len(TIMES) * len(BIOMES)
HELD_OUT_SEED = 10_000_000


def labels_of(index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Strip index [N] -> (time [N], biome [N]); combinations take turns."""
    return index % COMBINATIONS // len(BIOMES), index % len(BIOMES)


def skylines_of(path: Path) -> Path:
    """Where the skylines of a file of strips are kept."""
    return path.with_name(f"{path.stem}_skyline.npy")


def _scene(seed: int) -> Scene:
    time, biome = labels_of(np.array(seed))
    return scene(seed, TIMES[time], BIOMES[biome], STRIP_WIDTH)


def draw_cache(path: Path, count: int, first_seed: int = 0, processes: int = 2) -> None:
    """Write uint8 [count, 128, 384, 3] to path (.npy) and float16 skylines [count, 384] beside it.

    All cores at work; strip i has seed first_seed + i.
    """
    part = path.with_suffix(".part")
    shape = (count, HEIGHT, STRIP_WIDTH, 3)
    strips = np.lib.format.open_memmap(part, mode="w+", dtype=np.uint8, shape=shape)
    skylines = np.empty((count, STRIP_WIDTH), np.float16)
    with Pool(processes) as pool:
        seeds = range(first_seed, first_seed + count)
        for i, drawn in enumerate(pool.imap(_scene, seeds, chunksize=50)):
            strips[i], skylines[i] = drawn.image, drawn.skyline
            if i % 1000 == 0:
                print(f"scenes {i}/{count}", flush=True)
    strips.flush()
    np.save(skylines_of(path), skylines)
    part.rename(path)


class Windows:
    """Random mirrored windows of cached strips."""

    def __init__(self, path: Path, seed: int, first_seed: int = 0):
        self.path, self.strips = path, np.load(path, mmap_mode="r")
        self.cover = np.array([cloud_cover(first_seed + i) for i in range(len(self.strips))])
        self.rng = np.random.default_rng(seed)

    def indices(self, count: int) -> np.ndarray:
        return self.rng.integers(0, len(self.strips), count)

    def sample(self, count: int, size: int = HEIGHT) -> tuple[torch.Tensor, np.ndarray]:
        """Crops [count, 3, size, size] in [-1, 1] and the strip indices [count] they come from."""
        index = self.indices(count)
        crops = np.stack([self._crop(i, size) for i in index])
        return to_tensor(crops), index

    def sample_skylines(self, count: int) -> tuple[torch.Tensor, torch.Tensor, np.ndarray]:
        """Whole windows as `sample` gives them, their skylines [count, 128] in px from the top, and the indices."""
        skylines = np.load(skylines_of(self.path), mmap_mode="r")
        index = self.indices(count)
        places = [self._place(HEIGHT) for _ in index]
        crops = np.stack([self._cut(self.strips[i], place, HEIGHT) for i, place in zip(index, places, strict=True)])
        rows = [self._cut(skylines[i][None], place, HEIGHT)[0] for i, place in zip(index, places, strict=True)]
        return to_tensor(crops), torch.from_numpy(np.stack(rows)).float(), index

    def _crop(self, index: int, size: int) -> np.ndarray:
        return self._cut(self.strips[index], self._place(size), size)

    def _place(self, size: int) -> tuple[int, int, bool]:
        x = self.rng.integers(0, STRIP_WIDTH - size + 1)
        y = self.rng.integers(0, HEIGHT - size + 1)
        return x, y, self.rng.random() < 0.5

    @staticmethod
    def _cut(strip: np.ndarray, place: tuple[int, int, bool], size: int) -> np.ndarray:
        """Rows and columns of strip [H, W, ...] at (x, y), mirrored or not."""
        x, y, mirrored = place
        crop = strip[y : y + size, x : x + size]
        return crop[:, ::-1] if mirrored else crop


def to_tensor(images: np.ndarray) -> torch.Tensor:
    """uint8 [N, H, W, 3] -> float32 [N, 3, H, W] in [-1, 1], channels last in memory."""
    return torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float() / 127.5 - 1
