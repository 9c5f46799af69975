"""Scores of pictures of 360 degrees, by views that no row was made from."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from bench.sphere_edges import is_broken, pinch, pole_rotations, steps_across
from bench.sphere_rows import VIEW_PX
from demo.skyline import detect, load_detector
from syncdiffusion_core.canvases.rigs import Rig, looking
from syncdiffusion_core.canvases.sphere import Size, looked_at
from syncdiffusion_core.metrics.coherence import mean_of_pairs
from syncdiffusion_core.metrics.labels import agreement
from syncdiffusion_core.perceptual.distance import Features
from syncdiffusion_core.perceptual.scene_net import SceneNet
from syncdiffusion_core.perceptual.unit_features import unit_normalise
from syncdiffusion_core.views.tables import ResampledViews

FOV = math.radians(75)
BESIDE_DEG, ROLL_DEG = 22.5, 45.0
"""By which held-out views stand beside those of every rig, and are rolled at the poles."""
HORIZON, THIRTY, SIXTY, POLES = "horizon", "±30°", "±60°", "poles"
CLASSES = {HORIZON: range(0, 8), THIRTY: range(8, 16), SIXTY: range(16, 24), POLES: range(24, 26)}
"""Numbers of the held-out views by their pitch."""


def held_out() -> Rig:
    """26 cameras: eight at the horizon, four each at 30 and 60 degrees above and below it, both poles."""
    every = [(BESIDE_DEG + 45 * k, 0.0) for k in range(8)]
    for pitch in (30, -30, 60, -60):
        first = BESIDE_DEG if abs(pitch) == 30 else 3 * BESIDE_DEG
        every += [(first + 90 * k, float(pitch)) for k in range(4)]
    places = torch.stack([looking(math.radians(azimuth), math.radians(pitch)) for azimuth, pitch in every])
    return Rig(torch.cat([places, pole_rotations(ROLL_DEG)]), FOV)


@cache
def held_out_views(size: Size) -> ResampledViews:
    """Those views of equirectangular pictures of (height, width) pixels."""
    return ResampledViews(*looked_at(held_out(), size, VIEW_PX), size)


@dataclass(frozen=True)
class Scores:
    """Of the pictures of a row. values: [N] by figure; features: [N, views, D] of the judge, of all views."""

    values: Mapping[str, Tensor]
    features: Tensor


class SphereJudge:
    """What scores: the judge of the demo's world, which guides nothing, and the detector of skylines."""

    def __init__(self, judge: SceneNet, device: str = "cpu") -> None:
        self.device = torch.device(device)
        self.judge, self.detector = judge.to(self.device), load_detector().to(self.device)

    @property
    def digest(self) -> str:
        """What tells judges apart."""
        digest = hashlib.sha256()
        for weight in self.judge.state_dict().values():
            digest.update(weight.cpu().numpy().tobytes())
        return digest.hexdigest()[:12]

    @torch.no_grad()
    def scores(self, pictures: Tensor) -> Scores:
        """Of pictures uint8 [N, 3, H, W]."""
        each = [self._of_one(picture.to(self.device).float() / 255) for picture in pictures]
        values, features = zip(*each, strict=True)
        columns = {key: torch.tensor([row[key] for row in values], dtype=torch.float64) for key in values[0]}
        return Scores(columns, torch.stack(features))

    @torch.no_grad()
    def features(self, views: Tensor) -> Tensor:
        """The judge's embedding of views [V, 3, h, w]: [V, D], on the CPU."""
        return self.judge.embedding(views.to(self.device)).cpu()

    def _of_one(self, picture: Tensor) -> tuple[dict[str, float], Tensor]:
        size = (picture.shape[-2], picture.shape[-1])
        views = held_out_views(size).project(picture[None])
        taps = self.judge.taps(views)
        embedding = taps[-1].mean(dim=(2, 3))
        times = self.judge.time_head(embedding).argmax(dim=1).cpu()
        pairs = all_distances(self.judge, taps).cpu()
        horizon = list(CLASSES[HORIZON])
        wrap, elsewhere = steps_across(picture)
        values = {
            "agree": float(agreement(times)),
            "agree_horizon": float(agreement(times[horizon])),
            "distance": mean_of_pairs(pairs),
            "distance_horizon": mean_of_pairs(pairs[horizon][:, horizon]),
            "wrap": wrap,
            "elsewhere": elsewhere,
            "pinch": pinch(picture, views[list(CLASSES[POLES])], FOV),
            "broken": float(is_broken(detect(self.detector, views[horizon])).float().mean()),
        }
        return values, embedding.cpu()


def all_distances(judge: SceneNet, taps: Features) -> Tensor:
    """The judge's distances between views by their activations, [V, V]: ``pairwise``, in one pass over the features."""
    layers = [
        unit_normalise(tap) * (lin / tap[0, 0].numel()).sqrt()[:, None, None]
        for tap, lin in zip(taps, judge.lin, strict=True)
    ]
    flat = torch.cat([layer.flatten(1) for layer in layers], dim=1)
    return torch.cdist(flat, flat, compute_mode="donot_use_mm_for_euclid_dist").square()


def by_class(features: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Features [N, views, D] of the views of each pitch."""
    for name, numbers in CLASSES.items():
        yield name, features[:, list(numbers)]
