"""The sphere in closed form: where cameras look, great circles, the poles, the wrap, solid angles, covers of rigs."""

import math

import numpy as np
import py360convert
import pytest
import torch
from torch import Tensor

from syncdiffusion_core.canvases.rigs import QUARTERS, Direction, Rig, RigKind, looking, make_rig
from syncdiffusion_core.canvases.sphere import directions_of, share_seen, solid_angle, sphere_views
from syncdiffusion_core.canvases.sphere_spec import SphereViews
from syncdiffusion_core.views.schedule import CellGrid
from syncdiffusion_core.views.view_set import aggregate

CANVAS, VIEW, FOV = (128, 256), (64, 64), math.radians(80)
FULL = make_rig(RigKind.THREE_RINGS, 8, FOV)


def rig(azimuth: float, elevation: float = 0.0, roll: float = 0.0, fov: float = FOV) -> Rig:
    """One camera; degrees."""
    return Rig(looking(*map(math.radians, (azimuth, elevation, roll)))[None], fov)


def pattern(rays: Tensor) -> Tensor:
    """A picture of the sphere without fine detail, of unit directions [..., 3]: [1, 1, ...] in [0, 1]."""
    waves = torch.tensor([[3.0, -1.0, 2.0], [-2.0, 4.0, 1.0], [1.0, 2.0, -5.0], [6.0, 0.0, 3.0]], dtype=torch.float64)
    return (0.5 + (rays @ waves.T + torch.tensor([0.3, 1.1, 2.0, 0.7])).sin().mean(dim=-1) / 2)[None, None]


def view_of(canvas: Tensor, cameras: Rig, size: tuple[int, int] = VIEW) -> Tensor:
    """The first view, [h, w]."""
    return sphere_views(cameras, tuple(canvas.shape[-2:]), size).project(canvas)[0, 0]


def psnr(got: Tensor, wanted: Tensor) -> float:
    return float(-10 * torch.log10((got - wanted).square().mean()))


@pytest.mark.parametrize(
    ("azimuth", "elevation", "row", "column"),
    [(0, 0, 0.5, 0.5), (90, 0, 0.5, 0.75), (-90, 0, 0.5, 0.25), (0, 45, 0.25, 0.5), (67.5, -45, 0.75, 0.6875)],
)
def test_the_middle_of_a_view_is_where_its_camera_looks(azimuth, elevation, row, column):
    """Middle of the picture -Z, to the right +X, up +Y."""
    canvas = torch.zeros(1, 1, *CANVAS)
    down, right = (row * CANVAS[0], column * CANVAS[1])
    canvas[..., round(down) - 1 : round(down) + 1, round(right) - 1 : round(right) + 1] = 1
    view = view_of(canvas, rig(azimuth, elevation))
    assert view[31:33, 31:33].min() > 0.5
    assert view.sum() == pytest.approx(float(view[28:36, 28:36].sum()))
    forward = -looking(math.radians(azimuth), math.radians(elevation))[:, 2]
    assert torch.allclose(forward, directions_of((256, 512))[round(256 * row), round(512 * column)], atol=0.02)


def test_right_of_a_view_is_a_greater_azimuth_and_its_top_is_up():
    longitude = torch.arange(CANVAS[1]).double().expand(1, 1, *CANVAS)
    assert (view_of(longitude, rig(0)).diff(dim=1) > 0).all()
    rows = torch.arange(CANVAS[0]).double()[:, None].expand(1, 1, *CANVAS)
    assert (view_of(rows, rig(0))[:, 32].diff() > 0).all()
    assert (view_of(rows, rig(0, 0, 90))[32].diff() < 0).all(), "a camera rolled clockwise sees the sky at its left"


@pytest.mark.parametrize("camera", [(0, 0), (75, 20, 10), (200, -70), (0, 90), (10, -90, 45)])
def test_great_circles_are_straight(camera):
    """The height of a direction over a plane through the middle, seen in a view, is a plane in its pixels."""
    normal = torch.tensor([0.48, 0.6, -0.64], dtype=torch.float64)
    canvas = (directions_of((256, 512)) @ normal)[None, None]
    cameras = rig(*camera)
    view = view_of(canvas, cameras)
    length = 1 / (cameras.rays(VIEW)[0] @ -cameras.rotations[0, :, 2])
    height = view * length
    for line in (height, height.T):
        assert line.diff(n=2, dim=0).abs().max() < 2e-3
    exact = cameras.rays(VIEW)[0] @ normal
    assert (view - exact).abs().max() < 1e-3


