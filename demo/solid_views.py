"""The render cache of the world of solids: views of each from all around, with the depth hints of Mesh Views."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing import Pool
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from syncdiffusion_core.canvases.atlas import atlas_of
from syncdiffusion_core.canvases.mesh import Mesh
from syncdiffusion_core.canvases.mesh_hints import look_at
from syncdiffusion_core.canvases.mesh_views import drawn
from syncdiffusion_core.canvases.orbit import Ball, Orbit, orbit
from syncdiffusion_core.canvases.rigs import Direction, Rig, looking

from .materials import BACKGROUND, COLOURS, MATERIALS, lit_at
from .object_captions import SIDES, Kind
from .solids import SHAPES, solid

SIZE = (128, 128)
FINER = 2
"""Views are drawn at so many times their size, and averaged."""
FIRST_SEED, HELD_OUT_SEED = 40_000_000, 50_000_000
"""Of the solids to learn from, and of those to test on."""
PER_SOLID = 8
FOV = (35.0, 60.0)
AWAY = (0.97, 1.25)
"""Times the distance at which a solid fits its views."""
ASIDE = 0.05
"""Most by which a solid is beside the middle of its views, of its radius."""
ELEVATIONS = (-35.0, 75.0)
"""Of cameras that are not above or below the solid, where they stand."""
HINT_ATLAS = (64, 64)
"""Hints do not depend on it."""
COMBINATIONS = len(MATERIALS) * len(COLOURS)


def labels_of(index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Numbers above a first seed [N] -> (material [N], colour [N]); combinations take turns."""
    return index % COMBINATIONS // len(COLOURS), index % len(COLOURS)


def kind_of(index: int) -> Kind:
    """The same by name; every combination has every shape in turn."""
    material, colour = labels_of(np.array(index))
    return Kind([*MATERIALS][material], [*COLOURS][colour], SHAPES[(index + index // COMBINATIONS) % len(SHAPES)])


@dataclass(frozen=True)
class SolidViews:
    """images: uint8 [N, 3, 128, 128]. hints: uint8 [N, 128, 128]. index: numbers above the first seed [N].

    places: (azimuth, elevation) of where cameras look, in degrees [N, 2].
    """

    images: Tensor
    hints: Tensor
    index: np.ndarray
    places: Tensor

    @property
    def sides(self) -> list[tuple[str, ...]]:
        """What the views are called in prompts: [N]."""
        return sides_of(rig_of(self.places.tolist(), math.radians(FOV[0])))


def elevation_of(rng: np.random.Generator) -> float:
    """Where a camera stands, in degrees above the horizon: as rigs have it, a bit off, and everywhere between."""
    kind = rng.random()
    if kind < 0.12:
        return float(rng.choice([-1, 1]) * (90 - abs(rng.normal(0, 4))))
    middle = rng.choice([0, 0, 30, 45]) + rng.normal(0, 6) if kind < 0.75 else rng.uniform(*ELEVATIONS)
    return float(np.clip(middle, *ELEVATIONS))


def rig_of(places: Sequence[tuple[float, float]], fov: float) -> Rig:
    """Of cameras that look to (azimuth, elevation) in degrees."""
    return Rig(torch.stack([looking(*map(math.radians, place)) for place in places]), fov)


def sides_of(rig: Rig) -> list[tuple[str, ...]]:
    """Which of SIDES of an object each camera of a rig sees."""
    seen_by = {side: set(rig.towards(Direction(side))) for side in SIDES}
    return [tuple(side for side in SIDES if view in seen_by[side]) for view in range(len(rig))]


def cameras_around(mesh: Mesh, rng: np.random.Generator) -> tuple[Orbit, list[tuple[float, float]]]:
    """PER_SOLID cameras of one rig, and where they look in degrees."""
    places = [(rng.uniform(-180, 180), -elevation_of(rng)) for _ in range(PER_SOLID)]
    rig = rig_of(places, math.radians(rng.uniform(*FOV)))
    centre, radius = mesh.ball.centre, mesh.ball.radius
    aside = Ball(centre + radius * torch.from_numpy(rng.uniform(-ASIDE, ASIDE, 3)), radius * rng.uniform(*AWAY))
    return orbit(rig, aside), places


def seen(mesh: Mesh, cameras: Orbit, kind: Kind, seed: int) -> Tensor:
    """Views of a solid: float32 [V, 3, 128, 128] in [0, 1]. seed: of its material."""
    fine, views = (SIZE[0] * FINER, SIZE[1] * FINER), []
    for _, hits in drawn(mesh, cameras, fine):
        picture = torch.full((*fine, 3), BACKGROUND)
        place = hits.face[hits.seen], hits.shares[hits.seen]
        picture[hits.seen] = lit_at(mesh, *place, kind.material, kind.colour, seed)
        views.append(F.avg_pool2d(picture.permute(2, 0, 1), FINER))
    return torch.stack(views)


def hints_of(mesh: Mesh, cameras: Orbit) -> Tensor:
    """Depth hints as Mesh Views gives them for its views: float32 [V, 128, 128]."""
    return look_at(mesh, atlas_of(mesh, HINT_ATLAS), cameras, drawn(mesh, cameras, SIZE)).depth


def _views(number: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, list[tuple[float, float]]]:
    """Of (first seed, index): views, hints, and where the cameras look."""
    torch.set_num_threads(1)
    first, index = number
    kind = kind_of(index)
    mesh, rng = solid(first + index, kind.shape), np.random.default_rng([first + index, 1])
    cameras, places = cameras_around(mesh, rng)
    pictures = (seen(mesh, cameras, kind, first + index), hints_of(mesh, cameras))
    images, hints = ((each * 255).round().byte().numpy() for each in pictures)
    return images, hints, places


def draw_views(path: Path, solids: int, first_seed: int, processes: int | None = None) -> None:
    """Write PER_SOLID views of so many solids to path (.pt), all cores at work unless told otherwise."""
    parts = []
    with Pool(processes) as pool:
        numbers = ((first_seed, index) for index in range(solids))
        for i, part in enumerate(pool.imap(_views, numbers, chunksize=4)):
            parts.append(part)
            if i % 100 == 0:
                print(f"solids {i}/{solids}", flush=True)
    images, hints, places = zip(*parts, strict=True)
    cached = {
        "images": torch.from_numpy(np.concatenate(images)),
        "hints": torch.from_numpy(np.concatenate(hints)),
        "places": torch.tensor(places).flatten(0, 1),
    }
    part = path.with_suffix(".part")
    torch.save(cached, part)
    part.rename(path)


def read_views(path: Path) -> SolidViews:
    """What ``draw_views`` wrote."""
    cached = torch.load(path, weights_only=True, mmap=True)
    return SolidViews(index=np.repeat(np.arange(len(cached["images"]) // PER_SOLID), PER_SOLID), **cached)
