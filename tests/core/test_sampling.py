"""The loop: what it asks, what it reports, and that batches change nothing."""

import core_toys as toys
import pytest
import torch

from syncdiffusion_core.agreement import LATENTS
from syncdiffusion_core.canvases.window_layout import WindowLayout
from syncdiffusion_core.canvases.windows import Windows
from syncdiffusion_core.guidance.perceptual import Moved
from syncdiffusion_core.process import variance_exploding
from syncdiffusion_core.sampling import Ancestral, Method, sample
from syncdiffusion_core.strategies import STRATEGIES, Synchronisation
from syncdiffusion_core.views.schedule import Still
from syncdiffusion_core.views.view_set import Sums, aggregate

VE = variance_exploding()
SIGMAS = [8.0, 2.0, 0.5, 0.0]
WINDOWS = toys.tiled(WindowLayout(6, 6, 4, 6, wrap_x=True), (6, 14))
ALL = pytest.mark.parametrize("synchronisation", list(Synchronisation))


def start(n=2) -> torch.Tensor:
    return 8.0 * toys.randn(n, 4, 6, 14)


def run(synchronisation=Synchronisation.MULTIDIFFUSION, denoiser=toys.eps_denoiser, canvas=None, **options):
    canvas = start() if canvas is None else canvas
    return toys.sampled(denoiser, VE, WINDOWS, canvas, SIGMAS, synchronisation, **options).canvas


@ALL
@pytest.mark.parametrize("batch_size", [2, 3, 16])
def test_batches_of_windows_change_nothing(synchronisation, batch_size):
    fresh = toys.randn(2, 4, 6, 14, seed=1)
    one, got = (run(synchronisation, batches=b, ancestral=Ancestral(0.5, lambda: fresh)) for b in (1, batch_size))
    torch.testing.assert_close(got, one, rtol=0, atol=1e-11)


@ALL
def test_sample_k_of_a_batch_is_its_own_run(synchronisation):
    together, canvas = run(synchronisation, canvas=start(3), batches=2), start(3)
    for k in range(3):

        def own(x, sigma, rows, k=k):
            return toys.eps_denoiser(x, sigma, toys.Rows((k,) * len(rows.views), rows.views))

        alone = run(synchronisation, own, canvas[[k]])
        torch.testing.assert_close(together[[k]], alone, rtol=0, atol=1e-11)


@ALL
def test_every_step_reports_its_clean_views_and_its_state(synchronisation):
    seen, on_canvas = [], STRATEGIES[synchronisation].on_canvas
    got = run(synchronisation, on_step=lambda *report: seen.append(report))
    assert [(moment.step, moment.sigma) for moment, _, _ in seen] == [(0, 8.0), (1, 2.0), (2, 0.5)]
    assert all(x0.shape == moment.x.shape == (2 * len(WINDOWS), *got.shape[1:-1], 6) for moment, x0, _ in seen)
    assert all(state.shape == (got.shape if on_canvas else moment.x.shape) for moment, _, state in seen)
    state = seen[-1][2] if on_canvas else aggregate(WINDOWS, seen[-1][2])
    # At the last step the state is the clean canvas.
    torch.testing.assert_close(aggregate(WINDOWS, seen[-1][1]), got, rtol=0, atol=1e-12)
    torch.testing.assert_close(state, got, rtol=0, atol=0 if on_canvas else 1e-12)


def test_the_reported_clean_views_are_the_models():
    seen = []
    canvas = start()
    run(on_step=lambda *report: seen.append(report))
    views = WINDOWS.project(canvas)
    x0 = toys.eps_denoiser(views, 8.0, toys.Rows.grid(2, tuple(range(len(WINDOWS)))))
    torch.testing.assert_close(seen[0][1], x0, rtol=0, atol=1e-12)


def test_an_interruption_passes_through():
    def stop(*report):
        raise InterruptedError

    with pytest.raises(InterruptedError):
        run(on_step=stop)


def test_without_eta_no_noise_is_drawn():
    def never():
        raise AssertionError("eta is 0")

    assert torch.equal(run(ancestral=Ancestral(0.0, never)), run())


def test_fresh_noise_is_drawn_once_a_step_for_the_whole_canvas():
    drawn = []

    def noise():
        drawn.append(toys.randn(2, 4, 6, 14, seed=len(drawn)))
        return drawn[-1]

    run(ancestral=Ancestral(1.0, noise))
    assert len(drawn) == len(SIGMAS) - 1


def test_guidance_comes_before_the_model_and_the_model_sees_what_it_moved():
    """Algorithm 1's second pass: the step is taken from the moved windows and their own prediction."""
    moved = []

    def guidance(moment):
        assert (moment.views, moment.n_samples, moment.process, moment.denoiser) == (WINDOWS, 2, VE, spy)
        moved.append((moment.step, moment.sigma, moment.x + 1.0))
        return Moved(moved[-1][2])

    asked = []

    def spy(x, sigma, rows):
        asked.append(x.clone())
        return toys.eps_denoiser(x, sigma, rows)

    run(denoiser=spy, guidance=guidance, batches=len(WINDOWS))
    assert [(step, sigma) for step, sigma, _ in moved] == [(0, 8.0), (1, 2.0), (2, 0.5)]
    for (_, _, views), x in zip(moved, asked, strict=True):
        assert torch.equal(views, x)


