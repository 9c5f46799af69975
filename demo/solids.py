"""A small world of solids: triangle meshes made by code, a chart of the texture for each of their faces.

Convention: world as in the core's ``rigs``; the front of a solid faces +Z. A patch is a grid of points whose columns
run to the right and whose rows run up, as seen from outside; its chart is upright, and as wide and high as it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch

from syncdiffusion_core.canvases.mesh import Mesh, make_mesh

from .charts import laid_out

SHAPES = ("sphere", "cube", "torus", "capsule", "vase", "arch", "chair", "union")
COLUMNS = 36
"""Around what is turned on a lathe."""
SUNK = 0.15
"""By which the parts of a union stand in each other."""


class Patch(NamedTuple):
    """points and outward unit normals: [rows, columns, 3] float64."""

    points: np.ndarray
    normals: np.ndarray

    def moved(self, rotation: np.ndarray, scale: float, by: np.ndarray) -> Patch:
        """Turned by a rotation [3, 3], then scaled, then moved by [3]."""
        return Patch(self.points @ rotation.T * scale + by, self.normals @ rotation.T)

    @property
    def extent(self) -> tuple[float, float]:
        """(width, height) at its widest and highest, along the surface."""
        across, up = (np.linalg.norm(np.diff(self.points, axis=axis), axis=-1) for axis in (1, 0))
        return float(across.sum(axis=1).max()), float(up.sum(axis=0).max())


Patches = list[Patch]


def solid(seed: int, shape: str) -> Mesh:
    """One solid of a shape: its middle in the origin, its farthest point about 1 away, at most 6000 faces."""
    rng = np.random.default_rng([seed, SHAPES.index(shape)])
    patches = _turned(MAKERS[shape](rng), _about(1, rng.uniform(-20, 20)))
    low, high = _box(patches)
    reach = max(np.linalg.norm(p.points - (low + high) / 2, axis=-1).max() for p in patches)
    scale = rng.uniform(0.9, 1.1) / reach
    return _mesh([p.moved(np.eye(3), scale, -(low + high) / 2 * scale) for p in patches])


def _sphere(rng: np.random.Generator) -> Patches:
    return _capsule_of(1.0, 0.0)


def _capsule(rng: np.random.Generator) -> Patches:
    patches = _capsule_of(rng.uniform(0.45, 0.65), rng.uniform(0.7, 1.1))
    return patches if rng.random() < 0.5 else _turned(patches, _about(2, 90 + rng.uniform(-20, 20)))


def _capsule_of(radius: float, length: float) -> Patches:
    """Two halves of a sphere, so far apart."""
    angles = np.linspace(-np.pi / 2, np.pi / 2, 18)
    high = np.where(angles > 0, length / 2, -length / 2)
    return [_lathed(radius * np.cos(angles), radius * np.sin(angles) + high, np.cos(angles), np.sin(angles))]


def _torus(rng: np.random.Generator) -> Patches:
    tube, angles = rng.uniform(0.3, 0.5), np.linspace(-np.pi, np.pi, 21)
    patches = [_lathed(1 + tube * np.cos(angles), tube * np.sin(angles), np.cos(angles), np.sin(angles))]
    upright = 90 if rng.random() < 0.5 else 0
    return _turned(patches, _about(0, upright + rng.uniform(-20, 20)))


def _vase(rng: np.random.Generator) -> Patches:
    """Turned from a random profile: a foot, a belly, a neck and a lip; hollow."""
    height, wall = rng.uniform(1.9, 2.6), rng.uniform(0.08, 0.12)
    radii = (rng.uniform(0.4, 0.6), rng.uniform(0.7, 1.0), rng.uniform(0.28, 0.55), rng.uniform(0.4, 0.75))
    heights = (0.0, rng.uniform(0.3, 0.55), rng.uniform(0.72, 0.9), 1.0)
    y = np.linspace(0, 1, 21)
    outside = _eased(y, heights, radii)
    inside = y[14::-1] * (1 - wall) / y[14] + wall
    hollow = np.maximum(_eased(inside, heights, radii) - wall, 0.1)
    profile = [
        ([0, outside[0]], [0, 0]),
        (outside, y),
        ([outside[-1], hollow[0]], [1, 1]),
        (hollow, inside),
        ([hollow[-1], 0], [inside[-1], inside[-1]]),
    ]
    return [_smooth(np.asarray(r, float), height * np.asarray(h, float)) for r, h in profile]


def _cube(rng: np.random.Generator) -> Patches:
    return _box_of(rng.uniform(0.85, 1.15, 3))


def _arch(rng: np.random.Generator) -> Patches:
    """Two legs and half a ring upon them."""
    inner, leg, half = rng.uniform(0.45, 0.65), rng.uniform(0.5, 1.2), rng.uniform(0.2, 0.35)
    angles = np.linspace(0, np.pi, 25)
    bow = np.stack([np.cos(angles), np.sin(angles)], axis=-1)  # [25, 2]
    way = np.concatenate([bow[:1], bow, bow[-1:]])  # what is outward along the path, legs included
    foot = np.array([0, *[leg] * len(bow), 0])

    def path(radius: float, z: float) -> np.ndarray:
        return np.stack([radius * way[:, 0], radius * way[:, 1] + foot, np.full(len(way), z)], axis=-1)

    outward = np.concatenate([way, np.zeros((len(way), 1))], axis=-1)
    walls = [
        (path(1, half), path(1, -half), outward),
        (path(inner, -half), path(inner, half), -outward),
        (path(inner, half), path(1, half), np.array([0, 0, 1])),
        (path(1, -half), path(inner, -half), np.array([0, 0, -1])),
    ]
    patches = [_strip(*wall) for wall in walls]
    return patches + [p for x in (-1, 1) for p in _sole(x * inner, x, half)]


def _sole(one: float, other: float, half: float) -> Patches:
    """What a leg stands on."""
    left, right = sorted((one, other))
    corners = [[(left, -half), (right, -half)], [(left, half), (right, half)]]
    points = np.array([[(x, 0.0, z) for x, z in row] for row in corners])
    return [Patch(points, np.broadcast_to([0.0, -1.0, 0.0], points.shape))]


def _chair(rng: np.random.Generator) -> Patches:
    """A seat, a back behind it, four legs."""
    half, legs, back = rng.uniform(0.45, 0.6), rng.uniform(0.6, 0.9), rng.uniform(0.7, 1.1)
    thick, leg = rng.uniform(0.12, 0.2), rng.uniform(0.14, 0.2)
    boxes = [((2 * half, thick, 2 * half), (0, 0, 0)), ((2 * half, back, thick), (0, back / 2, thick / 2 - half))]
    for x in (-1, 1):
        boxes += [((leg, legs, leg), (x * (half - leg / 2), -legs / 2, z * (half - leg / 2))) for z in (-1, 1)]
    return [p.moved(np.eye(3), 1.0, np.array(at)) for size, at in boxes for p in _box_of(size)]


def _union(rng: np.random.Generator) -> Patches:
    """Two or three others, one on the other or side by side."""
    parts = rng.permutation(SHAPES[:5])[: rng.integers(2, 4)]
    patches: Patches = []
    for part in parts:
        more = MAKERS[part](rng)
        (low, high), scale = _box(more), rng.uniform(0.7, 1.1)
        more = [p.moved(np.eye(3), scale, -(low + high) / 2 * scale) for p in more]
        if patches:
            axis, (_, end), (start, _) = int(rng.choice([0, 1, 1])), _box(patches), _box(more)
            by = np.zeros(3)
            by[axis] = end[axis] - start[axis] - SUNK
            more = [p.moved(np.eye(3), 1.0, by) for p in more]
        patches += more
    return patches


MAKERS: dict[str, Callable[[np.random.Generator], Patches]] = {
    "sphere": _sphere,
    "cube": _cube,
    "torus": _torus,
    "capsule": _capsule,
    "vase": _vase,
    "arch": _arch,
    "chair": _chair,
    "union": _union,
}


def _lathed(radii: np.ndarray, heights: np.ndarray, across: np.ndarray, up: np.ndarray) -> Patch:
    """A profile [rows] turned around Y, and its normals in its own plane."""
    azimuth = np.linspace(0, 2 * np.pi, COLUMNS + 1)
    azimuth[-1] = 0  # the ends meet to the bit
    sides = np.stack([np.sin(azimuth), np.zeros_like(azimuth), np.cos(azimuth)], axis=-1)
    radii = np.where(np.abs(radii) < 1e-12, 0, radii)

    def turned(r: np.ndarray, y: np.ndarray) -> np.ndarray:
        return r[:, None, None] * sides + y[:, None, None] * np.array([0.0, 1.0, 0.0])

    return Patch(turned(radii, heights), turned(across, up))


def _smooth(radii: np.ndarray, heights: np.ndarray) -> Patch:
    """The same, with the normals of a smooth curve through a profile whose outside is to its right."""
    across, up = np.gradient(heights), -np.gradient(radii)
    length = np.hypot(across, up)
    return _lathed(radii, heights, across / length, up / length)


def _strip(low: np.ndarray, high: np.ndarray, normals: np.ndarray) -> Patch:
    """Between two lines [columns, 3] that run to the left."""
    points = np.stack([low, high])[:, ::-1]
    return Patch(points, np.broadcast_to(np.broadcast_to(normals, low.shape)[::-1], points.shape))


def _box_of(size: Sequence[float]) -> Patches:
    """Six sides of a box around the origin."""
    half, patches = np.asarray(size, float) / 2, []
    for axis in range(3):
        for sign in (-1.0, 1.0):
            normal, up = np.zeros(3), np.zeros(3)
            normal[axis] = sign
            up[1 if axis != 1 else 2] = 1.0 if axis != 1 else -sign
            right = np.cross(up, normal)
            corners = [[normal + x * right + y * up for x in (-1, 1)] for y in (-1, 1)]
            points = np.array(corners) * half
            patches.append(Patch(points, np.broadcast_to(normal, points.shape)))
    return patches


def _eased(at: np.ndarray, places: Sequence[float], values: Sequence[float]) -> np.ndarray:
    """Values between places, level at each of them."""
    number = np.clip(np.searchsorted(places, at, side="right") - 1, 0, len(places) - 2)
    first, values = np.asarray(places)[number], np.asarray(values)
    share = (at - first) / (np.asarray(places)[number + 1] - first)
    return values[number] + (values[number + 1] - values[number]) * (1 - np.cos(np.pi * share)) / 2


def _about(axis: int, degrees: float) -> np.ndarray:
    """Rotation [3, 3] about an axis of the world."""
    sine, cosine = math.sin(math.radians(degrees)), math.cos(math.radians(degrees))
    rotation, (a, b) = np.eye(3), ((axis + 1) % 3, (axis + 2) % 3)
    rotation[[a, a, b, b], [a, b, a, b]] = cosine, -sine, sine, cosine
    return rotation


def _turned(patches: Patches, rotation: np.ndarray) -> Patches:
    return [p.moved(rotation, 1.0, np.zeros(3)) for p in patches]


def _box(patches: Patches) -> tuple[np.ndarray, np.ndarray]:
    """Its least and largest corner: [3] each."""
    points = np.concatenate([p.points.reshape(-1, 3) for p in patches])
    return points.min(axis=0), points.max(axis=0)


def _mesh(patches: Patches) -> Mesh:
    charts = laid_out([p.extent for p in patches])
    faces, uvs, count = [], [], 0
    for patch, (left, top, width, height) in zip(patches, charts, strict=True):
        rows, columns = patch.points.shape[:2]
        v, u = np.meshgrid(np.linspace(1, 0, rows), np.linspace(0, 1, columns), indexing="ij")
        uvs.append(np.stack([left + width * u, top + height * v], axis=-1).reshape(-1, 2))
        numbers = count + np.arange(rows * columns).reshape(rows, columns)
        a, b, c, d = numbers[:-1, :-1], numbers[:-1, 1:], numbers[1:, 1:], numbers[1:, :-1]
        faces += [np.stack(corners, axis=-1).reshape(-1, 3) for corners in ((a, b, c), (a, c, d))]
        count += rows * columns
    points, normals = (np.concatenate([getattr(p, name).reshape(-1, 3) for p in patches]) for name in Patch._fields)
    parts = (points, np.concatenate(faces), np.concatenate(uvs), normals)
    return make_mesh(*(torch.from_numpy(np.ascontiguousarray(part)) for part in parts))
