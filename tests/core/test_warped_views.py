"""Four faults that crops hide and any warped view shows (VIEWS, 1): noise, the result, holes, two resolutions.

Crops, flips and quarter turns only move cells: a projected noise is noise, projecting twice changes nothing, every
cell is covered, and a fine canvas is a coarse one scaled. Views that mix cells, or see a part, tell.
"""

import math

import pytest
import torch
from canvases.cube import cube_views
from torch import Tensor

from syncdiffusion_core.canvases.images import ImageLook, ImageMap, ImageViews, image_views
from syncdiffusion_core.process import variance_exploding
from syncdiffusion_core.sampling import Ancestral, Method, sample
from syncdiffusion_core.strategies import STRATEGIES, Synchronisation
from syncdiffusion_core.views import relations
from syncdiffusion_core.views.fill import fill
from syncdiffusion_core.views.noise import noise_of
from syncdiffusion_core.views.relations import coverage
from syncdiffusion_core.views.schedule import CellGrid, Still
from syncdiffusion_core.views.view_set import aggregate

TURNED = (ImageLook(), ImageLook(ImageMap.INNER_CIRCLE, angle_deg=45))
SIDE = 32


def turned_views(side: int = SIDE):
    return image_views(TURNED, (side, side), (side, side))


def in_disc(side: int = SIDE) -> Tensor:
    """Cells well inside the turned disc: [side, side]."""
    at = torch.arange(side) - (side - 1) / 2
    return at[:, None].square() + at.square() < (0.7 * side / 2) ** 2


def run(views, noise, denoiser, sigmas=(10.0, 1.0, 0.0), synchronisation=Synchronisation.SYNCTWEEDIES, **options):
    """From this noise of a canvas, of unit variance."""
    state = sigmas[0] * STRATEGIES[synchronisation].start(views, noise)
    return sample(denoiser, variance_exploding(), Still(views), state, sigmas, Method(synchronisation, **options))


# 1. Views start from noise, not from a mean of it.


