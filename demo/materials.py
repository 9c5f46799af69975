"""What the demo's solids are made of: colours that are functions of a point of the surface, and of its normal.

They know nothing of a view, so that all views of a solid agree to the bit. The light is the world's: it is in them.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from syncdiffusion_core.canvases.mesh import Mesh
from syncdiffusion_core.canvases.zbuffer import rasterise

from .lattice import cells_of, hashed, noise, rough

COLOURS = {
    "red": (0.80, 0.13, 0.11),
    "yellow": (0.93, 0.76, 0.10),
    "green": (0.16, 0.60, 0.20),
    "blue": (0.14, 0.32, 0.85),
    "purple": (0.56, 0.20, 0.72),
    "white": (0.93, 0.93, 0.91),
}
BACKGROUND = 0.5
"""Beside a solid: the grey that Mesh Views shows there."""
SUN = (0.45, 0.75, 0.50)
AMBIENT, SKY, DIRECT = 0.52, 0.14, 0.48
"""Light from everywhere, more of it from above, and from the sun."""
LONG, HIGH = 0.62, 0.31
"""Of a brick."""

Shade = Callable[[Tensor, Tensor, Tensor, int], Tensor]


def _smooth(low: float, high: float, x: Tensor) -> Tensor:
    share = ((x - low) / (high - low)).clamp(0, 1)
    return share * share * (3 - 2 * share)


def _mixed(one: Tensor, other: Tensor, share: Tensor) -> Tensor:
    return one + (other - one) * share[..., None]


def _is_pale(tint: Tensor) -> bool:
    """Whether what goes with it has to be darker, to be seen."""
    return bool(tint.min() > 0.6)


def _unfolded(points: Tensor, normals: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(across [...], up [...], which of three [...]): places on the side of a box that a surface looks to most."""
    x, y, z = points.unbind(-1)
    side = normals.abs().argmax(dim=-1)
    return torch.where(side == 0, z, x), torch.where(side == 1, z, y), side


def _wood(points: Tensor, normals: Tensor, tint: Tensor, seed: int) -> Tensor:
    """Rings around an axis beside the solid, which it meets as long curves, and fine grain along it."""
    x, y, z = points.unbind(-1)
    bend = 0.35 * (noise(points * 1.3, seed) - 0.5)
    phase = 4.6 * torch.hypot(x - 0.45 + 0.12 * y + bend, z + 0.85 + bend)
    ring = phase - phase.floor()
    dark = _smooth(0.30, 0.90, ring) * (1 - _smooth(0.90, 1.0, ring))
    grain = noise(points * torch.tensor([34.0, 2.2, 34.0]), seed + 1)
    wood = tint * torch.tensor([1.0, 0.86, 0.70])
    return _mixed(wood, wood * torch.tensor([0.48, 0.38, 0.30]), 0.9 * dark) * (0.78 + 0.40 * grain)[..., None]


def _stone(points: Tensor, normals: Tensor, tint: Tensor, seed: int) -> Tensor:
    """Grey mottles on boulders of different shades, and dark cracks between them."""
    warped = points * 1.75 + 0.5 * torch.stack([noise(points * 4 + k, seed + 5 + k) for k in range(3)], dim=-1)
    near, second, number = cells_of(warped, seed)
    crack = 1 - _smooth(0.025, 0.11, second - near)
    mottle = rough(points * 4.5, seed + 9, 4)
    grey = torch.tensor([0.66, 0.65, 0.63]) * (0.6 + 0.4 * tint.max())
    body = _mixed(tint, grey, 0.22 + 0.55 * _smooth(0.40, 0.62, mottle))
    body = body * (0.78 + 0.34 * number + 0.9 * (mottle - 0.5))[..., None]
    return _mixed(body, torch.tensor([0.10, 0.10, 0.11]), crack)


def _brick(points: Tensor, normals: Tensor, tint: Tensor, seed: int) -> Tensor:
    """Courses with mortar, every other one half a brick along."""
    across, up, side = _unfolded(points, normals)
    course = up / HIGH + 0.31
    along = across / LONG + 0.5 * (course.floor() % 2) + 0.13
    brick = torch.stack([along.floor(), course.floor(), side.float()], dim=-1)
    inside = torch.stack([along % 1 * LONG, course % 1 * HIGH], dim=-1)
    gap = torch.minimum(inside, torch.tensor([LONG, HIGH]) - inside).amin(dim=-1)
    body = tint * (0.70 + 0.36 * hashed(brick, seed) + 0.22 * (rough(points * 9, seed + 1) - 0.5))[..., None]
    mortar = torch.tensor([0.36, 0.35, 0.34] if _is_pale(tint) else [0.84, 0.83, 0.80])
    return _mixed(mortar, body, _smooth(0.022, 0.036, gap))


