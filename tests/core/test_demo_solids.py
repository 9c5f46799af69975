"""The demo's world of solids: meshes, charts, materials, and the views that are drawn of them."""

import math

import numpy as np
import pytest
import torch

from demo import materials, solid_views
from demo.charts import GAP, laid_out
from demo.lattice import PRIMES, cells_of, hashed, noise
from demo.materials import COLOURS, MATERIALS, lit_at, texture
from demo.object_captions import SIDES, Kind
from demo.solids import SHAPES, solid
from syncdiffusion_core.canvases.atlas import atlas_of
from syncdiffusion_core.canvases.mesh_hints import look_at
from syncdiffusion_core.canvases.mesh_views import drawn
from syncdiffusion_core.canvases.orbit import orbit
from syncdiffusion_core.canvases.rigs import Direction, RigKind, make_rig

SIDE = 128
FOV = math.radians(45)


@pytest.fixture(scope="module", params=SHAPES)
def mesh(request):
    return solid(5, request.param)


def _left_of(places: torch.Tensor, start: torch.Tensor, end: torch.Tensor) -> torch.Tensor:
    """Twice the area beside lines [M, 2] as seen from places [N, 1, 2]: [N, M]."""
    way, off = end - start, places - start
    return way[:, 0] * off[..., 1] - way[:, 1] * off[..., 0]


def welded(mesh) -> torch.Tensor:
    """Faces by corners that are one where they lie in one place: [M, 3]."""
    _, numbers = torch.unique((mesh.vertices * 1e6).round().long(), dim=0, return_inverse=True)
    return numbers[mesh.faces]


class TestSolid:
    """Every shape is a body with outward normals and a place of its own in a texture."""

    def test_it_is_closed(self, mesh):
        """Each edge is run along once each way."""
        faces = welded(mesh)
        edges = torch.cat([faces[:, [i, (i + 1) % 3]] for i in range(3)]).tolist()
        assert sorted(map(tuple, edges)) == sorted((b, a) for a, b in edges)

    def test_its_outside_is_outside(self, mesh):
        corners = mesh.corners
        volume = (corners[:, 0] * torch.linalg.cross(corners[:, 1], corners[:, 2])).sum() / 6
        assert volume > 0.2
        smooth = mesh.normals[mesh.faces]
        torch.testing.assert_close(smooth.norm(dim=-1), torch.ones(smooth.shape[:2]).double())
        assert (smooth * mesh.face_normals[:, None]).sum(dim=-1).min() > 0.5

    def test_its_size(self, mesh):
        assert len(mesh.faces) <= 6000
        assert mesh.vertices.norm(dim=1).max() == pytest.approx(1.0, abs=0.11)
        low, high = mesh.vertices.amin(dim=0), mesh.vertices.amax(dim=0)
        torch.testing.assert_close(low, -high)

    def test_its_texture_has_a_place_for_every_face(self, mesh):
        assert mesh.uvs.min() > 0
        assert mesh.uvs.max() < 1
        places = torch.rand(1000, 1, 2, generator=torch.Generator().manual_seed(0)).double()
        a, b, c = mesh.uvs[mesh.faces].unbind(dim=1)
        sides = [_left_of(places, *ends) for ends in ((a, b), (b, c), (c, a))]
        inside = torch.stack(sides).amin(dim=0) > 1e-9
        inside |= torch.stack(sides).amax(dim=0) < -1e-9
        assert inside.sum(dim=1).max() == 1

    def test_the_same_seed_is_the_same_and_another_another(self):
        for shape in SHAPES:
            one, again, other = (solid(seed, shape) for seed in (3, 3, 4))
            assert torch.equal(one.vertices, again.vertices)
            assert torch.equal(one.uvs, again.uvs)
            assert one.vertices.shape != other.vertices.shape or not torch.equal(one.vertices, other.vertices)


def test_charts_keep_their_proportions_and_lie_apart():
    rng = np.random.default_rng(0)
    sizes = [tuple(rng.uniform(0.1, 2, 2)) for _ in range(30)]
    places = np.array(laid_out(sizes))
    scales = places[:, 2:] / np.array(sizes)
    np.testing.assert_allclose(scales, scales[0, 0])
    ends = places[:, :2] + places[:, 2:]
    assert places[:, :2].min() >= GAP - 1e-9
    assert ends.max() <= 1 - GAP + 1e-9
    for i in range(30):
        for j in range(i):
            apart = np.maximum(places[i, :2] - ends[j], places[j, :2] - ends[i]).max()
            assert apart >= GAP - 1e-9


