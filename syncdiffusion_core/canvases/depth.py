"""Depth of a sphere as its views see it, for networks that paint what a depth map shows.

Disparity, one over distance, is what is interpolated: it is linear over a plane, the sky has one (0), and between a
near thing and the sky behind it lies a lighter or darker edge. A mean of distances would be far beyond both.
"""

import torch
from torch import Tensor

from ..views.tables import ResampledViews
from .rigs import Rig
from .sphere import looked_at

CUT = 0.001
"""Share of all cells that may be nearer than white, and farther than black: of stray ones, as depth networks leave."""


def disparity_of(distance: Tensor) -> Tensor:
    """1 / distance; 0 for what is infinitely far, and for 0, by which files say that nothing is known."""
    return torch.where(distance > 0, 1 / distance, 0)


def disparities(rig: Rig, disparity: Tensor, size: tuple[int, int], planar: bool) -> Tensor:
    """An equirectangular picture [N, 1, H, W] of 1 / distance, as views (height, width) see it: [V*N, 1, h, w].

    planar: of 1 / depth along the camera's axis, distance times the cosine of the angle to it, by which a wall that
    faces the camera is one grey. That is what pictures of ordinary cameras come with.
    """
    canvas = (disparity.shape[-2], disparity.shape[-1])
    seen = ResampledViews(*looked_at(rig, canvas, size), canvas).project(disparity)
    if not planar:
        return seen
    cosine = -torch.einsum("vhwi,vi->vhw", rig.rays(size), rig.rotations[:, :, 2])
    return seen / cosine.repeat_interleave(len(disparity), dim=0)[:, None].to(seen)


def in_one_range(disparity: Tensor) -> Tensor:
    """[V, N, …] -> the same in [0, 1], near white; one range for all views of a picture, which are one scene."""
    far, near = ends_of(disparity)
    return ((disparity - far) / (near - far)).clamp(0, 1)


def ends_of(disparity: Tensor) -> tuple[Tensor, Tensor]:
    """(What is black, what is white) of each picture of [V, N, …]: [1, N, …] each.

    Black is the sky, where there is more of it than of stray cells, else what is farthest. Raises ValueError where
    both are the same.
    """
    cells = disparity.movedim(1, 0).flatten(1)  # [N, V*…]
    cut = int(CUT * cells.shape[1])
    shape = (1, -1, *[1] * (disparity.ndim - 2))
    far, near = (cells.kthvalue(k, dim=1).values.view(shape) for k in (cut + 1, cells.shape[1] - cut))
    if bool((near <= far).any()):
        raise ValueError(
            "depth: it is the same everywhere, so there is nothing to show; check the node that made it, and what is "
            "bright in its picture"
        )
    return far, near
