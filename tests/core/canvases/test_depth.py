"""Depth of rooms in closed form: a dome, a box, the ground, the sky."""

import math

import pytest
import torch
from torch import Tensor

from syncdiffusion_core.canvases.depth import disparities, disparity_of, ends_of, in_one_range
from syncdiffusion_core.canvases.rigs import RigKind, make_rig
from syncdiffusion_core.canvases.sphere import directions_of

CANVAS, SIZE = (256, 512), (64, 64)
CUBE = make_rig(RigKind.CUBE, 6, math.radians(90))  # front, right, back, left, up, down
RAYS = directions_of(CANVAS)


def box(*walls: float) -> Tensor:
    """Distances [1, 1, H, W] along the ray, in a room whose right, top and back, left, floor and front are so far."""
    far = torch.tensor(walls, dtype=torch.float64)
    along = torch.where(RAYS > 0, far[:3], far[3:]) / RAYS.abs().clamp(min=1e-12)
    return along.amin(dim=-1).float()[None, None]


def seen(distance: Tensor, planar: bool = True, rig=CUBE) -> Tensor:
    """[V, h, w] of one picture."""
    return disparities(rig, disparity_of(distance), SIZE, planar)[:, 0]


def test_a_dome_is_flat_by_distance_and_a_bowl_by_depth():
    dome = torch.full((1, 1, *CANVAS), 2.0)
    torch.testing.assert_close(seen(dome, planar=False), torch.full((6, *SIZE), 0.5), atol=1e-5, rtol=0)
    cosine = -(CUBE.rays(SIZE) * CUBE.rotations[:, None, None, :, 2]).sum(dim=-1)
    torch.testing.assert_close(seen(dome), (0.5 / cosine).float(), atol=1e-5, rtol=0)


def test_each_wall_of_a_box_is_one_grey():
    right, top, back, left, floor, front = 2.0, 1.5, 3.0, 4.0, 1.0, 5.0
    depth = 1 / seen(box(right, top, back, left, floor, front))
    # The sides of a box that is no cube are seen past the edges of the wall in front, but never in its middle.
    middle = depth[:, 30:34, 30:34].mean(dim=(1, 2))
    torch.testing.assert_close(middle, torch.tensor([front, right, back, left, top, floor]), rtol=2e-3, atol=0)
    cube = 1 / seen(box(*[2.0] * 6))[:, 2:-2, 2:-2]
    torch.testing.assert_close(cube, torch.full_like(cube, 2.0), rtol=1e-2, atol=0)


def test_ground_is_linear_below_the_horizon_and_nothing_above():
    height = 1.6
    down = (-RAYS[..., 1]).clamp(min=0)
    ground = torch.where(down > 0, height / down, torch.inf).float()[None, None]
    front = seen(ground)[0]
    rows = (torch.arange(SIZE[0]) + 0.5) / SIZE[0] * 2 - 1  # 1 below by the tangent of 45 degrees
    wanted = (rows.clamp(min=0) / height)[:, None].expand(SIZE)
    torch.testing.assert_close(front, wanted, atol=4e-3, rtol=0)
    assert front[:31].eq(0).all()


def test_one_range_for_all_views_and_each_picture_its_own():
    rooms = torch.cat([box(2.0, 1.5, 3.0, 4.0, 1.0, 5.0), 10 * box(2.0, 1.5, 3.0, 4.0, 1.0, 5.0)])
    hints = in_one_range(disparities(CUBE, disparity_of(rooms), SIZE, planar=True).unflatten(0, (6, 2)))
    torch.testing.assert_close(hints[:, 0], hints[:, 1], atol=1e-4, rtol=0)
    front, _, _, _, up, down = hints[:, 0, 0, 32, 32]
    assert down > up > front
    assert (hints.amin(), hints.amax()) == (0, 1)


def test_stray_cells_do_not_squeeze_it():
    stray = torch.linspace(1, 2, 10_000).reshape(1, 1, 100, 100)
    stray[..., 0, 0], stray[..., 99, 99] = 0, 100
    far, near = ends_of(stray)
    assert float(far) == pytest.approx(1, abs=0.01)
    assert float(near) == pytest.approx(2, abs=0.01)


@pytest.mark.parametrize("dot", [0.0, 1.0])
def test_no_depth_is_refused(dot):
    flat = torch.zeros(6, 1, 64, 64)
    flat[0, 0, 0, 0] = dot
    with pytest.raises(ValueError, match="depth: it is the same everywhere"):
        in_one_range(flat)
