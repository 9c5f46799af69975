"""Figures of an arm's panoramas, by networks that guided nothing."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from bench.arms import Arm
from bench.generate import picture
from demo.judge import agreement, load_judge, times_of_day
from demo.palettes import BIOMES, TIMES
from demo.scenes import render
from syncdiffusion_core.metrics.coherence import mean_of_pairs, side_by_side
from syncdiffusion_core.perceptual.distance import pairwise

WINDOW = 128
FRESH_PER_SCENE = 40
FRESH_SEED = 7_000_000  # scenes that no training has drawn


@dataclass(frozen=True)
class Scores:
    """Per panorama [P] unless said otherwise.

    agree: share of the windows at the panorama's majority time of day. alike: whether all are. intra: mean
    distance of all pairs of windows by the judge's features (Intra-LPIPS with a second network). variance: of
    the pixels inside a window, mean over windows. embedding: of each window, [P, W, D].
    """

    agree: Tensor
    alike: Tensor
    intra: Tensor
    variance: Tensor
    embedding: Tensor


def load_picture(path: Path) -> Tensor:
    """[3, H, W] in [0, 1]."""
    return torch.from_numpy(np.array(Image.open(path).convert("RGB"))).permute(2, 0, 1).float() / 255


@torch.no_grad()
def score(arm: Arm, folder: Path) -> Scores:
    """Score every picture of an arm, in the order of its seeds."""
    judge = load_judge()
    rows = []
    for seed in arm.seeds:
        windows = side_by_side(load_picture(picture(folder, arm, seed)), WINDOW)  # [W, 3, h, w]
        majority = agreement(times_of_day(judge, windows))
        intra = mean_of_pairs(pairwise(judge, judge.features(windows)))
        variance = windows.flatten(2).var(dim=2).mean()
        rows.append((majority, majority == 1, torch.tensor(intra), variance, judge.embedding(windows)))
    agree, alike, intra, variance, embedding = (torch.stack(column) for column in zip(*rows, strict=True))
    return Scores(agree, alike.float(), intra, variance, embedding)


@torch.no_grad()
def fresh_embeddings() -> Tensor:
    """Judge's embeddings of freshly drawn windows, all places and times of day alike: [N, D]."""
    judge, parts = load_judge(), []
    for place, biome in enumerate(BIOMES):
        for time, name in enumerate(TIMES):
            first = FRESH_SEED + 1000 * (place * len(TIMES) + time)
            strips = [render(first + k, name, biome, WINDOW) for k in range(FRESH_PER_SCENE)]
            images = torch.from_numpy(np.stack(strips)).permute(0, 3, 1, 2).float() / 255
            parts.append(judge.embedding(images))
    return torch.cat(parts)


def polynomial_kernel(a: Tensor, b: Tensor) -> Tensor:
    """KID's kernel (a.b / D + 1)^3 (Binkowski et al. 2018)."""
    return (a @ b.T / a.shape[1] + 1) ** 3


class Kid:
    """Unbiased KID of panoramas' windows to fresh renders, quick to resample.

    Windows of one panorama are alike by design, so pairs within a panorama are left out of the windows' own
    term: the estimate is that of one window a panorama, averaged over which one.
    """

    def __init__(self, windows: Tensor, fresh: Tensor) -> None:
        panoramas, count, _ = windows.shape
        # Standardised by the fresh windows: the judge's features have large means, which the kernel would cube.
        mean, scale = fresh.mean(dim=0), fresh.std(dim=0).clamp(min=1e-6)
        flat, fresh = (windows.flatten(0, 1) - mean) / scale, (fresh - mean) / scale
        own = polynomial_kernel(flat, flat).unflatten(0, (panoramas, count)).unflatten(2, (panoramas, count))
        self._own = own.mean(dim=(1, 3))  # [P, P]
        self._cross = polynomial_kernel(flat, fresh).mean(dim=1).unflatten(0, (panoramas, count)).mean(dim=1)
        kernel, n = polynomial_kernel(fresh, fresh), len(fresh)
        self._fresh = (kernel.sum() - kernel.diagonal().sum()) / (n * (n - 1))

    def of(self, rows: Tensor) -> float:
        """KID of the panoramas in rows [R] (repeats allowed, as in a bootstrap)."""
        own = self._own[rows][:, rows]
        different = rows[:, None] != rows[None, :]
        return float(own[different].mean() + self._fresh - 2 * self._cross[rows].mean())
