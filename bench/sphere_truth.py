"""True globes: the first row of the table of spheres, and the single images that every row is compared with."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from bench.sphere_rows import SIZE_PX, place_of
from bench.sphere_scores import SphereJudge, held_out_views
from demo.globe_views import HELD_OUT_SEED
from demo.globes import SIZE, globe
from demo.palettes import BIOMES, TIMES

GLOBES, REFERENCES = HELD_OUT_SEED + 500_000, HELD_OUT_SEED + 600_000
"""First seeds of the row, and of what rows are compared with: nobody has learnt from them, or tuned on them."""
REFERENCE_GLOBES = 80
POOLED = 16
"""Globes from which on processes of their own are worth their start."""


def picture_of(seed: int, first: int) -> np.ndarray:
    """The globe of a seed of the table, of its place and of each time of day in turn: uint8 [512, 1024, 3]."""
    torch.set_num_threads(1)
    return globe(first + seed, TIMES[seed // len(BIOMES) % len(TIMES)], place_of(seed)).image


def true_globes(seeds: Sequence[int], first: int = GLOBES, processes: int = 1) -> Tensor:
    """Pictures [N, 3, *SIZE] in [0, 1]."""
    draw = partial(picture_of, first=first)
    if processes > 1 and len(seeds) >= POOLED:
        with get_context("spawn").Pool(processes) as pool:  # a fork would share a GPU's context
            images = pool.map(draw, seeds)
    else:
        images = [draw(seed) for seed in seeds]
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255


def shrunk(globes: Tensor) -> Tensor:
    """As large as what the rows make."""
    return F.interpolate(globes, SIZE_PX, mode="area")


@torch.no_grad()
def reference_features(judge: SphereJudge, count: int, folder: Path, processes: int = 1) -> Tensor:
    """The judge's embedding of the held-out views of other globes, as sharp as views come: [count, views, D].

    Kept in the folder under the judge's name, for as many globes as were asked for.
    """
    path = folder / f"references_{count}_{judge.digest}.npy"
    if path.exists():
        return torch.from_numpy(np.load(path))
    views, globes = held_out_views(SIZE), true_globes(range(count), REFERENCES, processes)
    features = torch.stack([judge.features(views.project(each[None])) for each in globes])
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, features.numpy())
    return features
