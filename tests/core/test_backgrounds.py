"""Views of which a part shows nothing of the canvas, as beside an object: that part is its own in a run and a loss."""

from dataclasses import replace

import core_toys as toys
import pytest
import torch
import torch.nn.functional as F

from syncdiffusion_core.agreement import LATENTS, LatentAgreement, PictureAgreement
from syncdiffusion_core.batching import WindowBatches
from syncdiffusion_core.guidance.loss import PerceptualLoss
from syncdiffusion_core.guidance.targets import ReferenceView
from syncdiffusion_core.process import variance_exploding
from syncdiffusion_core.sampling import Method, sample
from syncdiffusion_core.strategies import Synchronisation
from syncdiffusion_core.views.schedule import Still
from syncdiffusion_core.views.tables import IndexedViews
from syncdiffusion_core.views.view_set import aggregate

SIDE, CANVAS, N = 4, (4, 5), 2
SHOWN = torch.tensor([[True, True, True, False], [False, True, True, True]])
"""Columns of two views that show the canvas: they share the middle one of its five."""


def views(scale: int = 1) -> IndexedViews:
    """Each cell as so many pixels; view 0 begins at column 0 of the canvas, view 1 at column 1."""
    cells = torch.arange(CANVAS[0] * CANVAS[1] * scale**2).view(CANVAS[0] * scale, CANVAS[1] * scale)
    index = torch.stack([cells[:, first * scale : (first + SIDE) * scale] for first in (0, 1)])
    shown = SHOWN.repeat_interleave(scale, dim=1)[:, None].expand_as(index)
    return IndexedViews(torch.where(shown, index, -1), cells.shape)


def shown() -> torch.Tensor:
    """[V*N, 1, h, w]."""
    return SHOWN[:, None, None].expand(-1, 1, SIDE, -1).repeat_interleave(N, dim=0)


def predictions(*lead: int, seed: int = 0) -> torch.Tensor:
    return toys.randn(2 * N, *(lead or (3,)), SIDE, SIDE, seed=seed) / 4


def blurred(picture: torch.Tensor) -> torch.Tensor:
    """Latents of pictures of two pixels a cell, by an encoder that looks at the cells around."""
    return F.avg_pool2d(F.avg_pool2d(2 * picture - 1, 3, stride=1, padding=1, count_include_pad=False), 2)


def doubled(x0: torch.Tensor) -> torch.Tensor:
    return (F.interpolate(x0, scale_factor=2) + 1) / 2


def in_pictures(size: int = 1, **other) -> PictureAgreement:
    return PictureAgreement(doubled, blurred, views(2), WindowBatches(size), **other)


@pytest.mark.parametrize("lead", [(3,), (3, 2)], ids=["pictures", "frames"])
def test_latents_agree_where_they_show_the_canvas(lead):
    x = predictions(*lead)
    got, seen = LATENTS.views(views(), x), shown().reshape(2 * N, *[1] * len(lead), SIDE, SIDE)
    wanted = views().project(aggregate(views(), x))
    assert torch.equal(got, torch.where(seen, wanted, x))
    assert not torch.equal(got, x)


@pytest.mark.parametrize("size", [1, 2])
def test_an_encoder_sees_the_views_own_background(size):
    """Not the colour of nothing, which would run into the object."""
    x, kept = predictions(), in_pictures(size, residual=False)
    pictures = doubled(x)
    agreed = views(2).project(aggregate(views(2), 2 * pictures - 1)) / 2 + 0.5
    pixels = shown().repeat_interleave(2, dim=-1).repeat_interleave(2, dim=-2)
    wanted = torch.where(shown(), blurred(torch.where(pixels, agreed, pictures)), x)
    torch.testing.assert_close(kept.views(views(), x), wanted, atol=1e-3, rtol=0)  # it is kept in half precision
    on_grey = torch.where(shown(), blurred(torch.where(pixels, agreed, 0.5)), x)
    assert (on_grey - wanted).abs().max() > 0.01


def test_what_is_lost_is_averaged_where_it_is_seen():
    x = predictions()
    plain, whole = in_pictures(residual=False).views(views(), x), in_pictures().views(views(), x)
    lost = x - blurred(doubled(x))
    rest = views().project(aggregate(views(), lost))
    torch.testing.assert_close(whole, plain + rest, atol=1e-6, rtol=0)
    assert torch.equal(torch.where(shown(), 0, whole), torch.where(shown(), 0, x))


def test_the_last_canvas_has_its_own_weights():
    x, pixels = predictions(), views(2)
    first = torch.where(torch.arange(2)[:, None, None] == 0, 1.0, 1e-9).expand(2, 2 * SIDE, 2 * SIDE)
    last = IndexedViews(pixels.index, pixels.canvas, weight=first)
    kept = in_pictures(last=last)
    assert torch.equal(kept.views(views(), x), in_pictures().views(views(), x))
    for made in (kept.canvas(views(), x), kept.result(views(), x)):
        torch.testing.assert_close(made[..., :6], 2 * doubled(x[:N])[..., :6] - 1, atol=1e-6, rtol=0)
    assert not torch.equal(kept.result(views(), x), replace(kept, last=None).result(views(), x))
    fine = doubled(x)  # a model that paints pixels has no others
    got = LatentAgreement(last).result(pixels, fine)[..., :6]
    torch.testing.assert_close(got, fine[:N, ..., :6], atol=1e-6, rtol=0)


@pytest.mark.parametrize("synchronisation", [Synchronisation.SYNCTWEEDIES, Synchronisation.VIEW_NOISE])
def test_a_background_goes_its_own_way(synchronisation):
    """With a model that looks at each cell alone, as if no other view were there."""
    sigmas, state = [2.0, 1.0, 0.5, 0.0], 2 * predictions(seed=3)

    def denoiser(x, sigma, rows):
        return x / (1 + sigma**2) + 0.1

    def run(seen, state):
        return sample(denoiser, variance_exploding(), Still(seen), state, sigmas, Method(synchronisation)).views

    alone = torch.cat([run(views().subset([k]), state[k * N : (k + 1) * N]) for k in range(2)])
    got = run(views(), state)
    seen = shown().expand_as(got)
    torch.testing.assert_close(got[~seen], alone[~seen])
    assert not torch.allclose(got[seen], alone[seen])


class TestLoss:
    """Guidance looks at the object."""

    def slopes(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(of view 1 against view 0, loss of each) for clean predictions [V*N, 3, h, w], decoded cell by cell."""
        loss = PerceptualLoss(doubled, toys.ToyDistance(), ReferenceView(0))
        moment = toys.moment(views(), x, 0.5)
        return loss.slopes(moment, x.unflatten(0, (2, N)), [0, 1], [1])

    def test_what_lies_beside_it_does_not_matter(self):
        x = predictions()
        slope, losses = self.slopes(x)
        seen = shown()[N:].expand_as(slope[1])
        assert slope[1][seen].any()
        assert not slope[1][~seen].any()
        other = torch.where(shown(), x, 0.3 * toys.randn(*x.shape, seed=8))
        for one, changed in zip((slope, losses), self.slopes(other), strict=True):
            torch.testing.assert_close(one, changed)

    def test_an_outline_is_no_difference(self):
        """Views of one colour, of which each shows another part."""
        colour = toys.randn(1, 3, 1, 1, seed=5).expand(2 * N, 3, SIDE, SIDE) / 4
        _, losses = self.slopes(torch.where(shown(), colour, predictions()))
        torch.testing.assert_close(losses, torch.zeros_like(losses), atol=1e-12, rtol=0)
