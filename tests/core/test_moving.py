"""SyncTweedies through a rig that turns: a clean canvas as the state, noise of each step's own."""

import math
from dataclasses import replace
from functools import partial

import core_toys as toys
import pytest
import torch
from core_toys import randn
from torch import Tensor

from syncdiffusion_core.agreement import LATENTS, PictureAgreement
from syncdiffusion_core.batching import WindowBatches
from syncdiffusion_core.canvases.rigs import RigKind, make_rig
from syncdiffusion_core.canvases.sphere import directions_of
from syncdiffusion_core.canvases.sphere_spec import TurningSphere
from syncdiffusion_core.canvases.turning import turned
from syncdiffusion_core.denoiser import Rows
from syncdiffusion_core.moving import sample_moving
from syncdiffusion_core.process import rectified_flow, variance_exploding
from syncdiffusion_core.sampling import Method
from syncdiffusion_core.strategies import Synchronisation
from syncdiffusion_core.views.noise import noise_of, redrawn

CUBE = make_rig(RigKind.CUBE, 1, math.radians(95))
CANVAS, VIEW = (24, 48), (16, 16)
SIGMAS = [8.0, 3.0, 1.0, 0.3, 0.0]
METHOD = Method(Synchronisation.SYNCTWEEDIES)


def start(n: int = 2, channels: int = toys.CHANNELS, canvas=CANVAS) -> Tensor:
    return randn(n, channels, *canvas, seed=3)


def run(denoiser=toys.eps_denoiser, noise=None, method=METHOD, sigmas=SIGMAS, view=VIEW, process=None, **options):
    noise = start() if noise is None else noise
    schedule = TurningSphere(CUBE, tuple(noise.shape[-2:]), view)
    x = sigmas[0] * noise_of(schedule.every, noise)
    given = (denoiser, process or variance_exploding(), schedule, x, sigmas, partial(redrawn, noise))
    return sample_moving(*given, replace(method, **options))


def rig_of(step: int, steps: int):
    """What a step sees: the rig at rest at either end."""
    return CUBE if step in (0, steps - 1) else turned(CUBE, step)


def transcription(denoiser, noise, sigmas):
    """The two lines of the algorithm, a view after the other, one sample at a time; views by schedules of one step."""
    canvases = []
    for sample in range(len(noise)):
        eps, z0 = noise[sample : sample + 1], None
        for k, sigma in enumerate(sigmas[:-1]):
            views = TurningSphere(rig_of(k, len(sigmas) - 1), CANVAS, VIEW).every
            drawn = eps if k == 0 else redrawn(eps, k)
            total = weight = 0
            for number in range(6):
                one = views.subset([number])
                clean = 0 if z0 is None else one.project(z0)
                said = denoiser(clean + sigma * noise_of(one, drawn), sigma, toys.row(sample, number))
                sums = one.unproject(said)
                total, weight = total + sums.total, weight + sums.weight
            z0 = total / weight
        canvases.append(z0)
    return torch.cat(canvases)


@pytest.mark.parametrize("batches", [1, 4, 6])
def test_it_is_the_algorithm(batches):
    got = run(batches=batches).canvas
    torch.testing.assert_close(got, transcription(toys.eps_denoiser, start(), SIGMAS), rtol=0, atol=1e-6)


def test_the_same_noise_makes_the_same_picture_alone_and_in_a_batch():
    both = run()
    assert torch.equal(run().canvas, both.canvas)

    def second(x, sigma, rows):
        return toys.eps_denoiser(x, sigma, Rows((1,) * len(rows), rows.views))

    alone = run(second, start()[1:])
    torch.testing.assert_close(alone.canvas, both.canvas[1:], rtol=0, atol=1e-10)
    torch.testing.assert_close(alone.views, both.views[1::2], rtol=0, atol=1e-10)


def test_views_of_every_step_have_noise_of_unit_variance():
    seen, n, channels = [], 2, 32
    process = rectified_flow()
    sigmas = [1.0, 0.8, 0.5, 0.2, 0.0]

    def grey(x, sigma, rows):
        noise = (x / sigma).unflatten(0, (-1, n))
        seen.append(noise)
        return torch.zeros_like(x)

    run(grey, start(n, channels), batches=6, sigmas=sigmas, process=process)
    for noise in seen:
        for view in noise:
            assert abs(view.std() - 1) < 0.03
            assert (view[..., 1:] * view[..., :-1]).mean().abs() < 0.05
            assert (view[0] * view[1]).mean().abs() < 0.05, "samples share no noise"
    for one, other in zip(seen, seen[1:], strict=False):
        assert (one * other).mean().abs() < 0.02, "nor do steps"


