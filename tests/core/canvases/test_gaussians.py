"""Gaussians in a camera's picture: closed forms, frames, and what is refused."""

import math

import pytest
import torch
from canvases.clouds import ball, one_camera
from torch import Tensor

from syncdiffusion_core.canvases import splat_tables
from syncdiffusion_core.canvases.gaussians import LEAST_ALPHA, MOST_ALPHA, Gaussians, footprints, gaussians
from syncdiffusion_core.canvases.rigs import looking
from syncdiffusion_core.canvases.splat_tables import Strongest, disparity, pooled, strongest

NOWHERE = torch.zeros(3, dtype=torch.float64)
FORWARD = torch.eye(3, dtype=torch.float64)


def of(*splats: tuple, turns: tuple = (1.0, 0.0, 0.0, 0.0)) -> Gaussians:
    """Splats (position, scales, opacity) in the frame of files."""
    positions, scales, opacities = (torch.tensor(part, dtype=torch.float64) for part in zip(*splats, strict=True))
    return gaussians(positions, scales, torch.tensor(turns).double().expand(len(splats), 4), opacities)


def seen(splats: Gaussians, size: tuple[int, int], count: int = 4, degrees: float = 90.0) -> Strongest:
    return strongest(footprints(splats, FORWARD, NOWHERE, math.radians(degrees), size), size, count)


def slow_alphas(splats: Gaussians, rotation: Tensor, place: Tensor, fov: float, size: tuple[int, int]) -> Tensor:
    """What each splat hides of each pixel by its density along the ray, inverted in float64: [h, w, S]."""
    height, width = size
    reach = math.tan(fov / 2) * 2 / height
    y = (height / 2 - 0.5 - torch.arange(height, dtype=torch.float64)) * reach
    x = (torch.arange(width, dtype=torch.float64) + 0.5 - width / 2) * reach
    rays = torch.stack([x.expand(height, width), y[:, None].expand(height, width), -torch.ones(height, width)], -1)
    points, axes = (splats.positions - place) @ rotation, rotation.T @ splats.axes
    inverse = torch.linalg.inv(axes @ axes.transpose(1, 2))
    along = torch.einsum("hwi,sij,hwj->hws", rays, inverse, rays)
    towards = torch.einsum("hwi,sij,sj->hws", rays, inverse, points)
    distance = torch.einsum("si,sij,sj->s", points, inverse, points) - towards**2 / along
    alpha = splats.opacity * torch.exp(-0.5 * distance)
    return torch.where((alpha >= LEAST_ALPHA) & (points[:, 2] < 0), alpha, 0).clamp(max=MOST_ALPHA)


def slow_weights(splats: Gaussians, rotation: Tensor, place: Tensor, fov: float, size: tuple[int, int]) -> Tensor:
    """How much of each splat is seen in each pixel, one pixel after the other: [h, w, S]."""
    alpha = slow_alphas(splats, rotation, place, fov, size)
    order = ((place - splats.positions) @ rotation[:, 2]).argsort(stable=True)
    weights = torch.zeros_like(alpha)
    for row in range(size[0]):
        for column in range(size[1]):
            through = 1.0
            for splat in order[alpha[row, column, order] > 0].tolist():
                weights[row, column, splat] = through * alpha[row, column, splat]
                through *= 1 - float(alpha[row, column, splat])
    return weights


def dense(look: Strongest, count: int) -> Tensor:
    """Weights of a look as those of all splats: [h, w, S]."""
    whole = torch.zeros(*look.splats.shape[:2], count + 1)
    return whole.scatter_add(-1, torch.where(look.splats < 0, count, look.splats).long(), look.weights)[..., :count]


def test_one_splat_is_a_gaussian_of_the_distance_to_its_middle():
    size, depth, sigma, opacity = (33, 33), 4.0, 0.3, 0.8
    look = seen(of(((0, 0, depth), (sigma,) * 3, opacity)), size)
    offset = (torch.arange(33) - 16) / 16.5
    squared = offset[:, None] ** 2 + offset**2
    distance = depth**2 * squared / (1 + squared) / (sigma**2 * 1.001)
    wanted = opacity * torch.exp(-distance / 2)
    torch.testing.assert_close(look.weights[..., 0], torch.where(wanted >= LEAST_ALPHA, wanted, 0), atol=2e-6, rtol=0)
    assert look.weights[16, 16, 0] == pytest.approx(opacity)
    assert torch.equal(look.splats[..., 0] == 0, look.weights[..., 0] > 0)
    assert (look.splats[..., 1:] == -1).all()
    torch.testing.assert_close(look.opacity, look.weights[..., 0])


