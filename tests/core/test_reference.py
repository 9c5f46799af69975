"""The oracle against a straight-line transcription of Algorithm 1 (METHODS, section 1), written apart from it."""

import math

import core_toys as toys
import numpy as np
import pytest
import torch

from syncdiffusion_core import reference
from syncdiffusion_core.canvases.windows import Windows
from syncdiffusion_core.guidance.loss import PerceptualLoss
from syncdiffusion_core.guidance.targets import ReferenceView
from syncdiffusion_core.process import rectified_flow
from syncdiffusion_core.schedule import Clock, GuidanceSchedule

CANVAS, WINDOW, STRIDE = (6, 17), (6, 6), (6, 3)
WEIGHT = 20_000.0  # windows of 36 cells: 176 in the units of a 64 x 64 window


def official_ab(steps: int) -> list[float]:
    """ab at t = 981, 961 … 1 (for 50 steps), then the last "previous" one, ab_0."""
    ab = toys.alphas_cumprod()
    return [ab[t] for t in range(1, 1000, 1000 // steps)][::-1] + [ab[0]]


def eps_of(network: str, x: torch.Tensor, ab: float, rows) -> torch.Tensor:
    if network == "eps":
        return toys.eps_net(x, ab, rows)
    return math.sqrt(ab) * toys.v_net(x, ab, rows) + math.sqrt(1 - ab) * x


def algorithm_1(network, noise, ab, origins, window, weight, decay, every, thres):
    """VP notation, one sample, one window at a time; returns the VP canvas at the last ab."""
    z = noise.clone()
    anchor = len(origins) // 2
    for i, (now, previous) in enumerate(zip(ab[:-1], ab[1:], strict=True)):
        guided = (i + 1) % every == 0 and i < thres

        def tweedie(x, view, now=now):
            return (x - math.sqrt(1 - now) * eps_of(network, x, now, toys.row(view=view))) / math.sqrt(now)

        anchor_image = toys.clamped_decode(tweedie(toys.crop(z, origins[anchor], window), anchor)) if guided else None
        value, count = torch.zeros_like(z), torch.zeros_like(z)
        for view, origin in enumerate(origins):
            x = toys.crop(z, origin, window)
            if guided and view != anchor:
                x.requires_grad_(True)
                loss = toys.loss_of(toys.clamped_decode(tweedie(x, view)), anchor_image)
                (gradient,) = torch.autograd.grad(loss.sum(), x)
                x = x.detach() - weight * decay**i * gradient * window[0] * window[1] / 4096
            eps = eps_of(network, x, now, toys.row(view=view))
            x0 = (x - math.sqrt(1 - now) * eps) / math.sqrt(now)
            toys.paste(value, origin, math.sqrt(previous) * x0 + math.sqrt(1 - previous) * eps)
            toys.paste(count, origin, torch.ones_like(x))
        z = value / count
    return z


def core_run(denoiser, noise, steps, origins, schedule, batch_size=1, window=WINDOW, canvas=CANVAS, target=None):
    return reference.syncdiffusion(
        denoiser,
        PerceptualLoss(toys.clamped_decode, toys.ToyDistance(), target or ReferenceView()),
        Windows(canvas, window, tuple(origins)),
        noise,
        reference.Official(steps, schedule, batch_size=batch_size),
    )


DENOISERS = {"eps": toys.eps_denoiser, "v": toys.v_denoiser}


@pytest.mark.parametrize("network", ["eps", "v"])
@pytest.mark.parametrize(("every", "thres"), [(1, 10), (1, 4), (3, 10)])
def test_the_oracle_is_algorithm_1(network, every, thres):
    steps, origins = 10, toys.origins(CANVAS, WINDOW, STRIDE)
    noise, ab = toys.randn(1, 4, *CANVAS), official_ab(steps)
    expected = algorithm_1(network, noise, ab, origins, WINDOW, WEIGHT, 0.95, every, thres)
    schedule = GuidanceSchedule(WEIGHT, 0.95, end=thres / steps, every=every, clock=Clock.INDEX)
    canvas = core_run(DENOISERS[network], noise, steps, origins, schedule)
    torch.testing.assert_close(canvas * math.sqrt(ab[-1]), expected, rtol=0, atol=1e-8)
    # The comparison means something only where guidance changes the picture.
    plain = algorithm_1(network, noise, ab, origins, WINDOW, 0.0, 0.95, every, thres)
    assert toys.report_difference(plain, expected) > 1e-2


def test_the_oracle_is_algorithm_1_over_the_official_fifty_steps():
    canvas, window = (4, 8), (4, 4)
    origins = toys.origins(canvas, window, (4, 2))
    noise, ab = toys.randn(1, 4, *canvas), official_ab(50)
    expected = algorithm_1("eps", noise, ab, origins, window, WEIGHT, 0.95, every=5, thres=50)
    schedule = GuidanceSchedule(WEIGHT, 0.95, end=1.0, every=5, clock=Clock.INDEX)
    got = core_run(toys.eps_denoiser, noise, 50, origins, schedule, 2, window, canvas)
    torch.testing.assert_close(got * math.sqrt(ab[-1]), expected, rtol=0, atol=1e-8)


def test_the_oracle_is_algorithm_1_on_a_closed_loop_in_two_dimensions():
    canvas, window = (6, 8), (4, 4)
    origins = toys.origins(canvas, window, (3, 3), wrap=(True, True))
    assert len(origins) == 6
    noise, ab = toys.randn(1, 4, *canvas), official_ab(5)
    expected = algorithm_1("v", noise, ab, origins, window, WEIGHT, 0.9, every=1, thres=5)
    schedule = GuidanceSchedule(WEIGHT, 0.9, end=1.0, clock=Clock.INDEX)
    official = ReferenceView(len(origins) // 2)  # of a row; that of a grid is not its middle
    got = core_run(toys.v_denoiser, noise, 5, origins, schedule, 4, window, canvas, official)
    torch.testing.assert_close(got * math.sqrt(ab[-1]), expected, rtol=0, atol=1e-8)


def test_flow_models_follow_the_same_algorithm():
    """In flow notation: x = (1 - sigma) x0 + sigma eps, Euler on v, Eq. 14's step times (1 - sigma)^2 + sigma^2."""
    origins = toys.origins(CANVAS, WINDOW, STRIDE)
    sigmas = [3 * s / (1 + 2 * s) for s in np.linspace(1, 0, 9)]  # shift 3, as SD3
    z = noise = toys.randn(1, 4, *CANVAS)
    anchor, cells = len(origins) // 2, WINDOW[0] * WINDOW[1] / 4096
    for i, (sigma, following) in enumerate(zip(sigmas[:-1], sigmas[1:], strict=True)):
        crops = [toys.crop(z, origin, WINDOW) for origin in origins]

        def clean(x, view, sigma=sigma):
            return x - sigma * toys.flow_net(x, sigma, toys.row(view=view))

        anchor_image = toys.clamped_decode(clean(crops[anchor], anchor))
        value, count = torch.zeros_like(z), torch.zeros_like(z)
        for view, (origin, x) in enumerate(zip(origins, crops, strict=True)):
            if view != anchor and i < 4:
                x.requires_grad_(True)
                loss = toys.loss_of(toys.clamped_decode(clean(x, view)), anchor_image)
                (gradient,) = torch.autograd.grad(loss.sum(), x)
                x = x.detach() - WEIGHT * 0.95**i * cells * ((1 - sigma) ** 2 + sigma**2) * gradient
            velocity = toys.flow_net(x, sigma, toys.row(view=view))
            toys.paste(value, origin, x + (following - sigma) * velocity)
            toys.paste(count, origin, torch.ones_like(x))
        z = value / count
    weights = GuidanceSchedule(WEIGHT, 0.95, end=0.5, clock=Clock.INDEX).weights(np.linspace(0, 1, 9).tolist())
    guidance = toys.guided(weights, pulled=2)
    windows = Windows(CANVAS, WINDOW, tuple(origins))
    got = toys.sampled(toys.flow_denoiser, rectified_flow(), windows, noise, sigmas, guidance=guidance, batches=3)
    torch.testing.assert_close(got.canvas, z, rtol=0, atol=1e-8)
    plain = toys.sampled(toys.flow_denoiser, rectified_flow(), windows, noise, sigmas)
    assert toys.report_difference(plain.canvas, got.canvas) > 1e-2


@pytest.mark.parametrize("batch_size", [3, 16])
def test_batching_windows_does_not_change_the_oracle(batch_size):
    origins = toys.origins(CANVAS, WINDOW, STRIDE)
    noise = toys.randn(2, 4, *CANVAS)
    schedule = GuidanceSchedule(WEIGHT, end=1.0, clock=Clock.INDEX)
    one = core_run(toys.eps_denoiser, noise, 5, origins, schedule, 1)
    torch.testing.assert_close(
        core_run(toys.eps_denoiser, noise, 5, origins, schedule, batch_size), one, rtol=0, atol=1e-10
    )


def test_another_anchor_is_another_picture():
    origins = toys.origins(CANVAS, WINDOW, STRIDE)
    schedule = GuidanceSchedule(WEIGHT, end=1.0, clock=Clock.INDEX)
    first = ReferenceView(0)
    centre = ReferenceView(len(origins) // 2)
    noise = toys.randn(1, 4, *CANVAS)
    runs = [core_run(toys.eps_denoiser, noise, 5, origins, schedule, 2, target=t) for t in (None, centre, first)]
    assert torch.equal(runs[0], runs[1])
    assert toys.report_difference(runs[0], runs[2]) > 1e-3


def test_the_official_schedule_by_its_numbers():
    sigmas = reference.official_sigmas(50)
    assert len(sigmas) == 51
    assert sigmas[0] ** 2 + 1 == pytest.approx(1 / toys.alphas_cumprod()[981], rel=1e-12)
    assert sigmas[-2] ** 2 + 1 == pytest.approx(1 / toys.alphas_cumprod()[1], rel=1e-12)
    assert sigmas[-1] == pytest.approx(0.0292, abs=5e-5)
    assert reference.alphas_cumprod()[0] == pytest.approx(0.99915, abs=1e-9)
    assert sigmas == sorted(sigmas, reverse=True)


@pytest.mark.parametrize("steps", [30, 0, -10, 1000])
def test_steps_that_do_not_divide_the_training_schedule_are_refused(steps):
    with pytest.raises(ValueError, match=rf"steps must divide 1000 and be fewer, got {steps}; use .*50"):
        reference.official_sigmas(steps)
