"""The host's cameras as a rig, in closed form; the host's own node makes them in tests/host/test_cameras."""

import math

import pytest
import torch

from syncdiffusion_core.canvases.cameras import camera_of, joined, rig_of, stand_apart
from syncdiffusion_core.canvases.rigs import RigKind, looking, make_rig

HALF = math.sqrt(0.5)
ORIGIN = {"x": 0, "y": 0, "z": 0}


def info(**given) -> dict:
    return {"position": ORIGIN, "target": {"x": 0, "y": 0, "z": -1}, "cameraType": "perspective", "fov": 80.0, **given}


def at(x, y, z) -> dict:
    return {"x": x, "y": y, "z": z}


@pytest.mark.parametrize(
    ("quaternion", "azimuth", "elevation", "roll"),
    [
        ((0, 0, 0, 1), 0, 0, 0),
        ((0, -HALF, 0, HALF), 90, 0, 0),
        ((0, 2, 0, 2), -90, 0, 0),
        ((HALF, 0, 0, HALF), 0, 90, 0),
        ((0, 0, math.sin(math.radians(15)), math.cos(math.radians(15))), 0, 0, 30),
    ],
)
def test_quaternions(quaternion, azimuth, elevation, roll):
    """Camera to world, of any length: about Y to the left, about X up, about Z against the clock."""
    got = camera_of("camera_1", info(quaternion=dict(zip("xyzw", quaternion, strict=True)))).rotation
    torch.testing.assert_close(got, looking(*map(math.radians, (azimuth, elevation, roll))), atol=1e-9, rtol=0)


@pytest.mark.parametrize(
    ("position", "target", "azimuth", "elevation"),
    [
        ((0, 0, 0), (0, 0, -2), 0, 0),
        ((5, 5, 5), (6, 5, 5), 90, 0),
        ((0, 0, 0), (0, 0, 3), 180, 0),
        ((0, 1, 0), (0, 4, 0), 0, 90),
        ((0, 1, 0), (0, -4, 0), 0, -90),
        ((0, 0, 0), (1, math.sqrt(2), -1), 45, 45),
    ],
)
def test_without_one_from_position_to_target(position, target, azimuth, elevation):
    got = camera_of("camera_1", info(position=at(*position), target=at(*target))).rotation
    torch.testing.assert_close(got, looking(math.radians(azimuth), math.radians(elevation)), atol=1e-9, rtol=0)


def test_zoom_narrows():
    camera = camera_of("camera_1", info(fov=90, zoom=2))
    assert camera.fov == pytest.approx(2 * math.atan(0.5))


def test_rigs_join_in_order():
    ring = make_rig(RigKind.RING, 4, math.radians(80))
    up = camera_of("camera_1", info(target=at(0, 1, 0)))
    rig = joined(ring, "more", rig_of({"camera_1": up}))
    assert len(rig) == 5
    assert torch.equal(rig.rotations[:4], ring.rotations)
    assert torch.equal(rig.rotations[4], up.rotation)
    assert rig.fov == ring.fov


def test_a_rig_keeps_where_cameras_stand():
    """Theirs, and NaN for those that stand wherever they look inward from."""
    here, nowhere = (
        camera_of("camera_1", info(position=at(1, 2, 3))),
        camera_of("camera_2", info())._replace(position=None),
    )
    rig = rig_of({"camera_1": here, "camera_2": nowhere})
    assert rig.positions[0].tolist() == [1, 2, 3]
    assert rig.positions[1].isnan().all()
    ring = make_rig(RigKind.RING, 4, rig.fov)
    assert ring.positions is None
    assert joined(ring, "more", ring).positions is None
    both = joined(ring, "more", rig)
    assert both.positions[:4].isnan().all()
    torch.testing.assert_close(both.positions[4:], rig.positions, equal_nan=True)
    assert [each.positions.shape for each in both.each()] == [(1, 3)] * 6
    turned = rig.turned(looking(math.radians(90), 0))
    torch.testing.assert_close(turned.positions[0], torch.tensor([-3.0, 2, 1]).double())


def test_places():
    here = camera_of("camera_1", info())
    there = camera_of("camera_2", info(position=at(0, 0, 1)))
    nowhere = camera_of("camera_3", info(position=None, quaternion={"x": 0, "y": 0, "z": 0, "w": 1}))
    assert stand_apart({"camera_1": here, "camera_2": there})
    assert not stand_apart({"camera_1": here, "camera_3": nowhere})


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (info(quaternion=dict.fromkeys("xyzw", 0)), "camera_1: its quaternion has no length"),
        (
            info(quaternion={"x": math.nan, "y": 0, "z": 0, "w": 1}),
            "camera_1: its quaternion.x must be a finite number",
        ),
        (info(quaternion={"x": 0, "y": 0, "z": 0}), "camera_1: its quaternion.w must be a finite number, got None"),
        (info(target=ORIGIN), "camera_1: its way from position to target has no length"),
        (info(target=None), "camera_1: it has no target"),
        (info(position={"x": math.inf, "y": 0, "z": 0}), "camera_1: its position.x must be a finite number, got inf"),
        (info(cameraType="orthographic"), "camera_1: it is orthographic"),
        (info(fov=None), "camera_1: its fov must be a finite number, got None"),
        (info(fov=180), "camera_1: its fov must be more than 0 and less than 180"),
        (info(zoom=0), "its zoom more than 0, got 80 and 0"),
        (info(fov=True), "camera_1: its fov must be a finite number, got True"),
        ("camera", "camera_1: this is no camera"),
    ],
)
def test_what_is_no_camera_is_refused(given, words):
    with pytest.raises(ValueError, match=words):
        camera_of("camera_1", given)


def test_a_rig_has_one_field_of_view():
    cameras = {f"camera_{k}": camera_of(f"camera_{k}", info(fov=fov)) for k, fov in ((1, 80), (2, 80), (3, 60))}
    words = "camera_3: its field of view is 60 degrees, zoom included, and that of camera_1 80"
    with pytest.raises(ValueError, match=words):
        rig_of(cameras)
    with pytest.raises(ValueError, match="more: its field of view is 90 degrees, .* that of this rig 80"):
        joined(rig_of({"camera_1": cameras["camera_1"]}), "more", make_rig(RigKind.CUBE, 1, math.radians(90)))
    with pytest.raises(ValueError, match="at least one camera, got none"):
        rig_of({})
