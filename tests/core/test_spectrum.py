"""Power spectra of latents: fitted to fields with a known one, kept in files, given to the image prior."""

import math

import core_toys as toys
import pytest
import torch
from safetensors.torch import save_file

from syncdiffusion_core.canvases.window_layout import WindowLayout
from syncdiffusion_core.canvases.windows import full_canvas
from syncdiffusion_core.denoiser import Rows
from syncdiffusion_core.guidance.pullbacks import (
    Gradient,
    ImagePrior,
    ThroughModel,
    decoder_only,
    forward_only,
    make_pullback,
)
from syncdiffusion_core.guidance.spectrum import (
    NATURAL_BEND,
    Spectrum,
    SpectrumSource,
    fit_predictions,
    fit_spectrum,
    load_spectrum,
    natural_spectrum,
    save_spectrum,
)
from syncdiffusion_core.process import rectified_flow, variance_exploding, variance_preserving

VE, FLOW, EDM, VP = variance_exploding(), rectified_flow(), variance_exploding(sigma_data=0.5), variance_preserving()
LAW = Spectrum((0.004, 0.02, 0.1, 0.5), (0.02, 0.05, 0.1, 0.3))
WHITE = Spectrum((1e12,), (1e6,))  # level to 1e-12


def fields(spectrum, count, height, width, seed=0):
    """Gaussian fields of that spectrum, periodic at their edges: [count, C, height, width]."""
    white = toys.randn(count, len(spectrum.scale), height, width, seed=seed)
    return filtered(white, spectrum.power(height, width).sqrt())


def filtered(x, gain):
    return torch.fft.ifft2(torch.fft.fft2(x) * gain).real


def wiener(process, spectrum):
    """The exact posterior mean under the Gaussian prior of that spectrum, mean 0."""

    def denoise(x, sigma, rows):
        a, b, power = process.a(sigma), process.b(sigma), spectrum.power(*x.shape[-2:])
        return filtered(x, a * power / (a * a * power + b * b))

    return denoise


# The law.


def test_frequencies_are_in_cycles_a_cell():
    """The literal law on 4x2 cells: fy 0, 1/4, -1/2, -1/4; fx 0, -1/2."""
    power = Spectrum((2.0,), (0.5,)).power(4, 2)
    y, x = torch.tensor([0, 1 / 16, 1 / 4, 1 / 16])[:, None], torch.tensor([0, 1 / 4])[None]
    torch.testing.assert_close(power[0], (2 / (y + x + 0.25)).double())


def test_one_spectrum_serves_every_window_size():
    """Twice the window holds the same frequencies, and as many between them."""
    torch.testing.assert_close(LAW.power(16, 24)[:, ::2, ::2], LAW.power(8, 12))


def test_the_power_is_the_variance_of_a_fourier_coefficient():
    z = fields(LAW, 4000, 4, 4)
    got = torch.fft.fft2(z, norm="ortho").abs().square().mean(0)
    torch.testing.assert_close(got, LAW.power(4, 4), rtol=0.12, atol=0)
    torch.testing.assert_close(z.square().mean((0, 2, 3)), LAW.power(4, 4).mean((1, 2)), rtol=0.05, atol=0)


@pytest.mark.parametrize("side", [6, 16, 64])
def test_the_natural_law_of_square_windows(side):
    law = Spectrum((1.0,), (NATURAL_BEND / side,)).normalised(side, side, 1.0)
    torch.testing.assert_close(law.power(side, side)[0], natural_spectrum(side, side))


def test_the_fixed_law_is_what_it_was():
    """1 / (fy^2 + fx^2 + .09), f in cycles a window along each side, mean 1: nobody's pictures change."""
    power = natural_spectrum(2, 4)
    raw = [[1 / (y * y + x * x + 0.09) for x in (0, 1, -2, -1)] for y in (0, -1)]
    mean = sum(map(sum, raw)) / 8
    torch.testing.assert_close(power, torch.tensor(raw, dtype=torch.float64) / mean)


