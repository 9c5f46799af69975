"""Views of a mesh's texture in closed form: which texel a pixel is, what hides what, weights, there and back."""

import math

import pytest
import torch
from canvases import shapes
from torch import Tensor

from syncdiffusion_core.canvases.atlas import MARGIN, atlas_of, shared
from syncdiffusion_core.canvases.mesh import fitted, is_tiled, make_mesh
from syncdiffusion_core.canvases.mesh_hints import FAR, look_at
from syncdiffusion_core.canvases.mesh_spec import MeshViews
from syncdiffusion_core.canvases.mesh_views import drawn
from syncdiffusion_core.canvases.orbit import orbit
from syncdiffusion_core.canvases.rigs import Direction, Rig, RigKind, looking, make_rig
from syncdiffusion_core.views import relations
from syncdiffusion_core.views.schedule import CellGrid
from syncdiffusion_core.views.view_set import aggregate

RIGHT_ANGLE = math.radians(90)
TEXTURE = make_rig(RigKind.TEXTURE, 8, math.radians(60))


def camera(azimuth: float = 0.0, elevation: float = 0.0, fov: float = RIGHT_ANGLE) -> Rig:
    """One, by where it looks; degrees."""
    return Rig(looking(math.radians(azimuth), math.radians(elevation))[None], fov)


def tables(parts: shapes.Parts, rig: Rig, size: int, view: int, distance: float = 0.0, power: float = 1.0, **more):
    mesh = shapes.of(parts)
    spec = MeshViews(mesh, orbit(rig, mesh.ball, distance), (size, size), (view, view), powers=(power, 6.0), **more)
    return spec.tables(spec.size_px, spec.view_px)


def waves(points: Tensor, count: float = 3.0) -> Tensor:
    """A picture without fine detail of points in space [..., 3]: [1, 3, ...] in [0, 1]."""
    turns = torch.tensor([[1.0, -0.5, 0.3], [-0.4, 0.8, 0.6], [0.5, 0.6, -0.9]], dtype=torch.float64) * count
    return (0.5 + 0.5 * (points.double() @ turns.T).sin()).movedim(-1, 0)[None].float()


def psnr(got: Tensor, wanted: Tensor) -> float:
    return float(-10 * torch.log10((got - wanted).square().mean()))


class TestQuad:
    """A square that fills the view of a camera in front of it: pixel (i, j) is texel (i, j)."""

    def test_pixels_are_texels(self):
        canvas = torch.randn(1, 3, 16, 16, generator=torch.manual_seed(0))
        views = tables(shapes.quad_parts(), camera(), 16, 16, distance=1.0).views
        torch.testing.assert_close(views.project(canvas), canvas, atol=1e-5, rtol=0)
        torch.testing.assert_close(aggregate(views, canvas), canvas, atol=1e-5, rtol=0)
        assert torch.equal(views.index[0], torch.arange(256).view(16, 16))

    def test_a_finer_texture_is_interpolated_at_half_texels(self):
        views = tables(shapes.quad_parts(), camera(), 32, 16, distance=1.0).views
        columns = ((torch.arange(32) + 0.5) / 32).expand(1, 1, 32, 32)
        wanted = ((torch.arange(16) + 0.5) / 16).expand(1, 1, 16, 16)
        torch.testing.assert_close(views.project(columns), wanted, atol=1e-6, rtol=0)
        rows = columns.mT
        torch.testing.assert_close(views.project(rows), wanted.mT, atol=1e-6, rtol=0)

    @pytest.mark.parametrize("side", ["front", "back"])
    def test_culled_or_seen_from_behind(self, side):
        rig = camera(0 if side == "front" else 180)
        both = tables(shapes.quad_parts(), rig, 16, 16, distance=1.0).views
        canvas = torch.randn(1, 3, 16, 16, generator=torch.manual_seed(0))
        mirrored = canvas if side == "front" else canvas.flip(-1)
        torch.testing.assert_close(both.project(canvas), mirrored, atol=1e-5, rtol=0)
        if side == "back":
            with pytest.raises(ValueError, match="rig: none of its cameras sees the mesh"):
                tables(shapes.quad_parts(), rig, 16, 16, distance=1.0, cull=True)

    def test_what_lies_beside_it_is_nothing(self):
        views = tables(shapes.quad_parts(), camera(), 16, 16, distance=2.0).views
        there = relations.visible(views)[0, 0]
        assert torch.equal(there, torch.nn.functional.pad(torch.ones(8, 8, dtype=torch.bool), (4, 4, 4, 4)))
        assert not views.project(torch.ones(1, 1, 16, 16))[0, 0][~there].any()

    @pytest.mark.parametrize(("degrees", "power"), [(0, 1.0), (60, 1.0), (60, 6.0), (60, 0.0)])
    def test_weights_are_powers_of_the_cosine(self, degrees, power):
        """From far away, so that the angle is one for all of it, and away from the border."""
        rig = camera(degrees, fov=math.radians(4))
        views = tables(shapes.quad_parts(), rig, 16, 256, distance=100.0, power=power).views
        weight = relations.coverage(views)[4:-4, 4:-4]
        torch.testing.assert_close(
            weight, torch.full_like(weight, math.cos(math.radians(degrees)) ** power), atol=0.02, rtol=0
        )

    def test_a_grazing_camera_says_nothing(self):
        both = Rig(torch.stack([looking(0, 0), looking(math.radians(87), 0)]), RIGHT_ANGLE)
        views = tables(shapes.quad_parts(), both, 16, 64, distance=3.0).views
        assert not relations.coverage(views.subset([1])).any()
        assert relations.coverage(views.subset([0])).all()


