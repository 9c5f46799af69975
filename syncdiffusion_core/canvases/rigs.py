"""Cameras that stand in one point and look in all directions, or around an object and look at it (``orbit``).

Convention: world right-handed, Y up; a camera at azimuth 0 and elevation 0 looks down -Z, positive azimuths to its
right, positive elevations up (glTF, and the host's cameras). Fields of view are vertical. Radians, but for the names
of what people choose.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from enum import Enum

import torch
from torch import Tensor

GOLDEN_ANGLE = math.pi * (3 - 5**0.5)
LATITUDE = math.radians(45)
"""Of the rings above and below the horizon; with views of 80 degrees everything is seen (SyncTweedies has the ring)."""


class RigKind(str, Enum):
    """Where the cameras look. count is of the views at the horizon, or of all where there is no horizon."""

    RING = "ring"
    RING_AND_POLES = "ring and poles"
    TWO_RINGS = "two rings and poles"
    THREE_RINGS = "three rings and poles"
    ICOSAHEDRON = "icosahedron"
    CUBE = "cube"
    FIBONACCI = "fibonacci"
    TEXTURE = "texture"


class Direction(str, Enum):
    """What people call where a camera looks: far above or below the horizon, or towards a quarter of it.

    Of an object that faces +Z, whose cameras look inward, these are its own front, right, back and left; the others
    say which side of it is seen.
    """

    UP = "up"
    DOWN = "down"
    TOP = "top"
    BOTTOM = "bottom"
    SIDE = "side"
    HORIZON = "horizon"
    FRONT = "front"
    RIGHT = "right"
    BACK = "back"
    LEFT = "left"


Span = tuple[float, float]
NEAR = 1e-6
"""What rounding does to an angle."""
QUARTERS = (Direction.FRONT, Direction.RIGHT, Direction.BACK, Direction.LEFT)
HIGH = (Direction.UP, Direction.BOTTOM)
LOW = (Direction.DOWN, Direction.TOP)
ABOVE = math.radians(30)
"""Elevation beyond which a camera looks up: there a view of 80 degrees has lost the ground."""


@dataclass(frozen=True)
class Rig:
    """rotations: camera to world, [V, 3, 3] float64. fov: vertical field of view of every camera.

    positions [V, 3] float64: where cameras stand around an object, NaN where that is not known; None for none of them.
    """

    rotations: Tensor
    fov: float
    positions: Tensor | None = None

    def __post_init__(self) -> None:
        if not len(self.rotations):
            raise ValueError("a rig needs at least one camera, got none")
        if not 0 < self.fov < math.pi:
            raise ValueError(
                f"the field of view must be more than 0 and less than 180 degrees, got {math.degrees(self.fov):g}; "
                "80 is usual"
            )

    def __len__(self) -> int:
        return len(self.rotations)

    @property
    def directions(self) -> Tensor:
        """(azimuth, elevation) of what each camera looks at: [V, 2]."""
        x, y, z = (-self.rotations[:, :, 2]).unbind(-1)
        return torch.stack([torch.atan2(x, -z), torch.asin(y.clamp(-1, 1))], dim=-1)

    def towards(self, direction: Direction) -> tuple[int, ...]:
        """Numbers of the cameras that look there."""
        azimuth, elevation = self.directions.unbind(-1)
        if direction in (*HIGH, *LOW):
            there = (elevation if direction in HIGH else -elevation) > ABOVE + NEAR
        else:
            there = elevation.abs() <= ABOVE + NEAR
            # A camera on the border of two quarters looks towards the one to its right.
            quarter = torch.floor(azimuth / (math.pi / 2) + 0.5 + NEAR).long() % len(QUARTERS)
            if direction is Direction.SIDE:
                there &= quarter % 2 == 1
            elif direction is not Direction.HORIZON:
                there &= quarter == QUARTERS.index(direction)
        return tuple(there.nonzero()[:, 0].tolist())

    def between(self, azimuths: Span | None, elevations: Span | None) -> tuple[int, ...]:
        """Numbers of the cameras that look there, ends included; None: anywhere.

        A span of azimuths whose second end is less than its first goes around the back. No azimuth has a camera that
        looks straight up or down.
        """
        azimuth, elevation = self.directions.unbind(-1)
        there = torch.ones(len(self), dtype=torch.bool)
        if azimuths is not None:
            first, last = azimuths
            length = last - first if 0 <= last - first <= math.tau else (last - first) % math.tau
            there &= ((azimuth - first + NEAR) % math.tau <= length + 2 * NEAR) & (elevation.cos() > NEAR)
        if elevations is not None:
            there &= (elevation >= elevations[0] - NEAR) & (elevation <= elevations[1] + NEAR)
        return tuple(there.nonzero()[:, 0].tolist())

    def each(self) -> Iterator["Rig"]:
        """Rigs of one camera each."""
        places = [None] * len(self) if self.positions is None else self.positions.split(1)
        cameras = zip(self.rotations.split(1), places, strict=True)
        return (replace(self, rotations=rotation, positions=place) for rotation, place in cameras)

    def turned(self, rotation: Tensor) -> "Rig":
        """All cameras turned together by a rotation [3, 3] of the world."""
        rotation = rotation.to(self.rotations)
        places = None if self.positions is None else self.positions @ rotation.T
        return replace(self, rotations=rotation @ self.rotations, positions=places)

    def rays(self, size: tuple[int, int], samples: int = 1) -> Tensor:
        """Unit directions of the cells of views (height, width): [V, h, w, 3]; samples: along a cell's side, in turn.

        With samples, [V, h * samples, w * samples, 3]: of as many times finer cells.
        """
        height, width = (samples * side for side in size)
        reach = math.tan(self.fov / 2) * 2 / height
        up = (height / 2 - 0.5 - torch.arange(height, dtype=torch.float64)) * reach
        right = (torch.arange(width, dtype=torch.float64) + 0.5 - width / 2) * reach
        grid = torch.stack([*torch.meshgrid(up, right, indexing="ij"), -torch.ones(height, width).double()], dim=-1)
        local = grid[..., [1, 0, 2]]
        local = local / local.norm(dim=-1, keepdim=True)
        return torch.einsum("vij,hwj->vhwi", self.rotations, local)


def looking(azimuth: float, elevation: float, roll: float = 0.0) -> Tensor:
    """Camera to world, [3, 3], of a camera that looks there. roll: clockwise, as the camera sees the world."""
    (sa, ca), (se, ce), (sr, cr) = ((math.sin(a), math.cos(a)) for a in (azimuth, elevation, roll))
    around_y = torch.tensor([[ca, 0.0, -sa], [0.0, 1.0, 0.0], [sa, 0.0, ca]], dtype=torch.float64)
    around_x = torch.tensor([[1.0, 0.0, 0.0], [0.0, ce, -se], [0.0, se, ce]], dtype=torch.float64)
    around_z = torch.tensor([[cr, -sr, 0.0], [sr, cr, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
    return around_y @ around_x @ around_z


def make_rig(kind: RigKind, count: int, fov: float, tilt: float = 0.0) -> Rig:
    """A rig of a kind. tilt: by how much it is turned as a whole, its front up. Raises ValueError for fewer than 1."""
    if count < 1:
        raise ValueError(f"a rig needs at least one camera, got {count}")
    places = [looking(azimuth, elevation) for azimuth, elevation in _directions(kind, count)]
    return Rig(torch.stack(places), fov).turned(looking(0.0, tilt))


def _directions(kind: RigKind, count: int) -> list[tuple[float, float]]:
    up = math.pi / 2
    if kind is RigKind.ICOSAHEDRON:
        # Two poles and two rings of five, each half a step beside the other.
        latitude = math.atan(0.5)
        return [(0.0, up), *_ring(5, latitude), *_ring(5, -latitude, 0.5), (0.0, -up)]
    if kind is RigKind.FIBONACCI:
        return [(k * GOLDEN_ANGLE % math.tau, math.asin(1 - (2 * k + 1) / count)) for k in range(count)]
    poles = [(0.0, up), (0.0, -up)]
    if kind is RigKind.CUBE:
        return [*_ring(4, 0.0), *poles]
    if kind is RigKind.TWO_RINGS:
        return [*_ring(count, LATITUDE / 2), *_ring(count, -LATITUDE / 2, 0.5), *poles]
    rings = [*_ring(count, 0.0)]
    if kind is RigKind.THREE_RINGS:
        fewer = max(count // 2, 1)
        rings += [*_ring(fewer, LATITUDE, 0.5), *_ring(fewer, -LATITUDE, 0.5)]
    if kind is RigKind.TEXTURE:
        return [*rings, (0.0, -ABOVE), (math.pi, -ABOVE)]
    return rings if kind is RigKind.RING else [*rings, *poles]


def _ring(count: int, elevation: float, beside: float = 0.0) -> Iterable[tuple[float, float]]:
    """Cameras around; beside: by which part of a step they stand further."""
    return [((k + beside) * math.tau / count, elevation) for k in range(count)]
