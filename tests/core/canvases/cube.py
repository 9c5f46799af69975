"""A cube map in one file: an exercise of the contract, not shipped.

Convention: world right-handed, Y up; a camera at azimuth 0 looks down -Z, positive azimuths to its right, positive
elevations up; the field of view is vertical. Faces +X, -X, +Y, -Y, +Z, -Z; rows and columns of a face grow with the
two other axes, in the order x, y, z.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from syncdiffusion_core.views.tables import IndexedViews


def cube_views(side: int, size: int, cameras: Sequence[tuple[float, float]], fov_rad: float) -> IndexedViews:
    """Square views of a canvas (6, side, side), a camera (azimuth, elevation) in radians each, weighted by cos²."""
    reach = ((2 * torch.arange(size, dtype=torch.float64) + 1) / size - 1) * math.tan(fov_rad / 2)
    up, right = torch.meshgrid(-reach, reach, indexing="ij")
    rays = torch.stack([_turned(right, up, azimuth, elevation) for azimuth, elevation in cameras])  # [V, h, w, 3]
    index = _cells(rays / rays.norm(dim=-1, keepdim=True), side)
    weight = 1 / (1 + up.square() + right.square())
    return IndexedViews(index, (6, side, side), weight.float().expand(len(cameras), -1, -1))


def _turned(right: Tensor, up: Tensor, azimuth: float, elevation: float) -> Tensor:
    y, z = up * math.cos(elevation) + math.sin(elevation), up * math.sin(elevation) - math.cos(elevation)
    return torch.stack(
        [right * math.cos(azimuth) - z * math.sin(azimuth), y, right * math.sin(azimuth) + z * math.cos(azimuth)], -1
    )


def _cells(rays: Tensor, side: int) -> Tensor:
    """The face by the longest part of a ray [..., 3] and its sign, the cell by division: flat numbers [...]."""
    longest, axis = rays.abs().max(dim=-1)
    face = 2 * axis + (rays.gather(-1, axis[..., None])[..., 0] < 0)
    others = torch.tensor([[1, 2], [0, 2], [0, 1]])[axis]
    row, column = ((rays.gather(-1, others) / longest[..., None] + 1) / 2 * side).long().clamp(0, side - 1).unbind(-1)
    return (face * side + row) * side + column
