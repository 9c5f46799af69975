"""Noise families in closed form, the deterministic and the ancestral step, and the step-size law."""

import math

import core_toys as toys
import pytest
import torch

from syncdiffusion_core.blending import Blend
from syncdiffusion_core.canvases.window_layout import WindowLayout
from syncdiffusion_core.process import rectified_flow, variance_exploding, variance_preserving
from syncdiffusion_core.sampling import Ancestral
from syncdiffusion_core.strategies import Synchronisation

FAMILIES = {
    # process, a(sigma), b(sigma), s^2(sigma): METHODS, section 2
    "VE": (variance_exploding(), lambda s: 1.0, lambda s: s, lambda s: 1 + s * s),
    "EDM": (variance_exploding(0.5), lambda s: 1.0, lambda s: s, lambda s: s * s + 0.25),
    "flow": (rectified_flow(), lambda s: 1 - s, lambda s: s, lambda s: (1 - s) ** 2 + s * s),
    "scaled flow": (rectified_flow(8.0), lambda s: 1 - s, lambda s: 8 * s, lambda s: (1 - s) ** 2 + 64 * s * s),
    "VP": (
        variance_preserving(),
        lambda s: 1 / math.sqrt(1 + s * s),
        lambda s: s / math.sqrt(1 + s * s),
        lambda s: 1.0,
    ),
}
PROCESSES = {name: family[0] for name, family in FAMILIES.items()}
SIGMA, NEXT = 0.7, 0.4


def pair() -> tuple[torch.Tensor, torch.Tensor]:
    return toys.randn(2, 4, 3, 3), toys.randn(2, 4, 3, 3, seed=1)


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("sigma", [0.01, 0.3, 0.9])
def test_scales_by_their_formulas(name, sigma):
    process, a, b, variance = FAMILIES[name]
    assert process.a(sigma) == pytest.approx(a(sigma), rel=1e-15)
    assert process.b(sigma) == pytest.approx(b(sigma), rel=1e-15)
    assert process.state_variance(sigma) == pytest.approx(variance(sigma), rel=1e-14)
    assert process.state_scale(sigma) == pytest.approx(math.sqrt(variance(sigma)), rel=1e-14)


@pytest.mark.parametrize("process", PROCESSES.values(), ids=PROCESSES)
def test_a_state_holds_its_clean_part_and_its_noise(process):
    x0, eps = pair()
    x = process.compose(x0, eps, SIGMA)
    torch.testing.assert_close(x, process.a(SIGMA) * x0 + process.b(SIGMA) * eps)
    torch.testing.assert_close(process.noise_from(x, x0, SIGMA), eps)
    torch.testing.assert_close(process.clean_from(x, eps, SIGMA), x0)


def test_state_scale_is_the_spread_of_a_state():
    process = variance_exploding(0.5)
    x0, eps = 0.5 * toys.randn(200_000), toys.randn(200_000, seed=1)
    assert process.compose(x0, eps, SIGMA).std() == pytest.approx(process.state_scale(SIGMA), rel=0.01)


@pytest.mark.parametrize("process", PROCESSES.values(), ids=PROCESSES)
def test_a_step_keeps_the_noise_and_the_clean_part(process):
    x0, eps = pair()
    got = process.step(process.compose(x0, eps, SIGMA), x0, SIGMA, NEXT)
    torch.testing.assert_close(got, process.compose(x0, eps, NEXT), rtol=0, atol=1e-14)


@pytest.mark.parametrize("process", PROCESSES.values(), ids=PROCESSES)
def test_the_step_to_zero_is_the_clean_prediction_to_the_bit(process):
    x0, x = (t.float() for t in pair())
    assert torch.equal(process.step(x, x0, SIGMA, 0.0), x0)


def test_the_step_is_ddim_in_the_papers_notation():
    """x' = sqrt(ab') x0 + sqrt(1 - ab') eps with x0 by Tweedie (Eq. 10), mapped into VE by x / sqrt(ab)."""
    ab, ab_next = 1 / (1 + SIGMA**2), 1 / (1 + NEXT**2)
    x_vp, eps = pair()
    x0 = (x_vp - math.sqrt(1 - ab) * eps) / math.sqrt(ab)
    ddim = math.sqrt(ab_next) * x0 + math.sqrt(1 - ab_next) * eps
    ve = variance_exploding().step(x_vp / math.sqrt(ab), x0, SIGMA, NEXT)
    torch.testing.assert_close(ve * math.sqrt(ab_next), ddim, rtol=0, atol=1e-14)
    torch.testing.assert_close(variance_preserving().step(x_vp, x0, SIGMA, NEXT), ddim, rtol=0, atol=1e-14)