def test_normalising_keeps_the_shape():
    got = LAW.normalised(8, 16, 0.25)
    torch.testing.assert_close(got.power(8, 16).mean((1, 2)), torch.full((4,), 0.25).double())
    ratio = got.power(8, 16) / LAW.power(8, 16)
    torch.testing.assert_close(ratio, ratio[:, :1, :1].expand_as(ratio))


@pytest.mark.parametrize(
    ("scale", "bend", "said"),
    [
        ((), (), "one value a channel each, got 0 and 0"),
        ((1.0, 2.0), (0.1,), "one value a channel each, got 2 and 1"),
        ((-1.0,), (0.1,), "scale must be positive"),
        ((1.0,), (0.0,), "bend must be positive"),
        ((1.0,), (math.inf,), "bend must be positive and finite"),
        ((math.nan,), (0.1,), "scale must be positive and finite"),
    ],
)
def test_numbers_that_are_no_spectrum(scale, bend, said):
    with pytest.raises(ValueError, match=said):
        Spectrum(scale, bend)


# Fitting.


@pytest.mark.parametrize(
    ("count", "size", "tolerance"), [(2, (64, 64), 1.6), (16, (16, 16), 1.5), (64, (32, 16), 1.25)]
)
def test_a_fit_finds_the_law(count, size, tolerance):
    """c and f0 within a factor, on fields of which every place has a mean of its own."""
    spectrum = Spectrum((0.02, 0.1), (0.05, 0.1))
    z = fields(spectrum, count, *size) + toys.randn(1, 2, *size, seed=1)
    got = fit_spectrum(z)
    assert got.count == count
    for found, true in zip(got.scale + got.bend, spectrum.scale + spectrum.bend, strict=True):
        assert 1 / tolerance < found / true < tolerance
    for found, true in zip(got.scale, spectrum.scale, strict=True):
        assert found == pytest.approx(true, rel=0.15)


def test_a_fit_is_unbiased_over_sizes():
    """The same numbers from small and large windows of one kind of picture."""
    found = torch.tensor([fit_spectrum(fields(LAW, 64, side, side, seed=side)).scale for side in (12, 24, 48)])
    torch.testing.assert_close(found, torch.tensor([LAW.scale] * 3), rtol=0.1, atol=0)


def test_a_single_latent_has_a_spectrum_but_for_its_level():
    got = fit_spectrum(fields(LAW, 1, 64, 64) + 1000)
    for found, true in zip(got.scale, LAW.scale, strict=True):
        assert found == pytest.approx(true, rel=0.2)


def test_frames_count_as_pictures():
    z = fields(LAW, 6, 8, 8)
    frames = z.unflatten(0, (2, 3)).transpose(1, 2)  # [2, C, 3, h, w]
    assert fit_spectrum(frames) == fit_spectrum(z)


def test_half_precision_is_enough():
    z = fields(LAW, 16, 16, 16)
    got, wanted = fit_spectrum(z.bfloat16()), fit_spectrum(z)
    torch.testing.assert_close(torch.tensor(got.scale), torch.tensor(wanted.scale), rtol=0.02, atol=0)


@pytest.mark.parametrize(
    ("latents", "said"),
    [
        (torch.zeros(4, 2, 8, 8), "constant"),
        (torch.full((4, 2, 8, 8), math.nan), "finite"),
        (torch.zeros(2, 8, 8), r"\[N, C, ..., h, w\]"),
        (torch.zeros(4, 2, 1, 8), "2x2 cells"),
    ],
)
def test_latents_without_a_spectrum(latents, said):
    with pytest.raises(ValueError, match=said):
        fit_spectrum(latents)


# Online.


