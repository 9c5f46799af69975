"""Views of a mesh's texture: what cameras around it see of the texture, and what each texel is told by them.

Both maps are made from one z-buffer a camera. A pixel reads the texture, bilinearly, where the surface has it. A texel
looks at each camera where its point of the surface is: it counts the pixels around that show the same surface, and is
hidden where none does.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from ..views.gathered import GatheredViews, Inverse
from .atlas import Atlas, atlas_of
from .bilinear import around
from .mesh import Mesh
from .orbit import Orbit
from .zbuffer import Hits, rasterise

Size = tuple[int, int]
NEAR = 1e-3
"""Depth in front of a camera from which it sees, of the radius of the object."""
GRAZING = 0.1
"""Cosine of the angle between a face and the way to a camera below which the camera has nothing to say of it."""
SAME_DEPTH = 0.01
"""By which part of the depth a texel and the surface that a camera sees there may differ."""
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
    mesh: Mesh, cameras: Orbit, size: Size, view: Size, powers: tuple[float, float], cull: bool = False
) -> MeshTables:
    """Views (height, width) of a texture (height, width), a camera each.

    powers: of the cosine by which a view counts, in a run and in its last canvas. cull: whether faces are seen from
    outside only. Cells of views that show nothing of the texture have no taps. Raises ValueError where no camera sees
    the mesh.
    """
    atlas = atlas_of(mesh, size)
    seen = torch.zeros(size[0] * size[1], dtype=torch.bool)
    looks, ways = [], []
    for number, hits in drawn(mesh, cameras, view, cull):
        looks.append(_looked_at(mesh, atlas, hits))
        ways.append(told(mesh, atlas, cameras, number, hits))
        seen[ways[-1].cells.long()] = True
    check_seen(seen)
    taps, shares = (torch.stack(tables) for tables in zip(*(_only(seen, *look) for look in looks), strict=True))
    looks.clear()
    views, bake = ([each.inverse(power) for each in ways] for power in powers)
    made = GatheredViews(taps, shares, size, views)
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
    points = mesh.on_surface(face, shares).float()
    texel_px = 1 / min(height, width)
    beside = (BESIDE * texel_px * mesh.stretch[face.long()]).float()
    corners = around(v * height - 0.5, u * width - 0.5)
    for k, (row, column, share) in enumerate(corners):
        cell = row.clamp(0, height - 1) * width + column.clamp(0, width - 1)
        number = atlas.number[cell]
        there = (number >= 0) & ((atlas.points.float()[number.clamp(min=0)] - points).norm(dim=-1) <= beside)
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
    normals, (height, width) = mesh.face_normals.float(), hits.face.shape
    way = cameras.eyes[number] - atlas.points
    cosine = (normals[atlas.face.long()] * (way / way.norm(dim=-1, keepdim=True)).float()).sum(dim=-1).abs()
    x, y, depth = cameras.projected(number, atlas.points, (height, width)).unbind(-1)
    x, y = x / depth, y / depth
    inside = (x >= 0) & (x <= width) & (y >= 0) & (y <= height)
    (some,) = ((cosine >= GRAZING) & (depth > NEAR * mesh.ball.radius) & inside).nonzero(as_tuple=True)
    nearest = y[some].long().clamp(max=height - 1) * width + x[some].long().clamp(max=width - 1)

    def same(some: Tensor, taps: Tensor) -> Tensor:
        """Whether pixels show the surface that texels are of, which goes on to them."""
        face = hits.face.flatten()[taps].long()
        known, shown = face >= 0, face.clamp(min=0)
        plane = hits.planes[shown]
        inverse = plane[:, 0] * x[some] + plane[:, 1] * y[some] + plane[:, 2]
        side = (normals[shown] * normals[atlas.face[some].long()]).sum(dim=-1)
        return known & ((inverse * depth[some] - 1).abs() <= SAME_DEPTH) & (side >= SAME_SIDE)

    some = some[same(some, nearest)]
    corners = around(y[some] - 0.5, x[some] - 0.5)
    taps = torch.stack([row.clamp(0, height - 1) * width + column.clamp(0, width - 1) for row, column, _ in corners])
    shares = torch.stack([share * same(some, tap) for (*_, share), tap in zip(corners, taps, strict=True)])
    # The nearest pixel is one of the four, so that they never sum to less than a quarter.
    total = shares.sum(dim=0)
    place = torch.stack([2 * x[some] / width - 1, 2 * y[some] / height - 1]).abs()
    fall = ((1 - place) / BORDER).clamp(LEAST_WEIGHT, 1).prod(dim=0)
    weight = (fall * total).float()
    return Told(atlas.cells[some].int(), taps.int(), (shares / total).float(), weight, cosine[some])


def check_seen(seen: Tensor) -> None:
    """Raise ValueError where no camera sees a texel."""
    if not bool(seen.any()):
        raise ValueError(
            "rig: none of its cameras sees the mesh; let distance be 0, or check where the cameras stand and look"
        )