class TestHidden:
    """What stands in front."""

    def test_of_a_cube_a_camera_sees_one_side_or_three(self):
        for direction, count in (((0, 0), 1), ((45, 0), 2), ((45, -35), 3)):
            views = tables(shapes.cube_parts(), camera(*direction, fov=math.radians(40)), 96, 96).views
            chart = relations.coverage(views).unflatten(0, (2, 48)).unflatten(2, (3, 32)).amax(dim=(1, 3)) > 0
            assert int(chart.sum()) == count, direction
        front = tables(shapes.cube_parts(), camera(), 96, 96).views
        assert relations.coverage(front)[:48, :32].any(), "a camera of azimuth 0 sees what faces +Z"

    def test_a_small_square_hides_the_middle_of_a_large_one(self):
        (points, faces, uvs), (near, steps, _) = shapes.quad_parts(2.0), shapes.quad_parts(1.0)
        both = (
            torch.cat([points, near + torch.tensor([0, 0, 0.5])]),
            torch.cat([faces, steps + 4]),
            torch.cat([uvs * torch.tensor([0.5, 1]), uvs * torch.tensor([0.5, 1]) + torch.tensor([0.5, 0])]),
        )
        mesh = shapes.of(both)
        cameras = orbit(camera(), mesh.ball, distance=1.75)  # two from the one behind, one and a half from the other
        views = MeshViews(mesh, cameras, (64, 64), (96, 96)).tables((64, 64), (96, 96)).views
        seen = relations.coverage(views)[:, :30] > 0
        rows, columns = ((torch.arange(count) + 0.5) / 32 * 2 - 1 for count in (64, 30))
        shadow = (rows[:, None] / 2 - 0.5).abs().maximum(columns.abs()[None]) < 2 / 3
        sure = ((rows[:, None] / 2 - 0.5).abs().maximum(columns.abs()[None]) - 2 / 3).abs() > 0.05
        assert torch.equal(seen[sure], ~shadow[sure])

    def test_the_far_side_of_a_thin_sheet_is_its_own(self):
        """Two squares back to back, a thousandth apart: each camera tells its own."""
        points, faces, uvs = shapes.quad_parts()
        half = torch.tensor([0.45, 0.9])
        sheet = (
            torch.cat([points, points - torch.tensor([0, 0, 0.001])]),
            torch.cat([faces, faces.flip(1) + 4]),
            torch.cat([uvs * half + 0.02, uvs * half + torch.tensor([0.52, 0.02])]),
        )
        views = tables(sheet, camera(fov=math.radians(60)), 64, 64).views
        assert relations.coverage(views)[4:-10, 4:26].all()
        assert not relations.coverage(views)[:, 33:].any()