@pytest.mark.parametrize(("process", "sigma"), [(VE, 2.0), (VE, 13.0), (FLOW, 0.7), (FLOW, 0.95), (VP, 10.0)])
@pytest.mark.parametrize("strength", [1.0, 5.0])
def test_predictions_tell_the_spectrum(process, sigma, strength):
    """Of an ideal denoiser, whatever it adds to all windows alike, and however CFG exaggerates."""
    spectrum = Spectrum((0.02, 0.1), (0.05, 0.1)).normalised(16, 16, 1.0)
    clean = fields(spectrum, 200, 16, 16)
    x = process.compose(clean, toys.randn(*clean.shape, seed=1), sigma)
    x0 = strength * wiener(process, spectrum)(x, sigma, None) + toys.randn(1, 2, 16, 16, seed=2)
    got = fit_predictions(process, sigma, x0)
    torch.testing.assert_close(got.power(16, 16).mean((1, 2)), torch.ones(2).double())
    if strength == 1:  # a factor on the prediction moves the shape, though little
        torch.testing.assert_close(torch.tensor(got.bend), torch.tensor(spectrum.bend), rtol=0.25, atol=0)
    ratio = got.power(16, 16) / spectrum.power(16, 16)
    assert ratio.max() < 3.5
    assert ratio.min() > 1 / 3.5


def test_uncorrected_predictions_would_tell_another():
    """What the inversion is for: the plain fit of blurred predictions finds a tenth of the fine detail."""
    spectrum = Spectrum((0.02,), (0.05,))
    x0 = wiener(VE, spectrum)(fields(spectrum, 50, 16, 16) + 13 * toys.randn(50, 1, 16, 16, seed=1), 13.0, None)
    assert fit_spectrum(x0).power(16, 16)[0, 8, 8] < spectrum.power(16, 16)[0, 8, 8] / 10


def test_the_variance_is_the_data_of_the_family():
    x0 = fields(LAW, 8, 8, 8)
    assert fit_predictions(EDM, 1.0, x0).power(8, 8).mean() == pytest.approx(0.25)


@pytest.mark.parametrize(("process", "sigma", "count"), [(FLOW, 1.0, 4), (VE, 3.0, 1)])
def test_nothing_to_learn_from(process, sigma, count):
    with pytest.raises(ValueError, match="at least two windows at a noise level with signal"):
        fit_predictions(process, sigma, fields(LAW, count, 8, 8))


# The prior.