def _metal(points: Tensor, normals: Tensor, tint: Tensor, seed: int) -> Tensor:
    """Brushed around its height, with the light and dark bands that polished things show of a room, and a gleam."""
    streak = rough(points * torch.tensor([1.2, 17.0, 1.2]), seed, 2)
    across, up, along = normals.unbind(-1)
    place = points @ torch.tensor([3.0, 1.9, -3.0])  # a flat side has bands, too
    room = torch.sin(3 * torch.atan2(across, along) + place + 0.6) * (1 - up**2).clamp(min=0).sqrt()
    height = (up + 0.25 * (streak - 0.5)).clamp(-1, 1)
    room += 0.9 * _smooth(0.25, 0.45, height) - 0.9 * _smooth(0.55, 0.85, height) - 0.5 * _smooth(0.2, 0.5, -height)
    steel = torch.lerp(tint, torch.tensor([0.80, 0.82, 0.86]), 0.15)
    body = steel * ((0.86 + 0.40 * room) * (0.52 + 0.96 * streak))[..., None]
    gleam = (normals @ _unit(SUN)).clamp(min=0) ** 24 + 0.55 * _smooth(0.62, 1.05, room)
    return _mixed(body, torch.ones(3), (0.85 * gleam).clamp(max=1))


def _cloth(points: Tensor, normals: Tensor, tint: Tensor, seed: int) -> Tensor:
    """Checks of two threads, woven over and under each other."""
    across, up, _ = _unfolded(points, normals)
    threads = torch.stack([across, up], dim=-1) / 0.42 + 0.17
    band = _smooth(0.44, 0.52, (threads % 1 - 0.5).abs() * 2)
    first, second = band.unbind(-1)
    weave = torch.sin(across * 62.0) * torch.sin(up * 62.0)
    light = torch.lerp(tint, torch.ones(3), 0.82)
    deep = tint * (0.66 if _is_pale(tint) else 0.80)
    body = _mixed(light, deep, 0.5 * (first + second))
    return body * (0.93 + 0.13 * weave)[..., None]


def _moss(points: Tensor, normals: Tensor, tint: Tensor, seed: int) -> Tensor:
    """Clumps of tufts with dark between them."""
    clump = rough(points * 2.4, seed, 3)
    ragged = torch.stack([noise(points * 17 + 5 * k, seed + 8 + k) for k in range(3)], dim=-1)
    near, _, number = cells_of(points * 6.5 + 1.5 * clump[..., None] + 0.9 * ragged, seed + 4)
    tuft = 1 - _smooth(0.15, 0.75, near)
    body = _mixed(tint * torch.tensor([0.30, 0.34, 0.26]), tint * 1.15 + 0.04, tuft * (0.40 + 0.60 * number))
    return body * (0.70 + 0.60 * _smooth(0.25, 0.75, clump))[..., None]


MATERIALS: dict[str, Shade] = {
    "wood": _wood,
    "stone": _stone,
    "brick": _brick,
    "metal": _metal,
    "cloth": _cloth,
    "moss": _moss,
}


def lit(material: str, colour: str, points: Tensor, normals: Tensor, seed: int) -> Tensor:
    """What is seen of a surface [..., 3] whose unit normals are given: display colours [..., 3] in [0, 1].

    seed: another piece of the same material.
    """
    points, normals = points.float(), normals.float()
    albedo = MATERIALS[material](points, normals, torch.tensor(COLOURS[colour]), seed)
    light = AMBIENT + SKY * (normals[..., 1] + 1) / 2 + DIRECT * (normals @ _unit(SUN)).clamp(min=0)
    return (albedo * light[..., None]).clamp(0, 1)


def lit_at(mesh: Mesh, face: Tensor, shares: Tensor, material: str, colour: str, seed: int) -> Tensor:
    """The same of places [n] of a solid, by shares [n, 3] of the corners of faces [n]: [n, 3]."""
    assert mesh.normals is not None, "a solid has normals of its own"
    shares = shares.double()
    normals = (mesh.normals[mesh.faces[face.long()]] * shares[..., None]).sum(dim=-2)
    normals = normals / normals.norm(dim=-1, keepdim=True)
    return lit(material, colour, mesh.on_surface(face, shares), normals, seed)


def texture(mesh: Mesh, side: int, material: str, colour: str, seed: int) -> Tensor:
    """The true texture of a solid, light included: [side, side, 3] in [0, 1]; grey between its charts."""
    hits = rasterise(mesh.flat((side, side)), (side, side), near=0.5)
    picture = torch.full((side, side, 3), BACKGROUND)
    picture[hits.seen] = lit_at(mesh, hits.face[hits.seen], hits.shares[hits.seen], material, colour, seed)
    return picture


def _unit(direction: tuple[float, float, float]) -> Tensor:
    vector = torch.tensor(direction)
    return vector / vector.norm()
