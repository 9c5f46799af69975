"""A rig that turns: at rest at first, upright, every camera near its own direction, no border that stays."""

import math

import pytest
import torch

from syncdiffusion_core.canvases.rigs import Direction, RigKind, make_rig
from syncdiffusion_core.canvases.sphere import seen_at
from syncdiffusion_core.canvases.sphere_spec import SphereViews, TurningSphere
from syncdiffusion_core.canvases.turning import TILT, Motion, turned
from syncdiffusion_core.views.schedule import CellGrid

CUBE = make_rig(RigKind.CUBE, 1, math.radians(95))
STEPS = range(1, 40)


def apart(one, other) -> torch.Tensor:
    """Angles between what the cameras of two rigs look at, [V]."""
    return (one.rotations[:, :, 2] * other.rotations[:, :, 2]).sum(dim=-1).clamp(-1, 1).acos()


def test_at_first_it_is_at_rest():
    for kind in RigKind:
        rig = make_rig(kind, 8, math.radians(80), tilt=0.2)
        torch.testing.assert_close(turned(rig, 0).rotations, rig.rotations)


@pytest.mark.parametrize("step", STEPS)
def test_it_turns_as_a_whole_and_stays_upright(step):
    one = make_rig(RigKind.RING, 1, math.radians(80))
    turn = turned(one, step).rotations[0] @ one.rotations[0].T
    torch.testing.assert_close(turn @ turn.T, torch.eye(3).double())
    assert math.acos(float(turn[1, 1])) <= TILT + 1e-9
    torch.testing.assert_close(turned(CUBE, step).rotations[3], turned(CUBE, step).rotations[0] @ CUBE.rotations[3])


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize(
    ("kind", "within"), [(RigKind.CUBE, 45), (RigKind.RING_AND_POLES, 22.5), (RigKind.ICOSAHEDRON, 32)]
)
def test_a_number_still_says_where_its_camera_looks(step, kind, within):
    """No other camera at rest looks nearer to there, but for the tilt; the poles stay up and down."""
    rig = make_rig(kind, 8, math.radians(90))
    now = turned(rig, step)
    assert apart(now, rig).max() <= math.radians(within) + TILT
    alike = (now.rotations[:, :, 2] @ rig.rotations[:, :, 2].T).acos()
    assert (alike.diagonal() <= alike.amin(dim=1) + 2 * TILT).all()
    for pole in (Direction.UP, Direction.DOWN):
        assert set(rig.towards(pole)) - set(now.towards(pole)) <= set(range(1, 11)), "of the icosahedron's rings"


def test_a_cube_comes_to_stand_everywhere():
    """The azimuths of 40 steps leave no gap in a quarter; one camera alone turns all around."""
    for rig, around in ((CUBE, 90), (make_rig(RigKind.RING, 1, 1.0), 360)):
        azimuths = sorted(math.degrees(float(turned(rig, step).directions[0, 0])) % around for step in range(40))
        gaps = [after - before for before, after in zip(azimuths, [*azimuths[1:], azimuths[0] + around], strict=True)]
        assert max(gaps) < 4 * around / 40


def test_no_place_is_always_at_a_border():
    """Over 30 steps every place is four fifths of a view from its border at a fifth of them or more."""
    canvas = (18, 36)
    inner = torch.stack([(seen_at(turned(CUBE, k), canvas).abs().amax(dim=-1) < 0.8).any(dim=0) for k in range(30)])
    share = inner.float().mean(dim=0)
    assert share.min() > 0.2
    still = (seen_at(CUBE, canvas).abs().amax(dim=-1) < 0.8).any(dim=0)
    assert not still.all()


def test_a_step_is_made_anew_and_the_one_before_is_dropped():
    schedule = TurningSphere(CUBE, (12, 24), (6, 6))
    one = schedule.at(1)
    assert schedule.at(1) is one
    schedule.at(2)
    assert schedule.at(1) is not one
    assert torch.equal(schedule.at(1).index, one.index), "a step is the same whenever it is asked for"
    assert schedule.largest == len(schedule.every) == 6
    assert torch.equal(schedule.later(3).at(2).index, schedule.at(5).index)


def test_latents_and_pictures_turn_together():
    latent, pixels = SphereViews(CUBE, (64, 128), (64, 64), motion=Motion.TURNING).resolve(None, CellGrid(8))
    assert latent.moves
    assert pixels.moves
    assert (pixels.every.canvas, pixels.every.view) == ((64, 128), (64, 64))
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(128.0), indexing="ij")
    picture = ((x / 128 * math.tau).sin() * (y / 64 * math.pi).sin())[None, None]
    fine = torch.nn.functional.avg_pool2d(pixels.at(3).project(picture), 8)
    coarse = latent.at(3).project(torch.nn.functional.avg_pool2d(picture, 8))
    assert (fine - coarse).abs().max() < 0.1


def test_a_rig_with_gaps_stays():
    ring = make_rig(RigKind.RING, 8, math.radians(72))
    with pytest.raises(ValueError, match="moves: .* this one sees 58% of it; choose a cube of 95 degrees"):
        SphereViews(ring, (64, 128), (64, 64), motion=Motion.TURNING)
    SphereViews(ring, (64, 128), (64, 64))