class TestThereAndBack:
    """A pattern of the surface, seen by ten views and put together again."""

    @pytest.mark.parametrize("bake", [False, True])
    def test_torus(self, bake):
        parts, rig = shapes.torus_parts(96, 48), make_rig(RigKind.RING_AND_POLES, 8, math.radians(60))
        made = tables(parts, rig, 256, 192)
        self._check(parts, made.bake if bake else made.views, 256, 50)

    def test_cube(self):
        """Of six charts that are continuous on the cube and not in the texture."""
        made = tables(shapes.cube_parts(), make_rig(RigKind.THREE_RINGS, 8, 1.0), 256, 192)
        self._check(shapes.cube_parts(), made.views, 256, 40)

    def test_charts_of_their_own_colour_do_not_bleed(self):
        made = tables(shapes.cube_parts(gap=0.002), make_rig(RigKind.CUBE, 1, 1.0), 96, 128).views
        colours = torch.rand(6, 3, generator=torch.manual_seed(0))
        canvas = colours.view(2, 3, 3).permute(2, 0, 1).repeat_interleave(48, 1).repeat_interleave(32, 2)[None]
        views = made.project(canvas)
        for view in views:
            seen = view.flatten(1).T[(view != 0).any(dim=0).flatten()]
            assert ((seen[:, None] - colours).abs().amax(dim=-1).amin(dim=1) < 1e-5).all()
        again = aggregate(made, views)
        covered = relations.coverage(made) > 0
        torch.testing.assert_close(again[..., covered], canvas[..., covered], atol=1e-5, rtol=0)

    @staticmethod
    def _check(parts: shapes.Parts, views, side: int, least: float) -> None:
        atlas = atlas_of(shapes.of(parts), (side, side))
        canvas = torch.zeros(1, 3, side * side)
        canvas[..., atlas.cells] = waves(atlas.points)
        canvas = canvas.unflatten(-1, (side, side))
        again, covered = aggregate(views, views.project(canvas)), relations.coverage(views) > 0
        own = torch.zeros(side * side, dtype=torch.bool)
        own[atlas.cells] = True
        assert covered.flatten()[atlas.cells].float().mean() > 0.94  # all but some of the margin
        assert not covered.flatten()[~own].any()
        assert psnr(again[..., covered], canvas[..., covered]) > least


class TestAtlas:
    """Texels and their margin."""

    def test_texels_are_points_of_the_surface(self):
        atlas = atlas_of(shapes.of(shapes.quad_parts()), (8, 8))
        assert torch.equal(atlas.cells, torch.arange(64))
        x = ((torch.arange(8) + 0.5) / 4 - 1).double()
        torch.testing.assert_close(atlas.points.view(8, 8, 3)[..., 0], x.expand(8, 8))
        torch.testing.assert_close(atlas.points.view(8, 8, 3)[..., 1], -x[:, None].expand(8, 8))

    def test_the_margin_goes_on_where_the_chart_ends(self):
        points, faces, uvs = shapes.quad_parts()
        atlas = atlas_of(shapes.of((points, faces, uvs / 2 + 0.25)), (16, 16))
        assert len(atlas.cells) == (8 + 2 * MARGIN) ** 2
        x = ((torch.arange(8 + 2 * MARGIN) - MARGIN + 0.5) / 4 - 1).double()
        torch.testing.assert_close(atlas.points.view(12, 12, 3)[..., 0], x.expand(12, 12))

    def test_parts_that_lie_on_each_other_are_told(self):
        points, faces, uvs = shapes.quad_parts()
        twice = torch.cat([points, points + 1]), torch.cat([faces, faces + 4]), torch.cat([uvs, uvs])
        for parts, share in (((points, faces, uvs), 0.0), (twice, 0.5)):
            mesh = shapes.of(parts)
            assert shared(mesh, atlas_of(mesh, (32, 32))) == pytest.approx(share)


