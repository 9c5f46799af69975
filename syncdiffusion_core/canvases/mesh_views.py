"""Views of a mesh's texture: what cameras around it see of the texture, and what each texel is told by them.

Both maps are made from one z-buffer a camera. A pixel reads the texture, bilinearly, where the surface has it. A texel
looks at each camera where its point of the surface is: it counts the pixels around that show the same surface, and is
hidden where none does.
"""

import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from ..views.gathered import GatheredViews, Inverse
from .atlas import Atlas
from .bilinear import around
from .mesh import Mesh
from .orbit import Orbit
from .zbuffer import Hits, rasterise

Size = tuple[int, int]
NEAR = 1e-3
"""Depth in front of a camera from which it sees, of the radius of the object."""
GRAZING = 0.1
"""Cosine of the angle between a face and the way to a camera below which the camera has nothing to say of it."""
SAME_DEPTH_PX = 1.5
"""By how many pixels, as wide as they are at that depth, a texel may lie before or behind what a camera sees there."""
SAME_SIDE = 0.5
"""Cosine between their normals from which they are the same side of a body."""
BORDER = 0.1
"""Of half a view's side, within which its weight falls to LEAST_WEIGHT."""
LEAST_WEIGHT = 1e-3
"""Of a view's outermost cells, which may be the only ones that see a place."""
BESIDE = 4.0
"""Texels, as the surface has them, within which a texel is beside a pixel in space and not only in the texture."""


class MeshTables(NamedTuple):
    """views: by the weights that a run samples with. bake: the same views by those of the last canvas."""

    views: GatheredViews
    bake: GatheredViews


class Told(NamedTuple):
    """What a camera says of n texels: see ``Inverse``. cosine [n]: of the angle that it sees each of them at."""

    cells: Tensor
    taps: Tensor
    shares: Tensor
    weight: Tensor
    cosine: Tensor

    def inverse(self, power: float) -> Inverse:
        """By this power of the cosine."""
        weight = self.weight * self.cosine**power
        return Inverse(self.cells, self.taps, self.shares, weight)


def mesh_views(
    mesh: Mesh, atlas: Atlas, cameras: Orbit, drawn: Iterable[tuple[int, Hits]], powers: tuple[float, float]
) -> MeshTables:
    """Views of the texture of a mesh, a camera each.

    drawn: what they show, see there. powers: of the cosine by which a view counts, in a run and in its last canvas.
    Cells of views that show nothing of the texture have no taps. Raises ValueError where no camera sees the mesh.
    """
    seen = torch.zeros(atlas.size[0] * atlas.size[1], dtype=torch.bool)
    looks, ways = [], []
    for number, hits in drawn:
        looks.append(_looked_at(mesh, atlas, hits))
        ways.append(told(mesh, atlas, cameras, number, hits))
        seen[ways[-1].cells.long()] = True
    check_seen(seen)
    taps, shares = (torch.stack(tables) for tables in zip(*(_only(seen, *look) for look in looks), strict=True))
    looks.clear()
    views, bake = ([each.inverse(power) for each in ways] for power in powers)
    made = GatheredViews(taps, shares, atlas.size, views)
    return MeshTables(made, made.gathering(bake))


def drawn(mesh: Mesh, cameras: Orbit, view: Size, cull: bool = False) -> Iterator[tuple[int, Hits]]:
    """(number of a camera, what its view (height, width) shows), one after the other."""
    for number in range(len(cameras)):
        front = (mesh.face_normals * (cameras.eyes[number] - mesh.corners[:, 0])).sum(dim=-1) > 0 if cull else None
        corners = cameras.projected(number, mesh.vertices, view)[mesh.faces]
        yield number, rasterise(corners, view, NEAR * mesh.ball.radius, front)


def _looked_at(mesh: Mesh, atlas: Atlas, hits: Hits) -> tuple[Tensor, Tensor]:
    """Taps [4, h, w] int32, -1 for nothing, and shares [4, h, w] float32 of a view, of texels beside its pixels."""
    height, width = atlas.size
    taps, weights = torch.full((4, *hits.face.shape), -1, dtype=torch.int32), torch.zeros(4, *hits.face.shape)
    face, shares = hits.face[hits.seen], hits.shares[hits.seen].double()
    u, v = mesh.on_texture(face, shares).unbind(-1)
    points, texels = mesh.on_surface(face, shares).float(), atlas.points.float()
    beside = (BESIDE / min(height, width) * mesh.stretch[face.long()]).float()
    corners = around(v * height - 0.5, u * width - 0.5)
    for k, (row, column, share) in enumerate(corners):
        cell = row.clamp(0, height - 1) * width + column.clamp(0, width - 1)
        number = atlas.number[cell]
        way = texels[number.clamp(min=0)] - points
        there = (number >= 0) & (_dot(way, way) <= beside**2)
        taps[k][hits.seen], weights[k][hits.seen] = torch.where(there, cell, -1).int(), share.float() * there
    return taps, weights