def test_centres_of_pixels_lie_at_half_integers():
    look = seen(of(((0, 0, 3), (0.4,) * 3, 0.9)), (32, 32))
    middle = look.opacity[15:17, 15:17]
    assert (middle == middle[0, 0]).all()
    assert torch.equal(look.opacity, look.opacity.flip(0))


def test_the_frame_of_files_has_y_down_and_z_forward():
    look = seen(of(((1.0, 0.5, 2.0), (0.05,) * 3, 0.9)), (40, 40))
    row, column = divmod(int(look.opacity.argmax()), 40)
    assert (row, column) == (25, 30), "lower, and to the right: 20 + 20 * 0.5 / 2 down, 20 + 20 * 1 / 2 across"
    assert not seen(of(((1.0, 0.5, -2.0), (0.05,) * 3, 0.9)), (40, 40)).opacity.any()


@pytest.mark.parametrize(("turn", "way"), [((1, 0, 0, 0), (1, 3)), ((0.5**0.5, 0, 0, 0.5**0.5), (3, 1))])
def test_a_long_splat_lies_along_its_axis(turn, way):
    """By a quarter turn around the way that the camera looks."""
    look = seen(of(((0, 0, 3), (0.6, 0.2, 0.2), 0.9), turns=turn), (41, 41))
    shown = look.opacity > 0.5
    height, width = int(shown.any(dim=1).sum()), int(shown.any(dim=0).sum())
    assert height / width == pytest.approx(way[0] / way[1], rel=0.15)


def test_what_lies_in_front_hides_what_lies_behind():
    far, near = ((0, 0, 4), (0.5,) * 3, 0.9), ((0, 0, 2), (0.25,) * 3, 0.75)
    for splats, order in (((far, near), (1, 0)), ((near, far), (0, 1))):
        look = seen(of(*splats), (9, 9))
        assert look.splats[4, 4].tolist() == [*order, -1, -1]
        assert look.weights[4, 4].tolist() == pytest.approx([0.75, 0.25 * 0.9, 0, 0])
        assert float(look.opacity[4, 4]) == pytest.approx(1 - 0.25 * 0.1)


class TestOracle:
    """The tables against one pixel after the other."""

    SIZE, FOV = (21, 27), math.radians(40)

    @pytest.fixture
    def camera(self) -> tuple[Tensor, Tensor]:
        rotation = looking(0.6, -0.4, 0.3)
        return rotation, rotation[:, 2] * 4.5

    @pytest.fixture
    def splats(self) -> Gaussians:
        """Flat and round ones, one over the whole picture, one that reaches the camera."""
        given = ball(150, seed=4)
        large = torch.tensor([[0.0, 0.0, 0.0], [-2.0, 1.5, 2.5]]), torch.tensor([[3.0, 2.0, 0.1], [0.8, 0.6, 0.9]])
        positions, scales = torch.cat([given.positions, large[0]]), torch.cat([given.scales, large[1]])
        rotations = torch.cat([given.rotations, given.rotations[:2]])
        return gaussians(positions, scales, rotations, torch.cat([given.opacities, torch.tensor([0.3, 0.4])]))

    def test_all_of_them(self, splats, camera):
        look = strongest(footprints(splats, *camera, self.FOV, self.SIZE), self.SIZE, 64)
        wanted = slow_weights(splats, *camera, self.FOV, self.SIZE)
        assert int((wanted > 0).sum(dim=-1).max()) < 64, "none is left out"
        error = (dense(look, len(splats)) - wanted).abs()
        assert float(error.mean()) < 1e-7
        assert float(error.max()) < LEAST_ALPHA, "one may be just there, and just not"
        torch.testing.assert_close(look.opacity.double(), wanted.sum(dim=-1), atol=5e-3, rtol=0)

    def test_the_strongest(self, splats, camera):
        look = strongest(footprints(splats, *camera, self.FOV, self.SIZE), self.SIZE, 5)
        wanted = slow_weights(splats, *camera, self.FOV, self.SIZE)
        torch.testing.assert_close(
            look.weights.sort(dim=-1, descending=True).values.double(), wanted.topk(5).values, atol=5e-3, rtol=0
        )
        depth = -((splats.positions - camera[1]) @ camera[0])[:, 2]
        shown = torch.where(look.splats < 0, torch.inf, depth[look.splats.clamp(min=0).long()])
        assert (shown[..., 1:] >= shown[..., :-1]).all(), "front to back"

    @pytest.mark.parametrize("limits", [{"PAIRS": 40}, {"DEPTH": 7}, {"VALUES": {"cpu": 1}}, {"PAIRS": 1, "DEPTH": 1}])
    def test_however_little_is_computed_at_once(self, splats, camera, limits, monkeypatch):
        given = footprints(splats, *camera, self.FOV, self.SIZE)
        wanted = strongest(given, self.SIZE, 6)
        for name, value in limits.items():
            monkeypatch.setattr(splat_tables, name, value)
        for one, other in zip(strongest(given, self.SIZE, 6), wanted, strict=True):
            torch.testing.assert_close(one, other, atol=1e-4, rtol=0)  # what lies behind all but everything is left out

    def test_the_same_bits_at_every_run(self, splats, camera):
        one, other = (strongest(footprints(splats, *camera, self.FOV, self.SIZE), self.SIZE, 6) for _ in range(2))
        assert all(torch.equal(*pair) for pair in zip(one, other, strict=True))

    def test_cells_are_means_of_their_pixels(self, splats, camera):
        look = strongest(footprints(splats, *camera, self.FOV, (24, 16)), (24, 16), 8)
        cells = pooled(look, 4, 8 * 16)
        fine = dense(look, len(splats)).unflatten(1, (4, 4)).unflatten(0, (6, 4))
        torch.testing.assert_close(dense(cells, len(splats)), fine.mean(dim=(1, 3)), atol=1e-6, rtol=0)
        few = pooled(look, 4, 3)
        torch.testing.assert_close(few.weights, fine.mean(dim=(1, 3)).topk(3).values, atol=1e-6, rtol=0)
        torch.testing.assert_close(few.opacity, look.opacity.unflatten(1, (4, 4)).unflatten(0, (6, 4)).mean(dim=(1, 3)))