def test_a_projected_noise_has_lost_variance():
    noise = torch.randn(8, 16, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    views = turned_views()
    assert 0.6 < views.project(noise)[8:][..., in_disc()].std() < 0.75
    assert abs(noise_of(views, noise)[8:][..., in_disc()].std() - 1) < 0.01


def test_views_of_one_canvas_share_its_noise():
    noise = torch.randn(8, 16, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    upright, turned = noise_of(turned_views(), noise).unflatten(0, (2, 8))
    assert torch.equal(upright, noise)
    shared = turned_views().index[1].flatten()
    alike = (turned.flatten(2) * noise.flatten(2)[..., shared]).mean()
    assert alike > 0.8, "most cells take the noise of the nearest; the others, whose nearest is taken, their own"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_cells_of_their_own_have_fresh_noise_at_every_draw(dtype: torch.dtype):
    """Ancestral steps draw on a canvas of which a mask may leave nothing at the corner, in half precision too."""
    views, draws = turned_views().subset([1]), torch.randn(100, 1, 4, SIDE, SIDE).to(dtype)
    draws[..., :4, :4] = 0
    seen = [noise_of(views, draw) for draw in draws]
    shared, own = views.index[0].flatten(), torch.ones(SIDE * SIDE, dtype=torch.bool)
    for cell in shared.unique():
        own[(shared == cell).nonzero()[0]] = False
    alone = torch.stack([view.flatten(2)[..., own].flatten() for view in seen])
    assert own.any()
    assert len(alone.float().unique(dim=0)) == 100


def test_a_run_begins_with_unit_noise():
    """A denoiser that records x at the first step: std of x / sigma within 3 % in every view, ancestral steps too."""

    seen = []

    def denoiser(x, sigma, rows):
        seen.append((x / sigma)[..., in_disc()].std())
        return 0 * x

    noise = torch.randn(1, 64, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    run(turned_views(), noise, denoiser, [100.0, 50.0, 0.0], ancestral=Ancestral(1.0, lambda: noise.flip(-1)))
    assert all(abs(std - 1) < 0.03 for std in seen)


# 2. The result is A(g(x0)); F(x0) would be resampled twice.


def fine_pattern() -> Tensor:
    at = torch.arange(SIDE, dtype=torch.float32)
    return (0.7 * math.pi * at).cos().expand(1, 1, SIDE, SIDE)


def test_projecting_twice_loses_contrast():
    views, pattern = turned_views().subset([1]), fine_pattern()
    once = aggregate(views, views.project(pattern))
    twice = aggregate(views, views.project(once))
    contrast = [float(picture[..., in_disc()].std() / pattern[..., in_disc()].std()) for picture in (once, twice)]
    assert contrast[1] < 0.8 * contrast[0] < 0.8


def test_the_result_is_the_canvas_of_the_last_predictions():
    """A denoiser that knows the picture: the canvas is A(g(x0)), of the contrast that one resampling leaves."""

    views, pattern = turned_views(), fine_pattern()
    known = views.project(pattern)
    noise = torch.randn(1, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    done = run(views, noise, lambda x, sigma, rows: known[list(rows.views)])
    torch.testing.assert_close(done.x0, known)
    torch.testing.assert_close(done.canvas, aggregate(views, known))


# 3. What no view covers is filled, not 0.


def ring():
    """Eight views of 72 degrees around a cube map; nothing above and below."""
    cameras = [(k * math.pi / 4, 0.0) for k in range(8)]
    return cube_views(16, 32, cameras, math.radians(72))


def test_holes_are_filled_from_the_nearest_cell():
    views = ring()
    covered = coverage(views) > 0
    assert 0.2 < covered.float().mean() < 0.7
    canvas = aggregate(views, views.project(2 + torch.rand(1, 3, *views.canvas)))
    assert (canvas[..., ~covered] == 0).all()
    whole = fill(canvas, covered)
    assert torch.equal(whole[..., covered], canvas[..., covered])
    assert whole.min() >= 2
    whole_faces = covered.any(dim=2).any(dim=1)
    assert not whole_faces.all(), "the ring leaves whole faces out, which have no neighbour to be filled from"


def test_fill_literals():
    nan = torch.nan
    canvas = torch.tensor([[[[1.0, nan, nan, nan, 9], [nan, nan, nan, nan, nan]]]])
    assert fill(canvas, canvas[0, 0].isfinite()).tolist() == [[[[1, 1, 1, 9, 9], [1, 1, 1, 9, 9]]]]
    assert fill(torch.tensor([[[0.0, 3, 0]]]), torch.tensor([0, 1, 0])).tolist() == [[[3, 3, 3]]]
    complete, empty = torch.ones(5), torch.zeros(5)
    points = torch.rand(2, 3, 4, 5)
    assert fill(points, complete) is points
    assert fill(points, empty) is points
    planes = torch.tensor([[[[[2.0, 4.0]], [[0.0, 0.0]]]]])
    assert fill(planes, torch.tensor([[[1, 1]], [[0, 0]]])).tolist() == [[[[[2, 4]], [[3, 3]]]]]


def test_fill_takes_the_nearest():
    generator = torch.Generator().manual_seed(0)
    known = torch.rand(13, 17, generator=generator) < 0.05
    filled = fill(torch.arange(13.0 * 17).view(1, 1, 13, 17), known)[0, 0].long()
    row, column = torch.meshgrid(torch.arange(13), torch.arange(17), indexing="ij")
    steps = (filled // 17 - row).abs() + (filled % 17 - column).abs()
    places = known.nonzero()
    least = ((row[..., None] - places[:, 0]).abs() + (column[..., None] - places[:, 1]).abs()).amin(dim=-1)
    assert torch.equal(steps, least)
    assert known.flatten()[filled.flatten()].all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_fill_keeps_the_dtype(dtype: torch.dtype):
    canvas = torch.rand(1, 2, 3, 4, 5).to(dtype)
    assert fill(canvas, torch.rand(4, 5) > 0.5).dtype == dtype


def test_the_result_of_a_run_has_no_holes():
    """A denoiser of a constant picture: the canvas is that constant everywhere, in cells that no view sees too."""

    noise = torch.randn(1, 3, *ring().canvas, generator=torch.Generator().manual_seed(0))
    for synchronisation in Synchronisation:
        done = run(ring(), noise, lambda x, sigma, rows: torch.full_like(x, 0.5), synchronisation=synchronisation)
        torch.testing.assert_close(done.canvas, torch.full_like(done.canvas, 0.5))


def test_overlaps_are_counted_in_parts(monkeypatch: pytest.MonkeyPatch):
    """Textures have millions of cells: views are compared a part of the canvas after another."""
    whole = relations.overlap(ring()), relations.overlap_with(ring().subset([3]), ring())
    monkeypatch.setattr(relations, "PART", 100)
    parts = relations.overlap(ring()), relations.overlap_with(ring().subset([3]), ring())
    for one, other in zip(whole, parts, strict=True):
        assert torch.equal(one, other)


# 4. A canvas has two resolutions, that of latents and that of pictures.


def test_two_resolutions_of_one_canvas():
    """A smooth picture seen in pixels and made small, is the small picture seen in latents, whatever the map."""
    maps = tuple(ImageLook(kind, picture=torch.rand(1, 16, 16)) for kind in ImageMap if kind is not ImageMap.SKEW)
    resolved = ImageViews((256, 256), maps).resolve(None, CellGrid(8))
    y, x = (torch.arange(256) + 0.5).view(-1, 1) / 256, (torch.arange(256) + 0.5) / 256
    picture = ((3 * y).sin() + (4 * x).cos())[None, None]

    def small(picture: Tensor) -> Tensor:
        return torch.nn.functional.avg_pool2d(picture, 8)

    fine, coarse = small(resolved.pixels.every.project(picture)), resolved.latent.every.project(small(picture))
    away = (fine - coarse).abs().flatten(1)
    for look, far in zip(maps, away, strict=True):
        resampled = look.kind in (ImageMap.INNER_CIRCLE, ImageMap.ROTATE, ImageMap.JIGSAW)
        assert (far < 0.02).float().mean() > (0.85 if resampled else 0.999), look.kind.value


def test_the_two_need_not_be_scaled_copies():
    """A tab of a jigsaw is round in pixels and square in latents."""
    spec = ImageViews((256, 256), (ImageLook(ImageMap.JIGSAW),))
    latent, pixels = (schedule.every for schedule in spec.resolve(None, CellGrid(8)))
    assert (latent.canvas, pixels.canvas) == ((32, 32), (256, 256))
    blocks = pixels.index // 256 // 8 * 32 + pixels.index % 256 // 8
    same = blocks == latent.index.repeat_interleave(8, 1).repeat_interleave(8, 2)
    assert 0.8 < same.float().mean() < 1