@pytest.mark.parametrize("elevation", [90, -90])
def test_a_disc_at_a_pole_stays_round(elevation):
    above = (directions_of((512, 1024))[..., 1] * math.copysign(1, elevation) > math.cos(math.radians(25))).double()
    view = view_of(above[None, None], rig(30, elevation), (129, 129))
    grid = torch.arange(129).double() - 64
    radius = (grid[:, None].square() + grid.square()).sqrt()
    expected = math.tan(math.radians(25)) / math.tan(FOV / 2) * 129 / 2
    assert radius[view > 0.5].max() == pytest.approx(expected, abs=1)
    assert radius[view <= 0.5].min() == pytest.approx(expected, abs=1)


def test_views_of_a_smooth_picture_are_the_picture():
    canvas = pattern(directions_of(CANVAS))
    views = sphere_views(FULL, CANVAS, VIEW).project(canvas)
    exact = pattern(FULL.rays(VIEW))[0, 0]
    assert psnr(views[:, 0], exact) > 60


@pytest.mark.parametrize(
    ("kind", "count"), [(RigKind.THREE_RINGS, 8), (RigKind.ICOSAHEDRON, 1), (RigKind.TWO_RINGS, 8)]
)
def test_a_smooth_picture_comes_back(kind, count):
    """Poles and the wrap included, whichever rows are asked."""
    canvas = pattern(directions_of(CANVAS))
    views = sphere_views(make_rig(kind, count, math.radians(90)), CANVAS, VIEW)
    again = aggregate(views, views.project(canvas))
    assert psnr(again, canvas) > 45
    for band in (again[..., :4, :] - canvas[..., :4, :], again[..., -4:, :] - canvas[..., -4:, :]):
        assert float(-10 * torch.log10(band.square().mean())) > 45
    edge = (again - canvas)[..., [0, 1, -2, -1]]
    assert float(-10 * torch.log10(edge.square().mean())) > 45


def test_a_turned_picture_is_a_turned_camera():
    """By a whole number of columns: the same cells, the edge of the picture among them."""
    canvas = torch.rand(1, 1, *CANVAS, generator=torch.manual_seed(1), dtype=torch.float64)
    turned = view_of(canvas.roll(20, -1), rig(200, 35))
    torch.testing.assert_close(turned, view_of(canvas, rig(200 - 360 * 20 / CANVAS[1], 35)), rtol=0, atol=1e-6)


def test_solid_angles_are_those_of_the_sphere():
    area = solid_angle((90, 180))
    assert area.sum() == pytest.approx(4 * math.pi)
    cap = area[:15].sum()
    assert cap == pytest.approx(math.tau * (1 - math.cos(math.radians(30))))


@pytest.mark.parametrize(
    ("kind", "count", "degrees", "once", "twice"),
    [
        (RigKind.RING, 8, 72, 57.8, None),
        (RigKind.RING_AND_POLES, 8, 72, 80.2, 32),
        (RigKind.RING_AND_POLES, 8, 80, 90.4, 45),
        (RigKind.RING_AND_POLES, 8, 90, 100, 67),
        (RigKind.THREE_RINGS, 8, 80, 100, 89),
        (RigKind.CUBE, 1, 90, 100, 0),
    ],
)
def test_what_rigs_see(kind, count, degrees, once, twice):
    """As counted with 200,000 random points."""
    cameras = make_rig(kind, count, math.radians(degrees))
    assert 100 * share_seen(cameras) == pytest.approx(once, abs=0.6)
    if twice is not None:
        assert 100 * share_seen(cameras, 2) == pytest.approx(twice, abs=1.0)


@pytest.mark.parametrize("kind", RigKind)
def test_rigs_look_where_they_say(kind):
    cameras = make_rig(kind, 6, FOV, tilt=math.radians(10))
    turn = cameras.rotations
    torch.testing.assert_close(turn @ turn.transpose(1, 2), torch.eye(3).double().expand_as(turn))
    azimuth, elevation = make_rig(kind, 6, FOV).directions.unbind(-1)
    if kind not in (RigKind.TWO_RINGS, RigKind.ICOSAHEDRON, RigKind.FIBONACCI):
        assert (azimuth[0], elevation[0]) == pytest.approx((0, 0), abs=1e-9), "the first view looks to the front"
    assert len(torch.unique((-turn[:, :, 2]).round(decimals=6), dim=0)) == len(cameras), "no direction twice"