class TestHints:
    """What a network is shown of an object."""

    def look(self, parts: shapes.Parts, rig: Rig, size: int = 48, distance: float = 0.0, normals: Tensor | None = None):
        mesh = shapes.of(parts, normals)
        cameras = orbit(rig, mesh.ball, distance)
        return look_at(mesh, atlas_of(mesh, (size, size)), cameras, drawn(mesh, cameras, (size, size)))

    def test_texels_that_a_camera_sees(self):
        seen = self.look(shapes.cube_parts(), camera()).texels
        assert seen[:24, :16].any()
        assert not seen[24:].any()

    def test_depth_is_disparity_in_one_range_of_all_views(self):
        """A cube from two and from four of its half sides away: its front at 1 and 3."""
        places = torch.tensor([[0.0, 0, 2], [0, 0, 4]]).double()
        rig = Rig(torch.stack([looking(0, 0)] * 2), RIGHT_ANGLE, places)
        depth = self.look(shapes.cube_parts(), rig).depth
        assert depth[0, 24, 24] == 1
        assert depth[1, 24, 24] == pytest.approx(FAR)
        assert depth[1, 0, 0] == 0
        assert self.look(shapes.quad_parts(), camera(), distance=2.0).depth.unique().tolist() == [0, 1]

    @pytest.mark.parametrize("smooth", [False, True])
    @pytest.mark.parametrize("turned", [False, True])
    def test_normals_are_the_cameras(self, smooth, turned):
        """Whichever way round a face's corners are given."""
        points, faces, uvs = shapes.quad_parts()
        normals = torch.tensor([0.0, 0, 2]).expand(4, 3) if smooth else None
        parts = (points, faces.flip(1) if turned else faces, uvs)
        for azimuth, wanted in ((0, (0.5, 0.5, 1)), (180, (0.5, 0.5, 1)), (30, (0.75, 0.5, 0.933))):
            made = self.look(parts, camera(azimuth, fov=math.radians(40)), normals=normals).normals[0, 24, 24]
            torch.testing.assert_close(made, torch.tensor(wanted), atol=1e-3, rtol=0)

    def test_beside_the_object_there_is_nothing(self):
        seen = self.look(shapes.cube_parts(), TEXTURE)
        assert not seen.outline[:, 0].any()
        assert not seen.depth[~seen.outline].any()
        assert (seen.normals[~seen.outline] == torch.tensor([0.5, 0.5, 1])).all()
        assert seen.depth[seen.outline].min() >= FAR


class TestOrbit:
    """Cameras around an object."""

    def test_an_object_fits_the_view(self):
        mesh = shapes.of(shapes.torus_parts())
        cameras = orbit(make_rig(RigKind.FIBONACCI, 12, math.radians(50)), mesh.ball)
        for number in range(12):
            x, y, w = cameras.projected(number, mesh.vertices, (100, 100)).unbind(-1)
            assert ((x / w >= 0) & (x / w <= 100) & (y / w >= 0) & (y / w <= 100)).all()

    def test_cameras_stand_across_from_where_they_look(self):
        mesh = shapes.of(shapes.cube_parts())
        eyes = orbit(make_rig(RigKind.CUBE, 1, 1.0), mesh.ball, distance=5.0).eyes
        wanted = torch.tensor([[0, 0, 5], [-5, 0, 0], [0, 0, -5], [5, 0, 0], [0, -5, 0], [0, 5, 0]]).double()
        torch.testing.assert_close(eyes, wanted, atol=1e-9, rtol=0)

    def test_known_places_are_kept(self):
        places = torch.tensor([[1.0, 2, 9], [math.nan] * 3]).double()
        rig = Rig(torch.stack([looking(0, 0), looking(0, 0)]), 1.0, places)
        eyes = orbit(rig, shapes.of(shapes.cube_parts()).ball, distance=4.0).eyes
        torch.testing.assert_close(eyes, torch.tensor([[1.0, 2, 9], [0, 0, 4]]).double())

    def test_a_rig_for_textures(self):
        assert TEXTURE.directions.rad2deg().round().tolist()[-2:] == [[0, -30], [180, -30]]
        assert len(TEXTURE) == 10
        assert TEXTURE.towards(Direction.FRONT) == (0, 7, 8)
        assert TEXTURE.towards(Direction.BACK) == (3, 4, 9)
        assert TEXTURE.towards(Direction.SIDE) == (1, 2, 5, 6)
        assert TEXTURE.towards(Direction.TOP) == ()

    def test_sides_of_an_object(self):
        rig = make_rig(RigKind.THREE_RINGS, 8, 1.0)
        assert rig.towards(Direction.TOP) == rig.towards(Direction.DOWN) == (12, 13, 14, 15, 17)
        assert rig.towards(Direction.BOTTOM) == rig.towards(Direction.UP)
        stands = orbit(rig, shapes.of(shapes.cube_parts()).ball).eyes
        assert (stands[list(rig.towards(Direction.TOP)), 1] > 0).all()
        assert (stands[list(rig.towards(Direction.RIGHT)), 0] < 0).all(), "the right of what faces +Z is at -X"

    @pytest.mark.parametrize("distance", [-1.0, math.nan, math.inf])
    def test_refused(self, distance):
        with pytest.raises(ValueError, match="distance: it must be 0 or more and finite"):
            orbit(TEXTURE, shapes.of(shapes.cube_parts()).ball, distance)


