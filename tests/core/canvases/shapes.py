"""Meshes with exact UVs, for tests: a quad, a cube of six charts, a torus."""

import math

import torch
from torch import Tensor

from syncdiffusion_core.canvases.mesh import Mesh, make_mesh

Parts = tuple[Tensor, Tensor, Tensor]
"""vertices [N, 3], faces [M, 3], uvs [N, 2]."""


def quad_parts(side: float = 2.0) -> Parts:
    """A square that faces +Z, all of the texture on it."""
    half = side / 2
    corners = torch.tensor([[-half, half, 0.0], [-half, -half, 0], [half, -half, 0], [half, half, 0]])
    uvs = torch.tensor([[0.0, 0], [0, 1], [1, 1], [1, 0]])
    return corners, torch.tensor([[0, 1, 2], [0, 2, 3]]), uvs


def cube_parts(side: float = 2.0, gap: float = 0.02) -> Parts:
    """Six sides, each a chart of its own in a texture of three by two, so far from its neighbours.

    What adjoins in the texture does not adjoin on the cube.
    """
    vertices, faces, uvs = [], [], []
    square, steps, uv = quad_parts(side)
    for number, turn in enumerate(_SIDES):
        spin = torch.tensor(turn, dtype=torch.float32)
        vertices.append((square + torch.tensor([0, 0, side / 2])) @ spin.T)
        faces.append(steps + 4 * number)
        place = torch.tensor([number % 3 / 3, number // 3 / 2])
        uvs.append(place + gap + uv * (torch.tensor([1 / 3, 1 / 2]) - 2 * gap))
    return torch.cat(vertices), torch.cat(faces), torch.cat(uvs)


_SIDES = [
    [[1, 0, 0], [0, 1, 0], [0, 0, 1]],  # +Z
    [[-1, 0, 0], [0, 1, 0], [0, 0, -1]],  # -Z
    [[0, 0, 1], [0, 1, 0], [-1, 0, 0]],  # +X
    [[1, 0, 0], [0, 0, 1], [0, -1, 0]],  # +Y
    [[0, 0, -1], [0, 1, 0], [1, 0, 0]],  # -X
    [[1, 0, 0], [0, 0, -1], [0, 1, 0]],  # -Y
]


def torus_parts(around: int = 64, across: int = 32, thick: float = 0.4) -> Parts:
    """A ring about the Y axis of radius 1; u goes around it, v across it. Its seams are doubled vertices."""
    u, v = torch.meshgrid(torch.linspace(0, 1, around + 1), torch.linspace(0, 1, across + 1), indexing="ij")
    wide, high = 1 + thick * (math.tau * v).cos(), thick * (math.tau * v).sin()
    vertices = torch.stack([wide * (math.tau * u).cos(), high, wide * (math.tau * u).sin()], dim=-1).flatten(0, 1)
    i, j = torch.meshgrid(torch.arange(around), torch.arange(across), indexing="ij")
    here, beside = i * (across + 1) + j, (i + 1) * (across + 1) + j
    faces = [torch.stack([here, here + 1, beside], -1), torch.stack([beside, here + 1, beside + 1], -1)]
    return vertices, torch.cat([each.flatten(0, 1) for each in faces]), torch.stack([u, v], -1).flatten(0, 1)


def of(parts: Parts, normals: Tensor | None = None) -> Mesh:
    """The mesh of these parts."""
    return make_mesh(*parts, normals)