def test_the_step_is_euler():
    x, x0 = pair()
    ve = x + (NEXT - SIGMA) * (x - x0) / SIGMA
    torch.testing.assert_close(variance_exploding().step(x, x0, SIGMA, NEXT), ve, rtol=0, atol=1e-14)
    velocity = (x - x0) / SIGMA
    flow = x + (NEXT - SIGMA) * velocity
    torch.testing.assert_close(rectified_flow().step(x, x0, SIGMA, NEXT), flow, rtol=0, atol=1e-14)


def test_flow_starts_from_pure_noise():
    x, velocity = pair()
    got = rectified_flow().step(x, x - velocity, 1.0, 0.8)
    torch.testing.assert_close(got, x - 0.2 * velocity, rtol=0, atol=1e-14)


@pytest.mark.parametrize("process", PROCESSES.values(), ids=PROCESSES)
@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
def test_the_ancestral_split_keeps_the_noise_level(process, eta):
    down, up = process.ancestral_split(SIGMA, NEXT, eta)
    assert down >= 0
    assert up >= 0
    assert down**2 + up**2 == pytest.approx((process.b(NEXT) / process.a(NEXT)) ** 2, rel=1e-12)


@pytest.mark.parametrize("process", PROCESSES.values(), ids=PROCESSES)
def test_without_eta_the_ancestral_step_is_the_step(process):
    x, x0 = pair()
    got = process.ancestral_step(x, x0, SIGMA, NEXT, toys.randn(2, 4, 3, 3, seed=2), 0.0)
    torch.testing.assert_close(got, process.step(x, x0, SIGMA, NEXT), rtol=0, atol=1e-14)


def test_the_ancestral_split_is_karras_in_ve():
    up = min(NEXT, 0.8 * math.sqrt(NEXT**2 * (SIGMA**2 - NEXT**2) / SIGMA**2))
    expected = math.sqrt(NEXT**2 - up**2), up
    assert variance_exploding().ancestral_split(SIGMA, NEXT, 0.8) == pytest.approx(expected, rel=1e-14)


def test_full_ancestral_noise_is_ddpm_in_vp():
    """The posterior variance of DDPM (Ho et al. 2020, Eq. 7)."""
    ab, ab_next = 1 / (1 + SIGMA**2), 1 / (1 + NEXT**2)
    process = variance_preserving()
    _, up = process.ancestral_split(SIGMA, NEXT, 1.0)
    assert (process.a(NEXT) * up) ** 2 == pytest.approx((1 - ab_next) / (1 - ab) * (1 - ab / ab_next), rel=1e-12)


def test_families_split_alike_at_the_same_signal_to_noise():
    flow = rectified_flow().ancestral_split(SIGMA, NEXT, 0.6)
    ve = variance_exploding().ancestral_split(SIGMA / (1 - SIGMA), NEXT / (1 - NEXT), 0.6)
    assert flow == pytest.approx(ve, rel=1e-12)


def test_from_pure_noise_all_noise_is_fresh():
    process = rectified_flow()
    x, x0 = pair()
    fresh = toys.randn(2, 4, 3, 3, seed=2)
    assert process.ancestral_split(1.0, 0.8, 1.0) == pytest.approx((0.0, 4.0))
    got = process.ancestral_step(x, x0, 1.0, 0.8, fresh, 1.0)
    torch.testing.assert_close(got, process.compose(x0, fresh, 0.8), rtol=0, atol=1e-14)


@pytest.mark.parametrize("process", PROCESSES.values(), ids=PROCESSES)
def test_the_last_ancestral_step_adds_no_noise(process):
    x, x0 = pair()
    got = process.ancestral_step(x, x0, SIGMA, 0.0, toys.randn(2, 4, 3, 3, seed=2), 1.0)
    torch.testing.assert_close(got, x0, rtol=0, atol=1e-14)


