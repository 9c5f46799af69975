"""Sequential extrapolation against a loop over slices, and what it promises of order and of kept cells."""

import core_toys as toys
import pytest
import torch

from syncdiffusion_core.canvases.window_layout import WindowLayout
from syncdiffusion_core.canvases.windows import full_canvas
from syncdiffusion_core.extrapolation import Outpainted, extrapolate, visiting_order
from syncdiffusion_core.process import rectified_flow, variance_exploding

SIGMAS = [0.97, 0.6, 0.3, 0.1, 0.0]
FAMILIES = {"ve": (variance_exploding(), toys.eps_denoiser), "flow": (rectified_flow(), toys.flow_denoiser)}
HEIGHT, WIDTH, WINDOW, STRIDE = 4, 14, 6, 4


def windows(wrap: bool = False, width: int = WIDTH):
    return toys.tiled(WindowLayout(WINDOW, HEIGHT, STRIDE, HEIGHT, wrap), (HEIGHT, width))


def nothing_known(n: int = 1) -> torch.Tensor:
    return torch.zeros(n, 1, HEIGHT, WIDTH, dtype=torch.bool)


def run(family="ve", known=None, clean=None, view_set=None, sigmas=SIGMAS, n=1, **options):
    process, denoiser = FAMILIES[family]
    known = nothing_known(n) if known is None else known
    clean = torch.zeros(n, 4, HEIGHT, WIDTH, dtype=torch.float64) if clean is None else clean
    noise = toys.randn(n, 4, HEIGHT, WIDTH)
    start = process.compose(clean, noise, sigmas[0])
    view_set = view_set or windows()
    in_order = view_set.subset(visiting_order(view_set, known))
    return extrapolate(denoiser, process, in_order, Outpainted(start, known, clean, noise), sigmas, **options), start


@pytest.mark.parametrize("family", FAMILIES)
def test_it_is_blending_window_after_window(family):
    """The centre window alone, then its neighbours, each with its known columns renoised at every level."""
    process, denoiser = FAMILIES[family]
    got, start = run(family)
    eps = process.noise_from(start, torch.zeros_like(start), SIGMAS[0])
    clean, known = torch.zeros_like(start), set()
    for view, left in ((1, 4), (0, 0), (2, 8)):
        span = slice(left, left + WINDOW)
        old = torch.tensor([column in known for column in range(left, left + WINDOW)])
        x = start[..., span]
        for sigma, following in zip(SIGMAS[:-1], SIGMAS[1:], strict=True):
            x = torch.where(old, process.compose(clean[..., span], eps[..., span], sigma), x)
            x0 = denoiser(x, sigma, toys.row(view=view))
            x = process.step(x, torch.where(old, clean[..., span], x0), sigma, following)
        clean[..., span] = torch.where(old, clean[..., span], x)
        known |= set(range(left, left + WINDOW))
    torch.testing.assert_close(got, clean, rtol=0, atol=1e-12)


def test_one_window_is_plain_sampling():
    process, denoiser = FAMILIES["ve"]
    whole = full_canvas((HEIGHT, WIDTH))
    got, start = run(view_set=whole)
    wanted = toys.sampled(denoiser, process, whole, start, SIGMAS).canvas
    torch.testing.assert_close(got, wanted, rtol=0, atol=1e-12)


def test_the_centre_comes_first_then_what_is_best_known():
    assert visiting_order(windows(), nothing_known()) == [1, 0, 2]
    known = nothing_known()
    known[..., :5] = True
    assert visiting_order(windows(), known) == [0, 1, 2]
    known[..., 8:] = True
    assert visiting_order(windows(), known) == [0, 1]  # nothing of the last one is left to make
    assert visiting_order(windows(), ~nothing_known()) == []


def test_a_loop_is_closed_by_a_window_that_is_known_at_both_ends():
    wrapped = windows(wrap=True, width=16)
    order = visiting_order(wrapped, torch.zeros(1, 1, HEIGHT, 16, dtype=torch.bool))
    assert sorted(order) == [0, 1, 2, 3]
    assert order[0] == wrapped.reference


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("end", [0.0, 0.1])
def test_what_is_given_is_kept(family, end):
    """Each sample its own part; at the last level the kept cells hold their noise of that level."""
    process, _ = FAMILIES[family]
    known = nothing_known(2)
    known[0, ..., :7], known[1, ..., 5:8] = True, True
    clean = toys.randn(2, 4, HEIGHT, WIDTH, seed=7)
    sigmas = [s for s in SIGMAS if s >= end]
    got, start = run(family, known, clean, sigmas=sigmas, n=2)
    wanted = process.compose(clean, process.noise_from(start, clean, sigmas[0]), end)
    kept = known.expand_as(got)
    torch.testing.assert_close(got[kept], wanted[kept], rtol=0, atol=1e-12)
    assert (got[~kept] - clean[~kept]).abs().min() > 0


def test_samples_do_not_see_each_other():
    known = nothing_known(2)
    known[..., :5] = True
    clean = toys.randn(2, 4, HEIGHT, WIDTH, seed=7)
    process, denoiser = FAMILIES["ve"]
    noise = toys.randn(2, 4, HEIGHT, WIDTH)
    start = process.compose(clean, noise, SIGMAS[0])
    in_order = windows().subset(visiting_order(windows(), known))
    given = Outpainted(start, known, clean, noise)
    both = extrapolate(denoiser, process, in_order, given, SIGMAS)
    one = extrapolate(denoiser, process, in_order, Outpainted(*(part[:1] for part in given)), SIGMAS)
    torch.testing.assert_close(both[:1], one, rtol=0, atol=1e-12)


def test_latents_with_a_time_axis():
    """Each frame as a canvas of its own; what is known counts for all of them."""
    known = nothing_known()
    known[..., :5] = True
    clean, noise = (toys.randn(1, 4, 2, HEIGHT, WIDTH, seed=seed) for seed in (7, 8))
    process = variance_exploding()

    def run_frames(*frames):
        given, eps = (part[(slice(None), slice(None), *frames)] for part in (clean, noise))
        start = process.compose(given, eps, SIGMAS[0])
        where = known if frames else known[:, :, None]
        in_order = windows().subset(visiting_order(windows(), where))
        return extrapolate(
            lambda x, sigma, rows: x / 2, process, in_order, Outpainted(start, where, given, eps), SIGMAS
        )

    torch.testing.assert_close(run_frames(), torch.stack([run_frames(0), run_frames(1)], dim=2), rtol=0, atol=1e-12)


def test_the_canvas_may_live_on_another_device():
    """Torch's meta device refuses tensors of the CPU as a GPU does; only the windows' order needs values."""
    elsewhere = torch.zeros(1, 4, HEIGHT, WIDTH, device="meta")
    known = nothing_known().to("meta")
    in_order = windows().subset(visiting_order(windows(), nothing_known()))
    given = Outpainted(elsewhere, known, elsewhere, elsewhere)
    got = extrapolate(lambda x, sigma, rows: x / 2, variance_exploding(), in_order, given, SIGMAS)
    assert got.device == elsewhere.device


def test_every_step_is_reported():
    seen = []
    run(on_step=lambda done, sigma, x0, x: seen.append((done, sigma, x0.shape, x.shape)))
    canvas = (1, 4, HEIGHT, WIDTH)
    assert [entry[0] for entry in seen] == list(range(1, 13))
    assert [entry[1] for entry in seen] == SIGMAS[:-1] * 3
    assert {entry[2:] for entry in seen} == {(canvas, canvas)}
