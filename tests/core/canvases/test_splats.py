"""Splats as a canvas: cameras around them, views, hints, and colours from pictures."""

import math

import pytest
import torch
from canvases.clouds import around, ball, one_camera

from syncdiffusion_core.canvases.gaussians import gaussians
from syncdiffusion_core.canvases.light import from_light, to_light
from syncdiffusion_core.canvases.rigs import RigKind, looking, make_rig
from syncdiffusion_core.canvases.splat_bake import baked, from_beside
from syncdiffusion_core.canvases.splat_spec import SplatViews, pictures
from syncdiffusion_core.canvases.splats import FAR, ball_of, depth_hints, scene, splat_views
from syncdiffusion_core.views.least_squares import closest
from syncdiffusion_core.views.schedule import CellGrid
from syncdiffusion_core.views.tables import ResampledViews
from syncdiffusion_core.views.view_set import aggregate


def db(one: torch.Tensor, other: torch.Tensor) -> float:
    return float(-10 * torch.log10((one - other).square().mean()))


class TestCameras:
    """Where they stand."""

    def test_all_fit_the_views(self):
        given = around(ball(2000, opacity=(0.9, 1.0)), RigKind.FIBONACCI, 5, degrees=60.0)
        for look in given.looks((64, 64), 1):
            edge = torch.ones(64, 64, dtype=torch.bool)
            edge[1:-1, 1:-1] = False
            assert not (look.opacity[edge] > 0.5).any()
            rows = (look.opacity > 0.5).any(dim=1).nonzero()
            assert int(rows.max() - rows.min()) > 38, "and fill them"

    def test_stray_splats_do_not_move_them(self):
        points = ball(1000).positions
        stray = torch.cat([points, torch.full((5, 3), 1e4)])
        one, other = ball_of(points), ball_of(stray)
        assert (one.centre - other.centre).norm() < 0.05
        assert other.radius == pytest.approx(one.radius, rel=0.05)

    def test_a_distance_may_be_given(self):
        cloud = ball(100)
        given = scene(cloud.splats, one_camera(), 7.0)
        assert (given.cameras.eyes[0] - ball_of(given.splats.positions).centre).norm() == pytest.approx(7)

    def test_refused(self):
        flat = torch.zeros(3, 3), torch.ones(3, 3), torch.ones(3, 4)
        with pytest.raises(ValueError, match="all in one place, .* set distance"):
            scene(gaussians(*flat, torch.ones(3)), one_camera())
        with pytest.raises(ValueError, match="none of its splats is opaque enough"):
            scene(gaussians(*flat, torch.zeros(3)), one_camera())
        behind = scene(gaussians(*flat, torch.ones(3)), one_camera(), 5.0)
        object.__setattr__(behind.cameras, "eyes", -behind.cameras.eyes)
        with pytest.raises(ValueError, match="splat: no camera sees it"):
            splat_views(list(behind.looks((8, 8), 2)), 3)