def test_splats_of_every_scale_are_seen():
    """Nothing cancels far away, and nothing vanishes where they are small: the same scene in other units."""
    given = ball(300)
    rotation, fov, size = looking(0.4, 0.2), math.radians(40), (32, 32)
    looks = []
    for unit in (1e-5, 1.0, 1e5):
        splats = gaussians(given.positions * unit, given.scales * unit, given.rotations, given.opacities)
        looks.append(strongest(footprints(splats, rotation, rotation[:, 2] * 4 * unit, fov, size), size, 8))
    for look in looks:
        torch.testing.assert_close(look.opacity, looks[1].opacity, atol=1e-5, rtol=0)


def test_disparity_is_along_the_cameras_axis():
    """A plane of splats that faces the camera is one grey."""
    grid = torch.stack(torch.meshgrid(torch.linspace(-2, 2, 15), torch.linspace(-2, 2, 15), indexing="ij"), dim=-1)
    splats = of(*[((float(x), float(y), 2.5), (0.2, 0.2, 0.01), 0.9) for x, y in grid.view(-1, 2)])
    look = seen(splats, (24, 24), 8)
    found = disparity(splats, look, FORWARD, NOWHERE)
    torch.testing.assert_close(found[look.opacity > 0.5], torch.tensor(0.4).expand(int((look.opacity > 0.5).sum())))
    behind = of(((0, 0, -1), (0.1,) * 3, 1.0))
    assert not disparity(behind, seen(behind, (8, 8)), FORWARD, NOWHERE).any()


@pytest.mark.parametrize(
    ("part", "value", "words"),
    [
        (0, torch.zeros(0, 3), "it holds no splats"),
        (0, torch.full((2, 3), math.nan), "its positions hold NaN"),
        (1, torch.full((2, 3), math.inf), "its scales hold NaN or infinite"),
        (1, torch.full((2, 3), -3.0), "its scales go down to -3, .* files store logarithms"),
        (2, torch.zeros(2, 3), r"its rotations must be \[2, 4\], got \[2, 3\]"),
        (3, torch.tensor([-4.0, 2.0]), "its opacities go from -4 to 2, .* files store logits"),
    ],
)
def test_refused(part, value, words):
    given = [torch.zeros(2, 3), torch.ones(2, 3), torch.ones(2, 4), torch.ones(2)]
    given[part] = value
    with pytest.raises(ValueError, match=words):
        gaussians(*given)


def test_flat_splats_and_quaternions_without_a_length_are_seen():
    given = torch.zeros(1, 3), torch.tensor([[0.5, 0.5, 0.0]]), torch.zeros(1, 4), torch.ones(1)
    splats = gaussians(*given)
    look = strongest(footprints(splats, FORWARD, FORWARD[:, 2] * 3, one_camera().fov, (17, 17)), (17, 17), 2)
    assert look.opacity.isfinite().all()
    assert float(look.opacity.max()) > 0.9