def test_the_start_is_left_alone():
    canvas = start()
    before = canvas.clone()
    run(canvas=canvas)
    assert torch.equal(canvas, before)


def test_nothing_holds_a_graph():
    canvas = start().requires_grad_(True)
    assert not run(canvas=canvas).requires_grad


# What the loop returns.


@ALL
def test_a_guidance_that_knows_the_clean_predictions_saves_the_second_pass(synchronisation):
    """The step is made with what guidance hands on, and the model is asked by guidance alone."""
    asked = []

    def spy(x, sigma, rows):
        asked.append(sigma)
        return toys.eps_denoiser(x, sigma, rows)

    def handing_on(moment):
        return Moved(moment.x + 0.1, moment.predict(len(WINDOWS)))

    got = run(synchronisation, spy, guidance=handing_on, batches=len(WINDOWS))
    assert asked == SIGMAS[:-1]
    # The same by a model that knows where it was before the move.
    wanted = run(
        synchronisation,
        lambda x, sigma, rows: toys.eps_denoiser(x - 0.1, sigma, rows),
        guidance=lambda moment: Moved(moment.x + 0.1),
    )
    torch.testing.assert_close(got, wanted, rtol=0, atol=1e-11)


@ALL
@pytest.mark.parametrize("end", [0.0, 0.3])
def test_what_no_window_sees_is_filled(synchronisation, end):
    """From the nearest cell; one between two is one of them."""
    windows = Windows((6, 15), (6, 6), ((0, 0), (0, 9)))  # columns 6, 7 and 8 are nobody's
    canvas = 8.0 * toys.randn(2, 4, 6, 15)
    got = toys.sampled(toys.eps_denoiser, VE, windows, canvas, [8.0, 2.0, end], synchronisation)
    alone = toys.sampled(toys.eps_denoiser, VE, windows.subset([0]), canvas, [8.0, 2.0, end], synchronisation)
    torch.testing.assert_close(got.canvas[..., :6], alone.canvas[..., :6], rtol=0, atol=1e-12)
    assert torch.equal(got.canvas[..., 6], got.canvas[..., 5])
    assert torch.equal(got.canvas[..., 8], got.canvas[..., 9])
    assert any(torch.equal(got.canvas[..., 7], got.canvas[..., near]) for near in (5, 9))
    torch.testing.assert_close(got.views, windows.project(got.canvas), rtol=0, atol=1e-12)


@ALL
def test_what_a_run_returns_is_of_its_last_step(synchronisation):
    seen = []
    options = {"on_step": lambda *report: seen.append(report)}
    got = toys.sampled(toys.eps_denoiser, VE, WINDOWS, start(), SIGMAS, synchronisation, **options)
    _, x0, state = seen[-1]
    assert torch.equal(got.x0, x0)
    strategy = STRATEGIES[synchronisation]
    assert torch.equal(got.views, WINDOWS.project(state) if strategy.on_canvas else state)
    if synchronisation is Synchronisation.SYNCTWEEDIES:
        assert torch.equal(got.canvas, aggregate(WINDOWS, x0))


class Smeared:
    """Views of a row of cells, each cell the mean of itself and its right neighbour: whoever projects twice blurs."""

    names, canvas, view, index = (0, 1), (1, 8), (1, 8), None

    def __len__(self):
        return len(self.names)

    def project(self, canvas):
        return torch.cat([canvas, (canvas + canvas.roll(-1, -1)) / 2])

    def unproject(self, views):
        one, other = views.unflatten(0, (2, -1))
        return Sums(one + (other + other.roll(1, -1)) / 2, torch.full((1, 1, *self.canvas), 2.0).to(views))


@pytest.mark.parametrize("end", [0.0, 0.5])
def test_the_clean_canvas_is_made_of_what_the_model_said_not_of_what_the_views_agreed_on(end):
    """A(g(x0)) at the last level without noise, not A(g(F(x0))); with noise left it is the state that counts."""
    views, sigmas, state = Smeared(), [4.0, 1.0, end], 4.0 * toys.randn(4, 4, 1, 8)
    got = sample(toys.eps_denoiser, VE, Still(views), state, sigmas, Method(Synchronisation.SYNCTWEEDIES))
    agreed = LATENTS.views(views, got.x0)
    if end == 0:
        torch.testing.assert_close(got.views, agreed, rtol=0, atol=1e-12)
        assert torch.equal(got.canvas, aggregate(views, got.x0))
        assert toys.report_difference(got.canvas, aggregate(views, agreed)) > 1e-2
    else:
        assert torch.equal(got.canvas, aggregate(views, got.views))
        assert toys.report_difference(got.canvas, aggregate(views, got.x0)) > 1e-2


def test_means_of_noise_end_at_their_own_clean_views():
    """x - sigma F(eps), not what the model said: the mean of noise is what the strategy is about."""
    views, sigmas, state = Smeared(), [4.0, 1.0, 0.0], 4.0 * toys.randn(4, 4, 1, 8)
    got = sample(toys.eps_denoiser, VE, Still(views), state, sigmas, Method(Synchronisation.VIEW_NOISE))
    assert torch.equal(got.canvas, aggregate(views, got.views))
    assert toys.report_difference(got.canvas, aggregate(views, got.x0)) > 1e-2


def test_a_run_of_no_steps_is_its_start():
    assert torch.equal(toys.sampled(toys.eps_denoiser, VE, WINDOWS, start(), [8.0]).canvas, start())
