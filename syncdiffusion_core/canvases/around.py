"""Cameras of a rig around an object: each looks at its middle, the way that it looks from the middle in a sphere.

Convention: as in ``rigs``; camera i stands at target - forward_i * distance.
"""

import math
from typing import NamedTuple

from torch import Tensor

from .rigs import Rig

STRAY = 0.01
"""Share of an object's points, at either end, that do not count for where it is and how large: floaters of scans."""
ROOM = 1.05
"""Part of the picture's side by which the object is less than it."""
MOST_POINTS = 1 << 22
"""Of which the object's place is told."""


class Bounds(NamedTuple):
    """A sphere around an object. middle: [3] float64."""

    middle: Tensor
    radius: float


def bounds(points: Tensor) -> Bounds:
    """Of points [n, 3], but for stray ones."""
    some = points[:: -(-len(points) // MOST_POINTS)].double()
    cut = int(STRAY * len(some))
    ordered = some.sort(dim=0).values
    middle = (ordered[cut] + ordered[-1 - cut]) / 2
    return Bounds(middle, float((some - middle).norm(dim=1).sort().values[-1 - cut]))


def fitting_distance(radius: float, fov: float) -> float:
    """From where a sphere of that radius fits a square view."""
    return ROOM * radius / math.sin(fov / 2)


def stands(rig: Rig, middle: Tensor, distance: float) -> Tensor:
    """Where the cameras stand: [V, 3] float64."""
    return middle.double() + rig.rotations[:, :, 2] * distance