class TestViews:
    """A canvas of colours; the contract has what all canvases keep."""

    def test_they_are_the_tables_that_any_views_are_made_of(self):
        """A sum over bags, against turns."""
        looks = list(around(ball(400)).looks((24, 24), 6))
        views = splat_views(looks, 400)
        taps = torch.stack([look.splats for look in looks]).movedim(-1, 1)
        weights = torch.stack([look.weights for look in looks]).movedim(-1, 1)
        opacity = torch.stack([look.opacity for look in looks])
        taps = torch.where(opacity[:, None] >= 0.5, taps, -1)
        weights = torch.where(taps >= 0, weights, 0)
        slow = ResampledViews(
            taps,
            weights / weights.sum(dim=1, keepdim=True).clamp(min=1e-9),
            (400,),
            torch.where(opacity >= 0.5, opacity, 0),
        )
        x = torch.rand(2, 3, 2, 400, generator=torch.Generator().manual_seed(1)).double()
        y = slow.project(x)
        torch.testing.assert_close(views.project(x), y, atol=1e-12, rtol=0)
        for one, other in zip(views.unproject(y), slow.unproject(y), strict=True):
            torch.testing.assert_close(one, other, atol=1e-9, rtol=0)

    def test_a_splat_has_the_mean_of_its_pixels(self):
        """Against a dense matrix."""
        looks = list(around(ball(60)).looks((16, 16), 8))
        views = splat_views(looks, 60)
        matrix = views.project(torch.eye(60)[:, None]).view(len(looks), 60, -1)  # [V, S, h*w]
        weight = torch.stack([look.opacity for look in looks]).flatten(1)
        weight = torch.where(weight >= 0.5, weight, 0)
        y = torch.rand(len(looks), 3, 16 * 16, generator=torch.Generator().manual_seed(2))
        total = torch.einsum("vsp,vp,vcp->cs", matrix, weight, y)
        mean = total / torch.einsum("vsp,vp->s", matrix, weight).clamp(min=1e-9)
        torch.testing.assert_close(aggregate(views, y.view(-1, 3, 16, 16))[0], mean, atol=1e-4, rtol=0)

    def test_they_show_what_the_splats_look_like(self):
        """Of light, where nothing is seen through: the picture itself."""
        cloud = ball(800, opacity=(0.9, 1.0))
        looks = tuple(around(cloud).looks((32, 32), 32))
        light = to_light(cloud.colours)
        seen = splat_views(looks, 800).project(light.T[None])
        solid = torch.stack([look.opacity for look in looks]) > 0.999
        wanted = to_light(pictures(looks, light)).movedim(-1, 1)
        error = (seen - wanted).abs().amax(dim=1)[solid]
        assert solid.float().mean() > 0.3
        assert float(error.max()) < 2e-3

    def test_models_see_them_in_cells(self):
        spec = SplatViews(around(ball(200)), tuple(around(ball(200)).looks((64, 64), 4)))
        resolved = spec.resolve(None, CellGrid(8))
        assert resolved.latent.every.view == (8, 8)
        assert resolved.pixels.every.view == spec.view_px == (64, 64)
        assert resolved.latent.every.canvas == resolved.pixels.every.canvas == (200,)
        assert spec.resolve(None, CellGrid(1)).latent.every.view == (64, 64)
        assert spec.shown(torch.zeros(2, 3, 200)).shape == (16, 3, 64, 64)
        with pytest.raises(ValueError, match="view_height must be a multiple of 48 px"):
            spec.resolve(None, CellGrid(16, 3))
        with pytest.raises(ValueError, match="a canvas of their own"):
            spec.resolve((8, 8), CellGrid(8))


def test_the_far_side_is_not_seen():
    """Though something of it comes through the gaps of the near one."""
    given = around(ball(2000, opacity=(0.8, 1.0)), RigKind.RING, 1)
    looks = list(given.looks((128, 128), 16))
    seen, facing = given.seen(looks), given.splats.positions[:, 2] / given.splats.positions.norm(dim=1)
    assert seen[facing > 0.3].float().mean() > 0.85
    assert seen[facing < -0.3].float().mean() < 0.1
    assert (splat_views(looks, 2000).unproject(torch.ones(1, 1, 128, 128)).weight[0, 0, facing < -0.3] > 0).any()


class TestHints:
    """Depth of what is shown."""

    def test_one_range_near_white_and_nothing_black(self):
        given = around(ball(3000, opacity=(0.9, 1.0)))
        looks = tuple(given.looks((48, 48), 8))
        opacity = torch.stack([look.opacity for look in looks])
        disparity = given.disparities(looks)
        hints = depth_hints(disparity, opacity)
        shown = opacity >= 0.5
        assert not hints[~shown].any()
        assert float(hints[shown].min()) == pytest.approx(FAR)
        assert float(hints.max()) == 1
        order = disparity[shown].argsort()
        assert (hints[shown][order].diff() >= 0).all(), "of all views together"

    def test_nothing_and_one_depth(self):
        flat = torch.ones(1, 2, 2)
        assert torch.equal(depth_hints(flat, flat), flat)
        assert not depth_hints(flat, 0 * flat).any()


