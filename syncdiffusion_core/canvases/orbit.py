"""The cameras of a rig around an object, all of them looking inward.

Convention: camera i stands at target - forward_i * distance, so that one of azimuth 0 sees the side of the object that
faces +Z, as glTF's models do. ``rigs`` has the directions, and the poles' own way up.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .rigs import Rig

Size = tuple[int, int]
AIR = 1.05
"""By which an object that fits a view is smaller than the view."""


@dataclass(frozen=True)
class Ball:
    """What holds an object: centre [3] float64, radius."""

    centre: Tensor
    radius: float


@dataclass(frozen=True)
class Orbit:
    """Cameras where they stand. rig: how they look; eyes [V, 3] float64: where from."""

    rig: Rig
    eyes: Tensor

    def __len__(self) -> int:
        return len(self.rig)

    def projected(self, number: int, points: Tensor, size: Size) -> Tensor:
        """Points [..., 3] as a view (height, width) of a camera has them, homogeneous: see ``zbuffer``."""
        height, width = size
        x, y, z = ((points.double() - self.eyes[number]) @ self.rig.rotations[number]).unbind(-1)
        reach = height / 2 / math.tan(self.rig.fov / 2)
        return torch.stack([reach * x - width / 2 * z, -reach * y - height / 2 * z, -z], dim=-1)


def orbit(rig: Rig, ball: Ball, distance: float = 0.0) -> Orbit:
    """The rig around an object; cameras whose place is known stay there.

    distance: from the middle of the object; 0 for one at which it fits every view. Raises ValueError for a negative.
    """
    if not distance >= 0 or math.isinf(distance):
        raise ValueError(f"distance: it must be 0 or more and finite, got {distance}; 0 lets the object fit the view")
    away = distance or AIR * ball.radius / math.sin(rig.fov / 2)
    eyes = ball.centre + away * rig.rotations[:, :, 2]
    if rig.positions is not None:
        eyes = torch.where(rig.positions.isfinite(), rig.positions, eyes)
    return Orbit(rig, eyes)