class TestNoise:
    """Functions of a point and a seed, against loops over the lattice."""

    def test_noise_is_what_its_corners_say(self):
        points = torch.rand(50, 3, generator=torch.Generator().manual_seed(0)) * 20 - 10
        for point, found in zip(points, noise(points, 7), strict=True):
            home, total = point.floor(), 0.0
            share = (point - home) ** 2 * (3 - 2 * (point - home))
            for corner in np.ndindex(2, 2, 2):
                weights = [float(s if c else 1 - s) for s, c in zip(share, corner, strict=True)]
                total += math.prod(weights) * float(hashed(home + torch.tensor(corner), 7))
            assert float(found) == pytest.approx(total, abs=1e-5)

    def test_the_second_nearest_is_farther(self):
        points = torch.rand(2000, 3) * 20 - 10
        near, second, number = cells_of(points, 3)
        assert (near <= second).all()
        assert 0.2 < near.mean() < 0.8
        assert number.min() >= 0
        assert number.max() < 1
        assert len(number.unique()) > 300

    def test_numbers_are_spread_evenly(self):
        cells = torch.cartesian_prod(*[torch.arange(-12, 12)] * 3)
        shares = torch.histc(hashed(cells, 5), 10, 0, 1) / len(cells)
        assert (shares - 0.1).abs().max() < 0.015
        assert len({*PRIMES}) == 3


def seen(shape: str, kind: Kind, seed: int = 5) -> torch.Tensor:
    """Three views of a solid, [3, 3, 128, 128], and where they show it [3, 1, 128, 128]."""
    mesh = solid(seed, shape)
    cameras = orbit(make_rig(RigKind.RING, 3, FOV), mesh.ball)
    return solid_views.seen(mesh, cameras, kind, seed)


def mean_colour(views: torch.Tensor) -> torch.Tensor:
    """Of what is no background: [3]."""
    there = (views - materials.BACKGROUND).abs().amax(dim=1) > 0.02
    return views.movedim(1, -1)[there].mean(dim=0)


@pytest.mark.parametrize("material", MATERIALS)
def test_colours_differ_more_than_solids_do(material):
    shapes = ("sphere", "vase", "cube")
    means = {c: torch.stack([mean_colour(seen(s, Kind(material, c, s))) for s in shapes]) for c in COLOURS}
    hues = {c: m / m.norm(dim=1, keepdim=True) for c, m in means.items()}
    within = max((h.amax(dim=0) - h.amin(dim=0)).max() for h in hues.values())
    centres = [h.mean(dim=0) for h in hues.values()]
    between = min((a - b).abs().max() for i, a in enumerate(centres) for b in centres[:i])
    assert between > within


def detail(views: torch.Tensor) -> torch.Tensor:
    """How much a material changes at each of four scales, across and down, of its mean: [8]."""
    grey, parts = views.mean(dim=1, keepdim=True)[..., 40:88, 40:88], []
    for size in (1, 2, 4, 8):
        coarse = torch.nn.functional.avg_pool2d(grey, size)
        parts += [coarse.diff(dim=d).abs().mean() for d in (-1, -2)]
    return torch.stack(parts) / grey.mean()


def test_materials_differ_more_than_colours_do():
    """In the detail of a ball, whatever its colour."""
    balls = {m: [detail(seen("sphere", Kind(m, c, "sphere"))) for c in ("red", "blue", "white")] for m in MATERIALS}
    spread = {m: torch.stack(d).std(dim=0).norm() for m, d in balls.items()}
    centres = {m: torch.stack(d).mean(dim=0) for m, d in balls.items()}
    for one in MATERIALS:
        for other in MATERIALS:
            if one != other:
                assert (centres[one] - centres[other]).norm() > spread[one], (one, other)


@pytest.mark.parametrize("material", MATERIALS)
def test_two_views_agree_where_they_see_the_same_point(material):
    """What a view shows of a face is what the surface has there, whichever camera looks; light goes with the world."""
    mesh = solid(9, "vase")
    cameras = orbit(make_rig(RigKind.TWO_RINGS, 4, FOV), mesh.ball)
    face = torch.arange(0, len(mesh.faces), 40)
    shares = torch.full((len(face), 3), 1 / 3, dtype=torch.float64)
    points = mesh.on_surface(face, shares)
    wanted = lit_at(mesh, face, shares, material, "green", 3)
    found = torch.zeros(len(face), dtype=torch.int)
    for number, hits in drawn(mesh, cameras, (512, 512)):
        x, y, depth = cameras.projected(number, points, (512, 512)).unbind(-1)
        column, row = (x / depth).long().clamp(0, 511), (y / depth).long().clamp(0, 511)
        there = hits.face[row, column] == face
        shown = hits.face[row, column][there], hits.shares[row, column][there]
        colour = lit_at(mesh, *shown, material, "green", 3)
        # A pixel's middle is up to half a pixel beside the point: a border of two tiles may lie between.
        assert (colour - wanted[there]).abs().amax(dim=1).median() < 0.06
        found += there
    assert (found >= 2).sum() > 20