def test_a_denoiser_that_knows_the_picture_gives_it_back():
    """Whichever rig looks at it: A(g(f(picture))) at the end, and nothing of the noise."""
    waves = randn(5, 3, seed=7) * 2
    steps = []

    def picture(rays):
        return (rays @ waves.T).sin().mean(dim=-1)

    def knows(x, sigma, rows):
        step = SIGMAS.index(sigma)
        steps.append((step, len(rows)))
        return picture(rig_of(step, len(SIGMAS) - 1).rays((64, 64)))[list(rows.views), None]

    made = run(knows, start(1, 1, (64, 128)), view=(64, 64), batches=6)
    wanted = picture(directions_of((64, 128)))
    assert -10 * torch.log10((made.canvas[0, 0] - wanted).square().mean()) > 45
    assert -10 * torch.log10((made.views[:, 0] - picture(CUBE.rays((64, 64)))).square().mean()) > 40
    assert steps == [(step, 6) for step in range(4)], "six views a step, at once"


def test_a_step_sees_what_the_one_before_has_made():
    """A denoiser that keeps what it is shown, without noise: the canvas lives through all the turns."""
    smooth = directions_of(CANVAS).movedim(-1, 0)[None]
    first = TurningSphere(CUBE, CANVAS, VIEW).every.project(smooth)

    def keeps(x, sigma, rows):
        return first[list(rows.views)] if sigma == SIGMAS[0] else x

    made = run(keeps, torch.zeros_like(smooth))
    assert (made.canvas - smooth).abs().max() < 0.15
    assert (made.canvas - smooth).abs().mean() < 0.02


def test_pictures_of_a_codec_that_loses_nothing_agree_as_latents_do():
    noise = start(2, 3)
    pixels = TurningSphere(CUBE, CANVAS, VIEW)

    def agreement(residual):
        codec = (lambda x: (x + 1) / 2, lambda picture: 2 * picture - 1)
        return PictureAgreement(*codec, pixels.every, WindowBatches(4), residual, steps=pixels)

    def bounded(x, sigma, rows):
        return (x / (1 + sigma)).tanh()

    wanted = run(bounded, noise, agreement=LATENTS)
    for residual in (True, False):
        got = run(bounded, noise, agreement=agreement(residual))
        torch.testing.assert_close(got.canvas, wanted.canvas, rtol=0, atol=1e-6)


def test_what_guidance_moves_is_what_the_model_sees():
    told = []

    def guidance(moment):
        told.append((moment.step, moment.views.names))
        return toys.guided([100.0] * 4)(moment)

    made = run(guidance=guidance)
    assert made.canvas.isfinite().all()
    assert not torch.equal(made.canvas, run().canvas)
    assert told == [(step, tuple(range(6))) for step in range(4)]


def test_every_step_is_told_and_an_interruption_passes():
    told = []

    def tell(moment, x0, following):
        told.append((moment.step, moment.sigma, tuple(x0.shape), tuple(following.shape)))

    run(on_step=tell)
    assert told == [(k, SIGMAS[k], (12, 4, *VIEW), (12, 4, *VIEW)) for k in range(4)]

    def stop(*told):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(on_step=stop)


def test_one_step_and_one_that_ends_noisy():
    once = run(sigmas=[8.0, 0.0])
    torch.testing.assert_close(once.canvas, LATENTS.result(TurningSphere(CUBE, CANVAS, VIEW).every, once.x0))
    noisy = run(sigmas=[8.0, 3.0, 1.0])
    assert abs((noisy.views - run(sigmas=[8.0, 3.0, 0.0]).views).std() - 1) < 0.1


@pytest.mark.parametrize("way", [way for way in Synchronisation if way is not Synchronisation.SYNCTWEEDIES])
def test_others_keep_noise(way):
    with pytest.raises(ValueError, match=f"synchronisation: '{way.value}' keeps noise from step to step"):
        run(method=Method(way))


def test_noise_is_drawn_by_sample_and_step():
    noise = start(4, 60)
    drawn = [redrawn(noise, step) for step in (1, 2, 1)]
    assert torch.equal(drawn[0], drawn[2])
    assert torch.equal(drawn[0][2:3], redrawn(noise[2:3], 1))
    for one, other in ((drawn[0], drawn[1]), (drawn[0], noise), (drawn[0][0], drawn[0][1])):
        assert (one * other).mean().abs() < 0.01
    assert abs(drawn[0].std() - 1) < 0.01
    assert not redrawn(torch.zeros_like(noise), 1).any()