class TestMesh:
    """What is given, made canonical or refused."""

    def test_uvs_beyond_the_texture_are_fitted(self):
        uvs = torch.tensor([[0.0, 0], [2, 1], [1, 0.5]])
        torch.testing.assert_close(fitted(uvs), uvs.double() / 2)
        torch.testing.assert_close(fitted(uvs / 2), uvs.double() / 2)
        assert is_tiled(uvs)
        assert not is_tiled(uvs / 2)

    def test_degenerate_faces_are_dropped(self):
        points, faces, uvs = shapes.quad_parts()
        flat = torch.tensor([[0, 0, 1], [1, 1, 1]])
        assert torch.equal(make_mesh(points, torch.cat([flat, faces]).int(), uvs).faces, faces)

    def test_a_vertex_of_no_face_does_not_matter(self):
        points, faces, uvs = shapes.quad_parts()
        mesh = make_mesh(torch.cat([points, torch.full((1, 3), 1e12)]), faces, torch.cat([uvs, uvs[:1]]))
        assert len(mesh.faces) == 2
        assert mesh.ball.radius == pytest.approx(math.sqrt(2))

    def test_stretch_is_the_longest_way_of_one_unit(self):
        points, faces, uvs = shapes.quad_parts()
        stretched = shapes.of((points * torch.tensor([5.0, 1, 1]), faces, uvs))
        torch.testing.assert_close(stretched.stretch, torch.tensor([10.0, 10.0]).double())

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"uvs": None}, "mesh: it has no UVs.*UnwrapMesh"),
            ({"uvs": torch.zeros(3, 2)}, "mesh: it has 3 uvs for 4 vertices"),
            ({"uvs": torch.full((4, 2), math.nan)}, "mesh: its uvs hold NaN"),
            ({"vertices": torch.full((4, 3), math.inf)}, "mesh: its vertices hold NaN or infinite"),
            ({"vertices": torch.zeros(4, 2)}, "mesh: its vertices must be floating"),
            ({"vertices": torch.zeros(4, 3)}, "mesh: all of its faces are without an area"),
            ({"faces": torch.tensor([[0, 1, 4]])}, "mesh: its faces name vertices 0 … 4, and there are 4"),
            ({"faces": torch.tensor([[0, 1, -1]])}, "mesh: its faces name vertices -1"),
            ({"faces": torch.zeros(0, 3, dtype=torch.long)}, "mesh: its faces must be whole numbers"),
            ({"faces": torch.zeros(2, 3)}, "mesh: its faces must be whole numbers"),
            ({"faces": torch.zeros(2, 3, dtype=torch.complex64)}, "mesh: its faces must be whole numbers"),
            ({"normals": torch.zeros(5, 3)}, "mesh: it has 5 normals for 4 vertices"),
        ],
    )
    def test_refused(self, change, words):
        given = dict(zip(("vertices", "faces", "uvs"), shapes.quad_parts(), strict=True))
        with pytest.raises(ValueError, match=words):
            make_mesh(**{**given, **change})

    def test_uvs_of_one_point_are_refused(self):
        points, faces, uvs = shapes.quad_parts()
        with pytest.raises(ValueError, match="mesh: its UVs cover no texel .* UnwrapMesh"):
            atlas_of(shapes.of((points, faces, uvs * 0)), (16, 16))


class TestSpec:
    """Sizes for a model."""

    def spec(self, size: int = 128, view: int = 64) -> MeshViews:
        mesh = shapes.of(shapes.torus_parts(24, 12))
        return MeshViews(mesh, orbit(TEXTURE, mesh.ball), (size, size), (view, view))

    def test_latents_and_pictures_are_of_one_texture(self):
        latent, pixels = self.spec().resolve(None, CellGrid(8))
        bake = pixels.last
        assert (latent.every.canvas, latent.every.view) == ((16, 16), (8, 8))
        assert (pixels.every.canvas, pixels.every.view) == ((128, 128), (64, 64))
        assert latent.every.names == pixels.every.names == bake.names
        assert torch.equal(relations.coverage(bake) > 0, relations.coverage(pixels.every) > 0)
        assert not torch.equal(relations.coverage(bake), relations.coverage(pixels.every))

    @pytest.mark.parametrize(
        ("given", "words"),
        [((128, 60), "view_size must be a multiple of 8"), ((100, 64), "atlas_size must be a multiple of 8")],
    )
    def test_refused(self, given, words):
        with pytest.raises(ValueError, match=words):
            self.spec(*given).resolve(None, CellGrid(8))
