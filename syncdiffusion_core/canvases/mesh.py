"""A triangle mesh with a place in its texture for every point of its surface.

Convention: world as in ``rigs``; corners of a face run against the clock as seen from outside; UV origin top left, v
down (glTF, and the host's MESH).
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from .orbit import Ball

WHOLE = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
"""What numbers of vertices may be."""
LEAST_AREA = 1e-14
"""Of a face, over the square of the object's size: below it, it has no side."""
OUTSIDE = 1e-4
"""By how much UVs may leave [0, 1]: the host's own bound."""
TILED = 1.5
"""Extent of UVs from which they are taken for tiles, which lie on each other in one texture."""


@dataclass(frozen=True, eq=False)
class Mesh:
    """vertices [N, 3], faces [M, 3] long, uvs [N, 2], normals [N, 3] of vertices or None where faces have their own.

    Made by ``make_mesh``, which checks what is given; no face is degenerate.
    """

    vertices: Tensor
    faces: Tensor
    uvs: Tensor
    normals: Tensor | None = None

    @cached_property
    def corners(self) -> Tensor:
        """Of the faces in space: [M, 3, 3]."""
        return self.vertices[self.faces]

    @cached_property
    def face_normals(self) -> Tensor:
        """Outward, of unit length: [M, 3]."""
        across = _across(self.corners)
        return across / across.norm(dim=-1, keepdim=True)

    @cached_property
    def stretch(self) -> Tensor:
        """How far the surface goes at most for one unit of UV, of each face [M]; infinite where its UVs do not."""
        (a, b), (s, t) = ((each[:, 1] - each[:, 0], each[:, 2] - each[:, 0]) for each in (self.corners, self._uv))
        area = (s[:, 0] * t[:, 1] - s[:, 1] * t[:, 0])[:, None]
        along_u, along_v = (a * t[:, 1:] - b * s[:, 1:]) / area, (b * s[:, :1] - a * t[:, :1]) / area
        u, v, both = (along_u**2).sum(dim=1), (along_v**2).sum(dim=1), (along_u * along_v).sum(dim=1)
        return ((u + v) / 2 + (((u - v) / 2) ** 2 + both**2).sqrt()).sqrt().nan_to_num(torch.inf)

    @property
    def uv_area(self) -> Tensor:
        """Of all faces in the texture, which is 1, together."""
        s, t = self._uv[:, 1] - self._uv[:, 0], self._uv[:, 2] - self._uv[:, 0]
        return (s[:, 0] * t[:, 1] - s[:, 1] * t[:, 0]).abs().sum() / 2

    @cached_property
    def ball(self) -> Ball:
        """Around the middle of the box of all faces."""
        used = self.corners.flatten(0, 1)
        centre = (used.amin(dim=0) + used.amax(dim=0)) / 2
        return Ball(centre, float((used - centre).norm(dim=1).max()))

    def on_surface(self, face: Tensor, shares: Tensor) -> Tensor:
        """Points [..., 3] of faces [...] by shares [..., 3] of their corners."""
        return torch.einsum("...kj,...k->...j", self.corners[face.long()], shares)

    def on_texture(self, face: Tensor, shares: Tensor) -> Tensor:
        """(u, v) [..., 2] of the same."""
        return torch.einsum("...kj,...k->...j", self._uv[face.long()], shares)

    def flat(self, size: tuple[int, int]) -> Tensor:
        """Corners of the faces on a texture (height, width), as ``zbuffer`` draws them: [M, 3, 3]."""
        u, v = self._uv.unbind(-1)
        return torch.stack([u * size[1], v * size[0], torch.ones_like(u)], dim=-1)

    @cached_property
    def _uv(self) -> Tensor:
        return self.uvs[self.faces]


def make_mesh(vertices: Tensor, faces: Tensor, uvs: Tensor | None, normals: Tensor | None = None) -> Mesh:
    """A mesh in float64 without its degenerate faces, UVs fitted into [0, 1].

    vertices [N, 3], faces [M, 3] of any whole numbers, uvs [N, 2], normals [N, 3] of any length. Raises ValueError for
    what is no mesh, or has no UVs.
    """
    _check("vertices", vertices, 3)
    count = len(vertices)
    if faces.ndim != 2 or faces.shape[-1] != 3 or faces.dtype not in WHOLE or not len(faces):
        raise ValueError(f"mesh: its faces must be whole numbers [faces, 3] and at least one, got {_form(faces)}")
    if int(faces.min()) < 0 or int(faces.max()) >= count:
        raise ValueError(
            f"mesh: its faces name vertices {int(faces.min())} … {int(faces.max())}, and there are {count}; the node "
            "that made it has to count from 0"
        )
    if uvs is None:
        raise ValueError(
            "mesh: it has no UVs, so no place in a texture; connect UnwrapMesh in front, or load a file that has them"
        )
    _check("uvs", uvs, 2, count)
    if normals is not None:
        _check("normals", normals, 3, count)
    points, faces = vertices.double(), faces.long()
    corners = points[faces]
    extent = float((corners.amax(dim=(0, 1)) - corners.amin(dim=(0, 1))).max())
    sound = _across(corners).norm(dim=-1) > LEAST_AREA * extent**2
    if not bool(sound.any()):
        raise ValueError("mesh: all of its faces are without an area, so there is nothing to see; check its vertices")
    return Mesh(points, faces[sound], fitted(uvs), None if normals is None else normals.double())


def fitted(uvs: Tensor) -> Tensor:
    """UVs [N, 2] that leave [0, 1] moved and shrunk into it, by one number; as the host does. float64."""
    uvs = uvs.float()
    low, high = uvs.amin(dim=0), uvs.amax(dim=0)
    if float(low.min()) < -OUTSIDE or float(high.max()) > 1 + OUTSIDE:
        uvs = (uvs - low) / (high - low).max()
    return uvs.double()


def is_tiled(uvs: Tensor) -> bool:
    """Whether UVs [N, 2] go so far beyond [0, 1] that they are tiles (UDIM), and would lie on each other."""
    return float((uvs.amax(dim=0) - uvs.amin(dim=0)).max()) > TILED


def _across(corners: Tensor) -> Tensor:
    """Normals [M, 3] of faces [M, 3, 3], twice as long as their areas."""
    return torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])


def _check(what: str, given: Tensor, width: int, count: int | None = None) -> None:
    """Raise ValueError for what is not finite, floating and [count, width]."""
    if given.ndim != 2 or given.shape[-1] != width or not given.is_floating_point() or not len(given):
        raise ValueError(f"mesh: its {what} must be floating numbers [vertices, {width}], got {_form(given)}")
    if count is not None and len(given) != count:
        raise ValueError(f"mesh: it has {len(given)} {what} for {count} vertices; give one for each")
    if not bool(given.isfinite().all()):
        raise ValueError(f"mesh: its {what} hold NaN or infinite values; the node that made it has failed")


def _form(given: Tensor) -> str:
    return f"{str(given.dtype).removeprefix('torch.')} {list(given.shape)}"