class TestColours:
    """Pictures baked into splats."""

    @pytest.fixture
    def painted(self):
        cloud = ball(1500)
        everywhere = around(cloud, RigKind.FIBONACCI, 12)
        looks = tuple(everywhere.looks((96, 96), 24))
        return everywhere, cloud, looks, pictures(looks, to_light(cloud.colours)).movedim(-1, 1)

    def test_known_colours_come_back(self, painted):
        """Of smooth ones. Measured: mean 23.0 and 27.9 dB (colours, pictures), four steps 33.5 and 42.0."""
        everywhere, cloud, looks, given = painted
        views = splat_views(looks, 1500)
        found = {}
        for steps in (0, 4):
            colours, seen = baked(views, given, steps), everywhere.seen(looks)
            again = pictures(looks, to_light(colours)).movedim(-1, 1)
            found[steps] = db(colours[seen], cloud.colours[seen]), db(again, given)
        assert found[0][0] > 22
        assert found[0][1] > 27
        assert found[4][0] > 32
        assert found[4][1] > 40

    def test_one_colour_stays(self, painted):
        *_, looks, given = painted
        for steps in (0, 3):
            colours = baked(splat_views(looks, 1500), torch.full_like(given, 0.3), steps)
            torch.testing.assert_close(colours, torch.full_like(colours, 0.3), atol=1e-4, rtol=0)

    def test_least_squares_are_those_of_a_dense_matrix(self):
        looks = list(around(ball(40), count=8).looks((24, 24), 8))
        views = splat_views(looks, 40)
        matrix = views.project(torch.eye(40).double()[:, None]).view(len(looks), 40, -1).movedim(1, -1).flatten(0, 1)
        weight = torch.stack([look.opacity for look in looks]).flatten().double()
        weight = torch.where(weight >= 0.5, weight, 0).sqrt()[:, None]
        y = torch.rand(len(looks), 1, 24, 24, generator=torch.Generator().manual_seed(3)).double()
        wanted = torch.linalg.lstsq(weight * matrix, weight * y.flatten()[:, None]).solution[:, 0]
        torch.testing.assert_close(
            closest(views, y, torch.zeros(1, 1, 40).double(), 80)[0, 0], wanted, atol=1e-4, rtol=0
        )

    def test_what_is_met_already_is_left(self):
        views = splat_views(list(around(ball(40)).looks((16, 16), 4)), 40)
        given = torch.full((len(views), 3, 16, 16), 0.25)
        start = aggregate(views, given)
        torch.testing.assert_close(closest(views, given, start, 5), start, atol=1e-5, rtol=0)

    def test_what_is_not_seen_has_the_colour_of_what_is_beside_it(self):
        positions = torch.tensor([[0.0, 0, 0], [0.01, 0, 0], [5, 5, 5], [5.01, 5, 5], [5, 5.01, 5]]).double()
        colours = torch.tensor([[1.0, 0, 0], [0, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0]])
        seen = torch.tensor([True, False, True, True, False])
        found = from_beside(colours, seen, positions)
        torch.testing.assert_close(found[[1, 4]], torch.tensor([[1.0, 0, 0], [0, 0.5, 0.5]]))
        assert torch.equal(found[seen], colours[seen])
        assert torch.equal(from_beside(colours, ~seen & seen, positions), colours), "nothing is seen"


def test_light_and_back():
    colour = torch.linspace(0, 1, 300)
    torch.testing.assert_close(from_light(to_light(colour)), colour, atol=1e-6, rtol=0)
    assert float(to_light(torch.tensor(0.5))) == pytest.approx(0.21404, abs=1e-5)


def test_a_camera_of_a_roll_sees_the_same_rolled():
    cloud = ball(300)
    rig = make_rig(RigKind.RING, 1, math.radians(40))
    upright, rolled = (scene(cloud.splats, rig.turned(looking(0, 0, roll))) for roll in (0.0, math.pi / 2))
    one, other = (next(given.looks((32, 32), 4)).opacity for given in (upright, rolled))
    torch.testing.assert_close(other, one.rot90(-1), atol=1e-5, rtol=0)
