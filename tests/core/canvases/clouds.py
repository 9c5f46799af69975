"""Splats for tests, in the frame of files (Y down, Z forward)."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from syncdiffusion_core.canvases.gaussians import Gaussians, gaussians
from syncdiffusion_core.canvases.rigs import Rig, RigKind, make_rig
from syncdiffusion_core.canvases.splats import SplatScene, scene


class Cloud(NamedTuple):
    """What files of splats hold: positions, scales [S, 3], quaternions [S, 4], opacities [S]; and colours [S, 3]."""

    positions: Tensor
    scales: Tensor
    rotations: Tensor
    opacities: Tensor
    colours: Tensor

    @property
    def splats(self) -> Gaussians:
        return gaussians(*self[:4])


def ball(count: int, seed: int = 0, opacity: tuple[float, float] = (0.5, 1.0), waves: float = 3.0) -> Cloud:
    """A bent ball, covered by flat splats of several shapes; its colours change smoothly over it."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator)

    out = torch.randn(count, 3, generator=generator)
    out = out / out.norm(dim=1, keepdim=True)
    positions = out * (1 + 0.2 * torch.sin(3 * out[:, :1]) * torch.cos(4 * out[:, 1:2]))
    scales = math.sqrt(4 * math.pi / count) * (0.6 + 0.4 * uniform(count, 3)) * torch.tensor([1.0, 1.0, 0.2])
    up = torch.tensor([0.0, 0.0, 1.0]).expand(count, 3)
    rotations = torch.cat([1 + out[:, 2:], torch.linalg.cross(up, out)], dim=1)  # the thin axis looks outwards
    least, most = opacity
    opacities = least + (most - least) * uniform(count)
    directions = torch.tensor([[1.0, 0.3, 0.2], [-0.3, 1.0, 0.4], [0.6, 0.2, -1.0]])
    colours = 0.5 + 0.5 * torch.sin(waves * positions @ directions + torch.tensor([0.0, 1.0, 2.0]))
    return Cloud(positions, scales, rotations / rotations.norm(dim=1, keepdim=True), opacities, colours)


def around(cloud: Cloud, kind: RigKind = RigKind.RING_AND_POLES, count: int = 6, degrees: float = 40.0) -> SplatScene:
    """Cameras that the whole cloud fits."""
    return scene(cloud.splats, make_rig(kind, count, math.radians(degrees)))


def one_camera(degrees: float = 90.0) -> Rig:
    """That looks down -Z."""
    return Rig(torch.eye(3, dtype=torch.float64)[None], math.radians(degrees))