def at(x, sigma, process=VE, n=1):
    """A moment of windows of 8x8 side by side, at which no model is asked."""
    return toys.moment(toys.side_by_side(len(x) // n, 8), x, sigma, None, process)


STATES = [(VE, 0.05), (VE, 0.8), (VE, 14.0), (FLOW, 0.3), (FLOW, 0.99), (EDM, 2.0), (VP, 3.0)]


@pytest.mark.parametrize(("process", "sigma"), STATES)
def test_three_pullbacks_agree_under_the_gaussian_prior(process, sigma):
    """J = a S / (a^2 S + b^2), diagonal in frequency, symmetric and constant: the closed form, three ways."""
    denoiser = wiener(process, LAW)
    x, g = process.state_scale(sigma) * toys.randn(3, 4, 8, 6), toys.randn(3, 4, 8, 6, seed=1)
    a, b, power = process.a(sigma), process.b(sigma), LAW.power(8, 6)
    wanted = filtered(g, a * power / (a * a * power + b * b))
    moment = toys.moment(full_canvas((8, 6)), x, sigma, denoiser, process)
    x0 = denoiser(x, sigma, moment.rows)
    for pullback in (ThroughModel(), ImagePrior(LAW)):
        got = pullback(moment, x0, g)
        torch.testing.assert_close(got, wanted, rtol=1e-9, atol=1e-12)
    difference = forward_only(moment, x0, g)
    torch.testing.assert_close(difference, wanted, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(("process", "sigma"), [state for state in STATES if state[0].sigma_data == 1])
def test_a_white_prior_is_the_decoders_gradient(process, sigma):
    g = toys.randn(2, 4, 8, 8)
    moment = at(g, sigma, process, n=2)
    torch.testing.assert_close(ImagePrior(WHITE)(moment, g, g), decoder_only(moment, g, g), rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("process", [VE, EDM])
def test_the_default_is_the_natural_law(process):
    g = toys.randn(2, 4, 8, 8)
    power = natural_spectrum(8, 8) * process.sigma_data**2
    for pullback in (make_pullback(Gradient.IMAGE_PRIOR), ImagePrior(None, SpectrumSource.NATURAL)):
        got = pullback(at(g, 3.0, process, n=2), g, g)
        torch.testing.assert_close(got, filtered(g, power / (power + 9)))


def test_precision_and_time_axis_are_the_gradients():
    g = toys.randn(2, 4, 8, 8).float()
    flat = ImagePrior(LAW)(at(g, 3.0, n=2), g, g)
    timed = ImagePrior(LAW)(at(g[:, :, None], 3.0, n=2), g[:, :, None], g[:, :, None])
    assert flat.dtype == torch.float32
    torch.testing.assert_close(timed[:, :, 0], flat)


def test_each_sample_has_its_own_online_spectrum():
    """Sample k of a batch equals its own run."""
    views, n, sigma = 6, 3, 5.0
    x0 = torch.stack(
        [s * fields(Spectrum(LAW.scale, tuple(s * f0 for f0 in LAW.bend)), views, 8, 8, seed=s) for s in (1, 2, 3)],
        dim=1,
    )  # [V, N, …]
    g = toys.randn(views, n, 4, 8, 8, seed=9)
    together = make_pullback(Gradient.IMAGE_PRIOR, source=SpectrumSource.ONLINE)
    moment = at(x0.flatten(0, 1), sigma, n=n)
    together.observe(moment, moment.x)
    got = together(moment.of((2, 4)), None, g[[2, 4]].flatten(0, 1)).unflatten(0, (2, n))
    for k in range(n):
        alone = ImagePrior(source=SpectrumSource.ONLINE)
        its = at(x0[:, k], sigma)
        alone.observe(its, its.x)
        own = alone(its.of((2, 4)), None, g[[2, 4], k])
        torch.testing.assert_close(got[:, k], own)
        fitted = ImagePrior(fit_predictions(VE, sigma, x0[:, k]))
        torch.testing.assert_close(own, fitted(its.of((2, 4)), None, g[[2, 4], k]))


@pytest.mark.parametrize("spoilt", ["one window", "constant", "no signal", "unseen"])
def test_natural_images_stand_in_where_nothing_can_be_learnt(spoilt):
    g, prior = toys.randn(2, 4, 8, 8), ImagePrior(source=SpectrumSource.ONLINE)
    process, sigma = (FLOW, 1.0) if spoilt == "no signal" else (VE, 2.0)
    seen = {"one window": g[:1], "constant": torch.ones_like(g), "no signal": g}
    if spoilt in seen:
        prior.observe(at(seen[spoilt], sigma, process), seen[spoilt])
    moment = at(g, sigma, process)
    torch.testing.assert_close(prior(moment, g, g), ImagePrior()(moment, g, g))


def test_a_spoilt_window_teaches_nothing():
    x0 = fields(LAW, 6, 8, 8)
    x0[2, 1, 3, 3] = math.nan
    g = toys.randn(1, 4, 8, 8)
    prior, moment = ImagePrior(source=SpectrumSource.ONLINE), at(g, 2.0)
    prior.observe(at(x0, 2.0), x0)
    wanted = ImagePrior(fit_predictions(VE, 2.0, x0[[0, 1, 3, 4, 5]]))
    torch.testing.assert_close(prior(moment, g, g), wanted(moment, g, g))


def test_observing_changes_nothing_but_online():
    g, x0 = toys.randn(2, 4, 8, 8), fields(LAW, 6, 8, 8)
    for given in (None, LAW):
        prior = ImagePrior(given)
        before = prior(at(g, 2.0), g, g)
        prior.observe(at(x0, 2.0), x0)
        assert torch.equal(prior(at(g, 2.0), g, g), before)


@pytest.mark.parametrize(
    ("spectrum", "source", "said"),
    [
        (None, SpectrumSource.MEASURED, "'measured' is chosen and no measured one is given; connect Latent Spectrum"),
        (LAW, SpectrumSource.NATURAL, "'natural images' is chosen and a measured one is given"),
        (LAW, SpectrumSource.ONLINE, "online.* is chosen and a measured one is given"),
    ],
)
def test_source_and_spectrum_must_agree(spectrum, source, said):
    with pytest.raises(ValueError, match=said):
        ImagePrior(spectrum, source)


def test_a_spectrum_of_another_model_is_refused():
    g = toys.randn(1, 16, 8, 8)
    with pytest.raises(
        ValueError, match="it has 4 channels and the model's latent has 16; measure one with this model"
    ):
        ImagePrior(LAW)(at(g, 2.0), g, g)


# Guided.


def guided(x, n, denoiser=toys.eps_denoiser, **options):
    """Moves [V, N, ...] of five windows of 8x8 under the image prior."""
    options = {"gradient": Gradient.IMAGE_PRIOR, **options}
    guidance = toys.guided([2000.0], decode=toys.smooth_decode, **options)
    windows = toys.tiled(WindowLayout(8, 8, 4, 8), (8, 24))
    return (guidance(toys.moment(windows, x, 3.0, denoiser)).x - x).unflatten(0, (len(windows), n))


def sample_k_of(k):
    """The toy model as sample k of a batch sees it."""
    return lambda x, sigma, rows: toys.eps_denoiser(x, sigma, Rows((k,) * len(rows), rows.views))


@pytest.mark.parametrize("options", [{}, {"spectrum": LAW}, {"source": SpectrumSource.ONLINE, "first": 2}])
def test_a_guided_step_does_not_depend_on_its_batches(options):
    """Nor does a sample on its companions, whatever the spectrum comes from."""
    n = 2
    x = 3 * toys.randn(5 * n, 4, 8, 8)
    together = guided(x, n, pulled=3, **options)
    torch.testing.assert_close(guided(x, n, **options), together)
    for k in range(n):
        own = guided(x.unflatten(0, (5, n))[:, k], 1, sample_k_of(k), **options)
        torch.testing.assert_close(own[:, 0], together[:, k])


def test_the_source_of_the_spectrum_reaches_the_moves():
    x = 3 * toys.randn(5, 4, 8, 8)
    fixed, given, own = (
        guided(x, 1, **options) for options in ({}, {"spectrum": LAW}, {"source": SpectrumSource.ONLINE})
    )
    assert (fixed - given).abs().max() > 1e-3 * fixed.abs().max()
    assert (fixed - own).abs().max() > 1e-3 * fixed.abs().max()


# Files.


def test_a_file_keeps_the_spectrum(tmp_path):
    path = tmp_path / "own.safetensors"
    spectrum = Spectrum((1 / 3, 0.1), (1e-3, 7.0), count=5)
    save_spectrum(path, spectrum)
    got = load_spectrum(path)
    assert got == spectrum
    assert got.count == 5


def test_other_files_are_named(tmp_path):
    path = tmp_path / "other.safetensors"
    with pytest.raises(ValueError, match="other.safetensors: not a readable spectrum"):
        load_spectrum(path)
    path.write_bytes(b"no")
    with pytest.raises(ValueError, match="other.safetensors: not a readable spectrum"):
        load_spectrum(path)
    save_file({"scale": torch.ones(1)}, path, metadata={"format": "syncdiffusion-perceptual"})
    with pytest.raises(ValueError, match="other.safetensors: not a spectrum .*syncdiffusion-perceptual"):
        load_spectrum(path)
    save_file({"scale": torch.ones(1)}, path, metadata={"format": "syncdiffusion-spectrum"})
    with pytest.raises(ValueError, match="other.safetensors: not a readable spectrum"):
        load_spectrum(path)