@pytest.mark.parametrize("process", PROCESSES.values(), ids=PROCESSES)
def test_a_state_without_noise_is_refused(process):
    x, x0 = pair()
    for call in (lambda: process.step(x, x0, 0.0, 0.0), lambda: process.noise_from(x, x0, 0.0)):
        with pytest.raises(ValueError, match=r"b\(0\) is 0"):
            call()


def test_a_state_without_signal_has_no_clean_part():
    x, eps = pair()
    with pytest.raises(ValueError, match="at sigma 1, .* choose a strategy"):
        rectified_flow().clean_from(x, eps, 1.0)


# The step-size law: one move, whatever the notation.


def guided(denoiser, process, x, sigma, weight=5000.0):
    guidance = toys.guided([weight], decode=toys.smooth_decode)
    return guidance(toys.moment(toys.side_by_side(x.shape[0], x.shape[-1]), x, sigma, denoiser, process)).x


def in_vp(x, sigma, rows):
    """The EPS toy for a state in the papers' notation."""
    return toys.eps_denoiser(x * math.sqrt(1 + sigma**2), sigma, rows)


@pytest.mark.parametrize("sigma", [0.03, 1.0, 13.1])
def test_the_vp_move_and_the_ve_move_are_the_same(sigma):
    scale = math.sqrt(1 + sigma**2)
    views = toys.randn(3, 4, 6, 6)
    vp = guided(in_vp, variance_preserving(), views, sigma)
    ve = guided(toys.eps_denoiser, variance_exploding(), views * scale, sigma)
    assert toys.report_difference(vp, views) > 1e-3
    torch.testing.assert_close(ve / scale, vp, rtol=0, atol=1e-12)


@pytest.mark.parametrize("sigma", [0.05, 0.5, 0.95])
def test_the_flow_move_and_the_vp_move_are_the_same(sigma):
    """x_flow = (1 - sigma) x_VE at sigma_VE = sigma / (1 - sigma)."""
    ratio = sigma / (1 - sigma)
    scale = rectified_flow().state_scale(sigma)

    def in_flow(x, s, rows):
        return toys.eps_denoiser(x / (1 - s), s / (1 - s), rows)

    views = toys.randn(3, 4, 6, 6)
    vp = guided(in_vp, variance_preserving(), views, ratio)
    flow = guided(in_flow, rectified_flow(), views * scale, sigma)
    torch.testing.assert_close(flow / scale, vp, rtol=0, atol=1e-12)


def test_at_the_first_step_the_law_is_a_factor_of_170():
    ab = toys.alphas_cumprod()[981]
    sigma = math.sqrt((1 - ab) / ab)
    assert variance_exploding().state_variance(sigma) == pytest.approx(173, abs=0.5)
    assert variance_exploding().state_variance(0.0292) == pytest.approx(1, abs=1e-3)
    views = toys.randn(3, 4, 6, 6) * math.sqrt(1 + sigma**2)
    moved = guided(toys.eps_denoiser, variance_exploding(), views, sigma) - views
    leaf = views.clone().requires_grad_(True)
    rows = toys.Rows.grid(1, (0, 1, 2))
    images = toys.smooth_decode(toys.eps_denoiser(leaf, sigma, rows))
    loss = toys.loss_of(images[[0, 2]], images[[1, 1]].detach()).sum()
    (gradient,) = torch.autograd.grad(loss, leaf)
    ratio = moved[0] / (-5000.0 * 36 / 4096 * gradient[0])
    torch.testing.assert_close(ratio, torch.full_like(ratio, 1 / ab), rtol=1e-9, atol=0)


def test_a_guided_run_is_the_same_in_vp_and_ve():
    sigmas = [13.1, 3.0, 1.0, 0.3, 0.03]
    windows = toys.tiled(WindowLayout(6, 6, 3, 6), (6, 15))
    noise = toys.randn(2, 4, 6, 15)

    def run(denoiser, process, start):
        guidance = toys.guided([5000.0] * 4, decode=toys.smooth_decode)
        return toys.sampled(denoiser, process, windows, start, sigmas, guidance=guidance).canvas

    vp = run(in_vp, variance_preserving(), noise)
    ve = run(toys.eps_denoiser, variance_exploding(), noise * math.sqrt(1 + 13.1**2))
    torch.testing.assert_close(ve / math.sqrt(1 + 0.03**2), vp, rtol=0, atol=1e-9)


