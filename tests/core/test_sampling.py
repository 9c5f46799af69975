"""The loop: what it asks, what it reports, and that batches change nothing."""

import core_toys as toys
import pytest
import torch

from syncdiffusion_core.canvases.window_layout import WindowLayout
from syncdiffusion_core.process import variance_exploding
from syncdiffusion_core.sampling import sample
from syncdiffusion_core.strategies import Synchronisation
from syncdiffusion_core.views.view_set import aggregate

VE = variance_exploding()
SIGMAS = [8.0, 2.0, 0.5, 0.0]
WINDOWS = toys.tiled(WindowLayout(6, 6, 4, 6, wrap_x=True), (6, 14))
ALL = pytest.mark.parametrize("synchronisation", list(Synchronisation))


def start(n=2) -> torch.Tensor:
    return 8.0 * toys.randn(n, 4, 6, 14)


def run(synchronisation=Synchronisation.MULTIDIFFUSION, denoiser=toys.eps_denoiser, canvas=None, **options):
    canvas = start() if canvas is None else canvas
    return sample(denoiser, VE, WINDOWS, canvas, SIGMAS, synchronisation, **options)


@ALL
@pytest.mark.parametrize("batch_size", [2, 3, 16])
def test_batches_of_windows_change_nothing(synchronisation, batch_size):
    fresh = toys.randn(2, 4, 6, 14, seed=1)
    one, got = (run(synchronisation, batch_size=b, eta=0.5, noise=lambda: fresh) for b in (1, batch_size))
    torch.testing.assert_close(got, one, rtol=0, atol=1e-11)


@ALL
def test_sample_k_of_a_batch_is_its_own_run(synchronisation):
    together, canvas = run(synchronisation, canvas=start(3), batch_size=2), start(3)
    for k in range(3):

        def own(x, sigma, rows, k=k):
            return toys.eps_denoiser(x, sigma, toys.Rows((k,) * len(rows.views), rows.views))

        alone = run(synchronisation, own, canvas[[k]])
        torch.testing.assert_close(together[[k]], alone, rtol=0, atol=1e-11)


@ALL
def test_every_step_reports_its_clean_canvas_and_its_state(synchronisation):
    seen = []
    got = run(synchronisation, on_step=lambda *report: seen.append(report))
    assert [(step, sigma) for step, sigma, _, _ in seen] == [(0, 8.0), (1, 2.0), (2, 0.5)]
    assert all(x0.shape == x.shape == got.shape for _, _, x0, x in seen)
    assert torch.equal(seen[-1][3], got)
    # At the last step the state is the clean canvas.
    torch.testing.assert_close(seen[-1][2], got, rtol=0, atol=1e-12)


def test_the_reported_clean_canvas_is_the_mean_of_the_windows():
    seen = []
    canvas = start()
    run(on_step=lambda *report: seen.append(report))
    views = WINDOWS.project(canvas)
    x0 = toys.eps_denoiser(views, 8.0, toys.Rows.grid(2, tuple(range(len(WINDOWS)))))
    torch.testing.assert_close(seen[0][2], aggregate(WINDOWS, x0), rtol=0, atol=1e-12)


def test_an_interruption_passes_through():
    def stop(*report):
        raise InterruptedError

    with pytest.raises(InterruptedError):
        run(on_step=stop)


def test_fresh_noise_has_to_come_from_somewhere():
    with pytest.raises(ValueError, match=r"eta of 0\.5 needs a source of noise; pass noise="):
        run(eta=0.5)


def test_without_eta_no_noise_is_drawn():
    def never():
        raise AssertionError("eta is 0")

    assert torch.equal(run(noise=never), run())


def test_fresh_noise_is_drawn_once_a_step_for_the_whole_canvas():
    drawn = []

    def noise():
        drawn.append(toys.randn(2, 4, 6, 14, seed=len(drawn)))
        return drawn[-1]

    run(eta=1.0, noise=noise)
    assert len(drawn) == len(SIGMAS) - 1


def test_guidance_comes_before_the_model_and_the_model_sees_what_it_moved():
    """Algorithm 1's second pass: the step is taken from the moved windows and their own prediction."""
    moved = []

    def guidance(view_set, views, step, sigma, n_samples, denoiser, process):
        assert (view_set, n_samples, process) == (WINDOWS, 2, VE)
        moved.append((step, sigma, views + 1.0))
        return moved[-1][2], None

    asked = []

    def spy(x, sigma, rows):
        asked.append(x.clone())
        return toys.eps_denoiser(x, sigma, rows)

    run(denoiser=spy, guidance=guidance, batch_size=len(WINDOWS))
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