def test_directions_have_names():
    around = make_rig(RigKind.RING, 8, FOV)
    quarters = [around.towards(direction) for direction in QUARTERS]
    assert quarters == [(0, 7), (1, 2), (3, 4), (5, 6)], "on a border, the quarter to the right"
    assert FULL.towards(Direction.UP) == (8, 9, 10, 11, 16)
    assert FULL.towards(Direction.DOWN) == (12, 13, 14, 15, 17)
    assert FULL.towards(Direction.HORIZON) == tuple(range(8))
    assert around.towards(Direction.UP) == ()


def test_directions_have_degrees():
    turn = math.radians
    assert FULL.between(None, (turn(60), turn(90))) == (16,)
    assert FULL.between(None, (turn(45), turn(45))) == (8, 9, 10, 11), "both ends count"
    assert FULL.between((turn(135), turn(-135)), (turn(-30), turn(30))) == (3, 4, 5), "around the back"
    assert FULL.between((turn(-45), turn(45)), (turn(-30), turn(30))) == (0, 1, 7)
    assert FULL.between((turn(-180), turn(180)), None) == tuple(range(16)), "poles have no azimuth"
    assert FULL.between((turn(0), turn(360)), (0, 0)) == tuple(range(8))
    assert FULL.between((turn(10), turn(20)), (0, 0)) == ()


def test_the_canvas_may_be_finer_than_the_views():
    """Then a cell of a view is the mean of what it covers: nothing aliases, no cell is passed over."""
    canvas = torch.zeros(1, 1, 512, 1024, dtype=torch.float64)
    canvas[..., ::2] = 1
    view = view_of(canvas, rig(0), (32, 32))
    assert (view - 0.5).abs().max() < 0.1


@pytest.mark.parametrize(("azimuth", "elevation"), [(0, 0), (110, 35), (-170, -60), (0, 90)])
def test_views_agree_with_py360convert(azimuth, elevation):
    canvas = pattern(directions_of((256, 512)))
    other = py360convert.e2p(
        np.ascontiguousarray(canvas[0, 0].numpy()[..., None]), (80.0, 80.0), azimuth, elevation, (128, 128)
    )
    view = view_of(canvas, rig(azimuth, elevation), (128, 128))
    assert np.abs(other[..., 0] - view.numpy()).mean() < 5e-3


def resolved(size, view, canvas=None):
    return SphereViews(FULL, size, view).resolve(canvas, CellGrid(8))


def test_latents_and_pictures_are_of_one_sphere():
    latent, pixels = (schedule.every for schedule in resolved((256, 512), (128, 128)))
    assert (latent.canvas, latent.view) == ((32, 64), (16, 16))
    assert (pixels.canvas, pixels.view) == ((256, 512), (128, 128))
    assert latent.names == pixels.names


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: SphereViews(FULL, (256, 500), (128, 128)), "twice as wide as high, got 500 x 256 px; use 512 x 256"),
        (
            lambda: SphereViews(FULL, (256, 512), (128, 100)).resolve(None, CellGrid(8)),
            "view_width must be a multiple of 8",
        ),
        (
            lambda: SphereViews(FULL, (250, 500), (128, 128)).resolve(None, CellGrid(8)),
            "height must be a multiple of 8",
        ),
        (lambda: SphereViews(FULL, (256, 512), (128, 128)).resolve((8, 16), CellGrid(8)), "give both the same size"),
        (lambda: make_rig(RigKind.RING, 8, math.pi), "less than 180 degrees, got 180"),
        (lambda: make_rig(RigKind.RING, 8, 0.0), "more than 0"),
        (lambda: make_rig(RigKind.RING, 0, FOV), "at least one camera"),
    ],
)
def test_what_is_no_sphere_is_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_the_sides_of_the_picture_are_no_place_of_their_own():
    """A ring that is turned by one camera is the same ring: the wrap is where any other camera looks."""
    ring = sphere_views(make_rig(RigKind.RING, 8, FOV), (64, 128), (32, 32))
    seen = torch.randn(8, 3, 32, 32, dtype=torch.float64, generator=torch.manual_seed(0))
    canvas = aggregate(ring, seen)
    torch.testing.assert_close(aggregate(ring, seen.roll(1, 0)), canvas.roll(16, -1), atol=1e-6, rtol=0)
    torch.testing.assert_close(ring.project(canvas.roll(16, -1)), ring.project(canvas).roll(1, 0), atol=1e-6, rtol=0)
