"""Camera Rig on what the host's own camera node makes."""

import math

import pytest
import torch
from heard import said

NODE = "SyncDiffusionCameraRig"


@pytest.fixture
def camera(host):
    """camera(yaw, pitch, **widgets) -> LOAD3D_CAMERA of Create Camera Info, around the origin."""
    splats = pytest.importorskip("comfy_extras.nodes_gaussian_splat", reason="this ComfyUI has no camera node")

    def make(yaw: float = 0.0, pitch: float = 0.0, **given: object) -> dict:
        mode = {"mode": "orbit", "yaw": yaw, "pitch": pitch, "distance": 4.0}
        settings = {"target_x": 0.0, "target_y": 0.0, "target_z": 0.0, "roll": 0.0, "fov": 80.0, **given}
        return splats.CreateCameraInfo.execute(**{"mode": mode, **settings}).args[0]

    return make


@pytest.fixture
def looking(core_of):
    rigs = core_of("canvases.rigs")
    return lambda *degrees: rigs.looking(*map(math.radians, degrees))


@pytest.mark.parametrize("turn", [(0, 0, 0), (90, 0, 0), (-35, 30, 0), (120, -60, 0), (10, 20, 25), (200, -10, -90)])
def test_the_hosts_orbit(run_node, camera, looking, turn):
    """From yaw and pitch around what it looks at, it looks the other way; roll is kept."""
    yaw, pitch, roll = turn
    rig, _, count = run_node(NODE, camera_1=camera(yaw, pitch, roll=float(roll)))
    assert count == 1
    torch.testing.assert_close(rig.rotations[0], looking(-yaw, -pitch, roll), atol=1e-5, rtol=0)
    assert rig.fov == pytest.approx(math.radians(80))


def test_a_quaternion_and_a_target_say_the_same(run_node, camera):
    whole = camera(35.0, 20.0)
    without = {key: value for key, value in whole.items() if key != "quaternion"}
    one, other = (run_node(NODE, camera_1=each)[0].rotations for each in (whole, without))
    torch.testing.assert_close(one, other, atol=1e-5, rtol=0)


def test_the_hosts_own_quaternion(run_node, camera, looking):
    mode = {"mode": "quaternion", "quat_x": 0.0, "quat_y": 1.0, "quat_z": 0.0, "quat_w": 1.0}
    rig = run_node(NODE, camera_1=camera(mode={**mode, "position_x": 0.0, "position_y": 0.0, "position_z": 0.0}))[0]
    torch.testing.assert_close(rig.rotations[0], looking(-90, 0), atol=1e-5, rtol=0)


def test_several_and_another_rig_behind_them(run_node, camera, host):
    first = run_node(NODE, **{f"camera_{k + 1}": camera(90.0 * k) for k in range(4)})[0]
    assert "the cameras stand in different places, and a rig looks around from one" in said(host)
    rig, picture, count = run_node(NODE, camera_1=camera(0, 89), more=first)
    assert len(rig) == count == 5
    assert torch.equal(rig.rotations[1:], first.rotations)
    assert tuple(picture.shape) == (1, 512, 1024, 3)
    assert "different places" not in said(host)


def test_two_rigs_of_ours_join(run_node):
    poles = run_node(NODE, rig="ring and poles", count=4, fov=80.0)[0]
    rig, _, count = run_node(NODE, rig="ring", count=8, fov=80.0, more=poles)
    assert count == len(rig) == 14
    with pytest.raises(ValueError, match="more: its field of view is 80 degrees, .* that of this rig 90"):
        run_node(NODE, rig="cube", fov=90.0, more=poles)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"fov": 60.0}, "camera_2: its field of view is 60 degrees, zoom included, and that of camera_1 80"),
        ({"zoom": 2.0}, "camera_2: its field of view is 45.* degrees, zoom included"),
        ({"camera_type": "orthographic"}, "camera_2: it is orthographic"),
    ],
)
def test_refused(run_node, camera, given, words):
    with pytest.raises(ValueError, match=words):
        run_node(NODE, camera_1=camera(), camera_2=camera(90.0, **given))


def test_what_is_no_rig_is_refused(run_node):
    with pytest.raises(ValueError, match="more: these are no cameras; connect a Camera Rig"):
        run_node(NODE, more="ring")
    with pytest.raises(ValueError, match="camera_1: this is no camera"):
        run_node(NODE, camera_1="ring")


def test_views_look_there(run_node, camera, models, view_sampler):
    cameras = {f"camera_{k + 1}": camera(90.0 * k, fov=100.0) for k in range(4)}
    rig = run_node(NODE, **cameras)[0]
    views = run_node("SyncDiffusionSphereViews", rig=rig, width=256, view_size=64, agree_in="latents")[0]
    samples, _, _ = view_sampler(models["eps"], views, steps=2)
    assert tuple(samples.shape) == (4, 4, 8, 8)
