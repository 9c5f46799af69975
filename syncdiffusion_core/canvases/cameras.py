"""The host's cameras (LOAD3D_CAMERA) as a rig: where they look, and for views of an object where they stand.

Convention: world right-handed, Y up, a camera looks down its own -Z (glTF, three.js); quaternions turn from camera to
world; fields of view are vertical and in degrees; zoom divides the tangent of half of one.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from .rigs import Rig, looking

SAME_FOV = 1e-4
"""Radians by which fields of view may differ and be one."""
LEAST_LENGTH = 1e-6
"""Below it a direction or a quaternion says nothing."""
SAME_PLACE = 1e-6
"""Units of the scene within which cameras stand in one place."""
UNKNOWN = torch.full((3,), math.nan, dtype=torch.float64)
"""Where a camera stands of which only the direction is known."""


class Camera(NamedTuple):
    """rotation: camera to world, [3, 3] float64. fov: vertical, in radians. position: None where it is not known."""

    rotation: Tensor
    fov: float
    position: tuple[float, ...] | None


def camera_of(name: str, info: object) -> Camera:
    """What a LOAD3D_CAMERA says; name: of the socket. Raises ValueError for what is no perspective camera.

    It looks where its quaternion says, rolled as that says, or without one from position to target, upright.
    """
    if not isinstance(info, Mapping):
        raise ValueError(f"{name}: this is no camera; connect Create Camera Info or the camera of Load 3D")
    if info.get("cameraType", "perspective") != "perspective":
        raise ValueError(
            f"{name}: it is {info['cameraType']}, and views of a sphere are perspective; set its camera type to "
            "perspective"
        )
    position = None if info.get("position") is None else _numbers(name, info, "position", "xyz")
    return Camera(_rotation(name, info), _fov(name, info), position)


def rig_of(cameras: Mapping[str, Camera]) -> Rig:
    """A rig of cameras by the names of their sockets. Raises ValueError for none, or several fields of view."""
    if not cameras:
        raise ValueError("a rig needs at least one camera, got none; connect one")
    first, *others = cameras
    for name in others:
        _check_one_fov((first, cameras[first].fov), (name, cameras[name].fov))
    rotations, places = zip(*((camera.rotation, camera.position) for camera in cameras.values()), strict=True)
    known = [UNKNOWN if place is None else torch.tensor(place, dtype=torch.float64) for place in places]
    return Rig(torch.stack(rotations), cameras[first].fov, torch.stack(known))


def joined(rig: Rig, name: str, more: Rig) -> Rig:
    """The cameras of a rig and after them those of another; name: of its socket. Raises ValueError for another fov."""
    _check_one_fov(("this rig", rig.fov), (name, more.fov))
    places = None
    if rig.positions is not None or more.positions is not None:
        known = [UNKNOWN.expand(len(each), 3) if each.positions is None else each.positions for each in (rig, more)]
        places = torch.cat(known)
    return Rig(torch.cat([rig.rotations, more.rotations]), rig.fov, places)


def stand_apart(cameras: Mapping[str, Camera]) -> bool:
    """Whether cameras stand in several places, of which a sphere knows nothing."""
    places = [camera.position for camera in cameras.values() if camera.position is not None]
    return any(math.dist(place, places[0]) > SAME_PLACE for place in places)


def _check_one_fov(one: tuple[str, float], other: tuple[str, float]) -> None:
    if abs(one[1] - other[1]) > SAME_FOV:
        raise ValueError(
            f"{other[0]}: its field of view is {math.degrees(other[1]):g} degrees, zoom included, and that of {one[0]} "
            f"{math.degrees(one[1]):g}; cameras of a rig share one, so give both the same"
        )


def _rotation(name: str, info: Mapping) -> Tensor:
    if info.get("quaternion") is not None:
        x, y, z, w = _unit(name, "quaternion", _numbers(name, info, "quaternion", "xyzw"))
        return torch.tensor(
            [
                [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
                [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
                [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
            ],
            dtype=torch.float64,
        )
    position, target = (_numbers(name, info, part, "xyz") for part in ("position", "target"))
    way = [there - here for here, there in zip(position, target, strict=True)]
    x, y, z = _unit(name, "way from position to target", way)
    # Straight up and down have no azimuth: 0, as the poles of a rig.
    return looking(math.atan2(x, 0.0 - z), math.asin(max(-1.0, min(1.0, y))))


def _fov(name: str, info: Mapping) -> float:
    fov, zoom = _number(name, info, "fov"), _number(name, {"zoom": 1.0, **info}, "zoom")
    if not 0 < fov < 180 or zoom <= 0:
        raise ValueError(
            f"{name}: its fov must be more than 0 and less than 180 degrees and its zoom more than 0, got {fov:g} and "
            f"{zoom:g}"
        )
    return 2 * math.atan(math.tan(math.radians(fov) / 2) / zoom)


def _unit(name: str, what: str, vector: list[float] | tuple[float, ...]) -> list[float]:
    length = math.hypot(*vector)
    if length < LEAST_LENGTH:
        raise ValueError(f"{name}: its {what} has no length, so it looks nowhere; give the camera a direction")
    return [part / length for part in vector]


def _numbers(name: str, info: Mapping, key: str, axes: str) -> tuple[float, ...]:
    given = info.get(key)
    if not isinstance(given, Mapping):
        raise ValueError(f"{name}: it has no {key}; connect Create Camera Info or the camera of Load 3D")
    return tuple(_number(name, given, axis, f"{key}.") for axis in axes)


def _number(name: str, info: Mapping, key: str, of: str = "") -> float:
    value = info.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{name}: its {of}{key} must be a finite number, got {value!r}; set it in the camera's node")
    return float(value)