# Ancestral noise where windows overlap.

PRIOR = 0.8  # standard deviation of the clean latent
STEPS = [20 * (0.02 / 20) ** (k / 100) for k in range(100)] + [0.0]


def white_denoiser(process):
    """The exact posterior mean under x0 ~ N(0, PRIOR^2)."""

    def denoise(x, sigma, rows):
        a, b = process.a(sigma), process.b(sigma)
        return a * PRIOR**2 / (a * a * PRIOR**2 + b * b) * x

    return denoise


def expected_variance(process, sigmas, eta: float) -> float:
    """The recursion of one cell that is sampled alone."""
    variance = process.state_scale(sigmas[0]) ** 2
    for sigma, following in zip(sigmas[:-1], sigmas[1:], strict=True):
        gain = float(white_denoiser(process)(torch.ones(1, dtype=torch.float64), sigma, None))
        down, up = process.ancestral_split(sigma, following, eta)
        kept = process.a(following) * (gain + down * (1 - process.a(sigma) * gain) / process.b(sigma))
        variance = kept**2 * variance + (process.a(following) * up) ** 2
    return variance


def column_variance(canvas: torch.Tensor) -> torch.Tensor:
    return canvas.var(dim=(0, 1, 2))


FLOW_STEPS = [s / (1 + s) for s in STEPS]


@pytest.mark.parametrize(
    ("family", "blend"), [("VE", Blend.UNIFORM), ("VE", Blend.FEATHERED), ("flow", Blend.GAUSSIAN)]
)
def test_the_overlap_keeps_the_priors_variance_under_ancestral_noise(family, blend):
    process, sigmas = PROCESSES[family], STEPS if family == "VE" else FLOW_STEPS
    windows = toys.tiled(WindowLayout(8, 4, 4, 4, blend=blend), (4, 24))
    generator = torch.Generator().manual_seed(3)

    def noise():
        return torch.randn(128, 4, 4, 24, generator=generator)

    start = process.state_scale(sigmas[0]) * noise()
    options = {"ancestral": Ancestral(1.0, noise), "batches": 99}
    canvas = toys.sampled(white_denoiser(process), process, windows, start, sigmas, **options).canvas
    alone = expected_variance(process, sigmas, 1.0)
    assert alone == pytest.approx(PRIOR**2, rel=0.1)  # what the discretisation leaves of it
    variance = column_variance(canvas)
    assert (variance / alone - 1).abs().max() < 0.12  # 2048 draws a column
    assert variance.mean() == pytest.approx(alone, rel=0.03)


def test_windows_that_draw_their_own_noise_lose_variance_in_the_overlap():
    process = variance_exploding()
    windows = toys.tiled(WindowLayout(8, 4, 4, 4), (4, 24))
    generator = torch.Generator().manual_seed(3)
    canvas = process.state_scale(STEPS[0]) * torch.randn(128, 4, 4, 24, generator=generator)
    for sigma, following in zip(STEPS[:-1], STEPS[1:], strict=True):
        x = windows.project(canvas)
        own = torch.randn(x.shape, generator=generator)
        x = process.ancestral_step(x, white_denoiser(process)(x, sigma, None), sigma, following, own, 1.0)
        total, weight = windows.unproject(x)
        canvas = total / weight
    variance = column_variance(canvas)
    assert variance[[0, 3, 20, 23]].min() > 0.85 * PRIOR**2
    assert variance[4:20].max() < 0.6 * PRIOR**2


@pytest.mark.parametrize("synchronisation", list(Synchronisation))
def test_all_strategies_see_one_noise(synchronisation):
    windows = toys.tiled(WindowLayout(6, 6, 4, 4, wrap_x=True), (10, 14))
    start, fresh = 14.6 * toys.randn(2, 4, 10, 14), toys.randn(2, 4, 10, 14, seed=1)

    def run(synchronisation):
        sigmas, ancestral = [14.6, 3.0, 1.0, 0.2, 0.0], Ancestral(0.7, lambda: fresh)
        options = {"synchronisation": synchronisation, "ancestral": ancestral}
        return toys.sampled(toys.eps_denoiser, variance_exploding(), windows, start, sigmas, **options).canvas

    torch.testing.assert_close(run(synchronisation), run(Synchronisation.MULTIDIFFUSION), rtol=0, atol=1e-10)
