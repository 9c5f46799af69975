"""The texels of a mesh's texture: which point of the surface each of them is.

Convention: centres of texels lie at half integers, u to the right and v down (align_corners False). Around the charts
lies a margin of texels of their own, whose points lie where the face beside them goes on: interpolation at the border
of a chart reads nothing else.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from .mesh import Mesh
from .zbuffer import rasterise

Size = tuple[int, int]
MARGIN = 2
"""Texels around charts."""
FURTHEST = 4.0
"""Share of a corner from which a point of the margin no longer goes on with its face: this is too small to tell."""


@dataclass(frozen=True, eq=False)
class Atlas:
    """size: (height, width). cells [n] int64: texels of the mesh, counted flat, in order.

    Of each of them face [n] int32 and points [n, 3] float64. margin: how many of them only lie around charts.
    """

    size: Size
    cells: Tensor
    face: Tensor
    points: Tensor
    margin: int

    @cached_property
    def number(self) -> Tensor:
        """Of every texel of the texture its number among those of the mesh, -1 for none: [H*W] int32."""
        number = torch.full((self.size[0] * self.size[1],), -1, dtype=torch.int32, device=self.cells.device)
        number[self.cells] = torch.arange(len(self.cells), dtype=torch.int32, device=self.cells.device)
        return number


def atlas_of(mesh: Mesh, size: Size) -> Atlas:
    """The texels of a texture (height, width). Raises ValueError where no chart covers the middle of any."""
    flat = mesh.flat(size)
    hits = rasterise(flat, size, near=0.5)
    face = _with_margin(hits.face)
    (cells,) = (face.flatten() >= 0).nonzero(as_tuple=True)
    if not len(cells):
        raise ValueError(
            "mesh: its UVs cover no texel of the texture; they lie in one point or line, so connect UnwrapMesh in front"
        )
    face, margin = face.flatten()[cells], len(cells) - int(hits.seen.sum())
    return Atlas(size, cells, face, mesh.on_surface(face, _shares(flat[face.long()], cells, size[1])), margin)


def shared(mesh: Mesh, atlas: Atlas) -> float:
    """Share of the mesh's surface in the texture that lies on other parts of it, 0 to 1."""
    given = float(mesh.uv_area) * atlas.size[0] * atlas.size[1]
    return max(1 - (len(atlas.cells) - atlas.margin) / given, 0.0)


def _with_margin(face: Tensor) -> Tensor:
    """Faces [H, W] of texels, where there is none that of one beside it, MARGIN times."""
    for _ in range(MARGIN):
        beside = F.max_pool2d(face[None, None].double(), 3, stride=1, padding=1)[0, 0].to(face)
        face = torch.where(face < 0, beside, face)
    return face


def _shares(corners: Tensor, cells: Tensor, width: int) -> Tensor:
    """Of the corners [n, 3, 3] of a face each, at the middles of cells [n]: [n, 3]; beyond the face they go on."""
    place = torch.stack([cells % width + 0.5, torch.div(cells, width, rounding_mode="floor") + 0.5], dim=-1)
    (a, b), p = (corners[:, k, :2] - corners[:, 0, :2] for k in (1, 2)), place - corners[:, 0, :2]
    area = _cross(a, b)
    second, third = _cross(p, b) / area, _cross(a, p) / area
    shares = torch.stack([1 - second - third, second, third], dim=-1)
    inside = shares.clamp(min=0)
    far = (shares.abs() > FURTHEST).any(dim=1, keepdim=True)
    return torch.where(far, inside / inside.sum(dim=1, keepdim=True), shares)


def _cross(a: Tensor, b: Tensor) -> Tensor:
    return a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]