def _only(seen: Tensor, taps: Tensor, shares: Tensor) -> tuple[Tensor, Tensor]:
    """The same of the texels that are seen [H*W], shares 1 together: what no camera tells has nothing to show."""
    shares = shares * (seen[taps.clamp(min=0)] & (taps >= 0))
    total = shares.sum(dim=0)
    there = (shares > 0) & (total > LEAST_WEIGHT)
    return torch.where(there, taps, -1), torch.where(there, shares / total.clamp(min=LEAST_WEIGHT), 0)


def told(mesh: Mesh, atlas: Atlas, cameras: Orbit, number: int, hits: Hits) -> Told:
    """What a camera says of the texels that it sees."""
    height, width = hits.face.shape
    normals = mesh.face_normals.float()
    places = _placed(mesh, atlas, cameras, number, (height, width), normals)
    tolerance = SAME_DEPTH_PX * 2 * math.tan(cameras.rig.fov / 2) / height
    nearest = places.y.long().clamp(max=height - 1) * width + places.x.long().clamp(max=width - 1)
    places = places.some(_same(places, nearest, hits, normals, tolerance))
    corners = around(places.y - 0.5, places.x - 0.5)
    taps = torch.stack([row.clamp(0, height - 1) * width + column.clamp(0, width - 1) for row, column, _ in corners])
    sights = [
        share * _same(places, tap, hits, normals, tolerance) for (*_, share), tap in zip(corners, taps, strict=True)
    ]
    shares = torch.stack(sights)
    total = shares.sum(dim=0)  # at least the quarter of the nearest, which is one of the four
    place = torch.stack([2 * places.x / width - 1, 2 * places.y / height - 1]).abs()
    fall = ((1 - place) / BORDER).clamp(LEAST_WEIGHT, 1).prod(dim=0)
    weight, shares = (fall * total).float(), (shares / total).float()
    return Told(atlas.cells[places.number].int(), taps.int(), shares, weight, places.cosine)


class _Places(NamedTuple):
    """Where a camera has n texels: x and y in pixels of its view, depth.

    number: among those of the atlas. normal [n, 3]: of their faces. cosine: of the angle between it and the way here.
    """

    number: Tensor
    x: Tensor
    y: Tensor
    depth: Tensor
    normal: Tensor
    cosine: Tensor

    def some(self, which: Tensor) -> "_Places":
        """Those of which [n] is true."""
        (numbers,) = which.nonzero(as_tuple=True)
        return _Places(*(part[numbers] for part in self))


def _placed(mesh: Mesh, atlas: Atlas, cameras: Orbit, number: int, view: Size, normals: Tensor) -> _Places:
    """The texels that a camera would see if nothing stood in front of them."""
    way, normal = (cameras.eyes[number] - atlas.points).float(), normals[atlas.face.long()]
    cosine = _dot(normal, way).abs() / _dot(way, way).sqrt()
    x, y, depth = cameras.projected(number, atlas.points, view).unbind(-1)
    x, y = x / depth, y / depth
    inside = (x >= 0) & (x <= view[1]) & (y >= 0) & (y <= view[0]) & (depth > NEAR * mesh.ball.radius)
    texels = torch.arange(len(atlas.cells), device=x.device)
    return _Places(texels, x, y, depth, normal, cosine).some(inside & (cosine >= GRAZING))


def _same(places: _Places, taps: Tensor, hits: Hits, normals: Tensor, tolerance: float) -> Tensor:
    """Whether pixels [n] show the surface that texels are of, which goes on to them."""
    face = hits.face.flatten()[taps].long()
    known, shown = face >= 0, face.clamp(min=0)
    across, down, rest = hits.planes[shown].unbind(-1)
    inverse = across * places.x + down * places.y + rest
    level = (inverse * places.depth - 1).abs() <= tolerance
    return known & level & (_dot(normals[shown], places.normal) >= SAME_SIDE)


def _dot(one: Tensor, other: Tensor) -> Tensor:
    """Of vectors [n, 3]: [n]."""
    return one[:, 0] * other[:, 0] + one[:, 1] * other[:, 1] + one[:, 2] * other[:, 2]


def check_seen(seen: Tensor) -> None:
    """Raise ValueError where no camera sees a texel."""
    if not bool(seen.any()):
        raise ValueError(
            "rig: none of its cameras sees the mesh; let distance be 0, or check where the cameras stand and look"
        )