def test_a_baked_texture_is_what_views_show():
    mesh = solid(2, "capsule")
    baked = texture(mesh, 256, "brick", "red", 4)
    assert baked.shape == (256, 256, 3)
    atlas = atlas_of(mesh, (256, 256))
    own = atlas.cells[:: len(atlas.cells) // 500]
    assert ((baked.view(-1, 3)[own] - materials.BACKGROUND).abs().amax(dim=1) > 0).float().mean() > 0.9


@pytest.fixture(scope="module")
def part():
    """Views of one solid, as the cache keeps them."""
    return solid_views._views((solid_views.HELD_OUT_SEED, 40))


class TestViews:
    """What is kept of a solid."""

    def test_they_are_pictures_on_grey_with_black_hints_beside(self, part):
        images, hints, places = part
        assert images.shape == (solid_views.PER_SOLID, 3, SIDE, SIDE)
        assert hints.shape == (solid_views.PER_SOLID, SIDE, SIDE)
        assert images.dtype == hints.dtype == np.uint8
        assert len(places) == solid_views.PER_SOLID
        assert (images[:, :, 0, 0] == 128).all()
        beside = (hints == 0) & (np.roll(hints, 2, 1) == 0) & (np.roll(hints, -2, 1) == 0)
        beside &= (np.roll(hints, 2, 2) == 0) & (np.roll(hints, -2, 2) == 0)
        assert (images.transpose(0, 2, 3, 1)[beside] == 128).mean() > 0.98

    def test_hints_are_those_of_mesh_views(self, part):
        index, seed = 40, solid_views.HELD_OUT_SEED + 40
        mesh = solid(seed, solid_views.kind_of(index).shape)
        cameras, _ = solid_views.cameras_around(mesh, np.random.default_rng([seed, 1]))
        wanted = look_at(mesh, atlas_of(mesh, (256, 256)), cameras, drawn(mesh, cameras, (SIDE, SIDE))).depth
        assert np.abs(part[1] / 255 - wanted.numpy()).max() <= 0.5 / 255 + 1e-6
        assert part[1].max() == 255

    def test_the_same_number_is_the_same(self, part):
        again = solid_views._views((solid_views.HELD_OUT_SEED, 40))
        assert all(np.array_equal(a, b) for a, b in zip(part[:2], again[:2], strict=True))

    def test_a_file_of_them(self, tmp_path):
        solid_views.draw_views(tmp_path / "solids.pt", 2, 7, processes=1)
        views = solid_views.read_views(tmp_path / "solids.pt")
        assert views.index.tolist() == [0] * solid_views.PER_SOLID + [1] * solid_views.PER_SOLID
        assert np.array_equal(views.images[: solid_views.PER_SOLID].numpy(), solid_views._views((7, 0))[0])
        assert len(views.sides) == 2 * solid_views.PER_SOLID

    def test_kinds_take_turns(self):
        kinds = [solid_views.kind_of(index) for index in range(len(SHAPES) * solid_views.COMBINATIONS)]
        assert len({*kinds}) == len(kinds)
        materials_, colours = solid_views.labels_of(np.arange(len(kinds)))
        assert [[*MATERIALS][i] for i in materials_] == [kind.material for kind in kinds]
        assert [[*COLOURS][i] for i in colours] == [kind.colour for kind in kinds]

    def test_cameras_stand_as_rigs_have_them_and_everywhere_between(self):
        rng = np.random.default_rng(0)
        places = np.array([solid_views.elevation_of(rng) for _ in range(2000)])
        low, high = solid_views.ELEVATIONS
        straight = np.abs(places) > 75.01
        assert 0.08 < straight.mean() < 0.16
        assert places[~straight].min() >= low
        assert places[~straight].max() <= high
        assert (np.abs(places) < 12).mean() > 0.3

    def test_sides_are_called_as_view_prompts_does(self):
        assert {*SIDES} <= {direction.value for direction in Direction}
        places = [(0, 0), (180, 5), (90, 0), (-90, 0), (10, -80), (0, 85)]
        names = solid_views.sides_of(solid_views.rig_of(places, FOV))
        assert names == [("front",), ("back",), ("side", "right"), ("side", "left"), ("top",), ("bottom",)]
