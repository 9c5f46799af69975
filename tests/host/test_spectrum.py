"""Latent Spectrum: measured as the model sees pictures, kept under a name, loaded by it."""

from pathlib import Path

import pytest
import torch

from syncdiffusion_core.guidance.spectrum import fit_spectrum, load_spectrum

NODE = "SyncDiffusionLatentSpectrum"


@pytest.fixture
def images():
    """Three smooth pictures of 192 x 64 px: three windows each."""
    coarse = torch.rand(3, 3, 8, 24, generator=torch.manual_seed(0))
    return torch.nn.functional.interpolate(coarse, (64, 192), mode="bilinear").movedim(1, -1)


@pytest.fixture
def spectra(host):
    """The folder of kept spectra, empty before and after."""
    folder = Path(host.base) / "models" / "perceptual" / "spectra"
    _empty(folder)
    yield folder
    _empty(folder)


def _empty(folder):
    for file in folder.glob("*"):
        file.unlink()


@torch.inference_mode()
def expected(model, vae, images, left=(0, 64, 128)):
    """The law of the windows' latents in the model's own scale."""
    latents = [vae.encode(images[k : k + 1, :, x : x + 64]) for k in range(len(images)) for x in left]
    return fit_spectrum(model.model.process_latent_in(torch.cat(latents)))


def same(one, other):
    return (one.scale, one.bend) == (pytest.approx(other.scale, rel=1e-4), pytest.approx(other.bend, rel=1e-4))


@pytest.mark.parametrize("kind", ["eps", "flow"])
def test_it_is_measured_in_the_models_scale(run_node, models, vae, images, spectra, kind):
    got = run_node(NODE, window_size=64, images=images, model=models[kind], vae=vae)[0]
    assert same(got, expected(models[kind], vae, images))
    assert got.count == 9
    assert not list(spectra.glob("*"))


def test_windows_that_do_not_divide_a_picture_end_at_its_edge(run_node, models, vae, images, spectra):
    got = run_node(NODE, window_size=64, images=images[:, :, :152], model=models["eps"], vae=vae)[0]
    assert same(got, expected(models["eps"], vae, images, (0, 64, 88)))


def test_a_name_keeps_it_and_finds_it_again(run_node, models, vae, images, spectra):
    measured = run_node(NODE, name=" my sd15 ", window_size=64, images=images, model=models["eps"], vae=vae)[0]
    assert [file.name for file in spectra.iterdir()] == ["my sd15.safetensors"]
    assert same(load_spectrum(spectra / "my sd15.safetensors"), measured)
    loaded = run_node(NODE, name="my sd15")[0]
    assert loaded == measured
    assert loaded.count == 9


def test_a_spectrum_measured_anew_is_seen(run_node, pack, models, vae, images, spectra):
    fingerprint = pack[NODE].fingerprint_inputs
    assert fingerprint("twice", 512) == "twice"
    settings = {"name": "twice", "window_size": 64, "model": models["eps"], "vae": vae}
    run_node(NODE, images=images, **settings)
    before = fingerprint("twice", 512)
    run_node(NODE, images=images, **settings)
    assert fingerprint("twice", 512) == before  # or all that depends on it would run again each time
    run_node(NODE, images=images.flip(1), **settings)
    assert fingerprint("twice", 512) != before


def test_kept_spectra_are_not_offered_as_networks(run_node, module_of, models, vae, images, spectra):
    before = module_of("host.files.perceptual_files").choices()
    run_node(NODE, name="own", window_size=64, images=images, model=models["eps"], vae=vae)
    assert module_of("host.files.perceptual_files").choices() == before


def test_pixels_need_no_vae(run_node, images, spectra):
    import comfy.latent_formats

    class Inner:
        latent_format = comfy.latent_formats.ChromaRadiance()

        def process_latent_in(self, latent):
            return self.latent_format.process_in(latent)

    class Patcher:
        model = Inner()

    got = run_node(NODE, window_size=64, images=images, model=Patcher())[0]
    windows = torch.cat([images[:, :, x : x + 64] for x in (0, 64, 128)]).movedim(-1, 1)
    assert same(got, fit_spectrum(2 * windows - 1))


@pytest.mark.parametrize("name", ["../out", "a/b", "a\\b", ".hidden", "c:d"])
def test_names_stay_in_their_folder(run_node, models, vae, images, spectra, name):
    for inputs in ({}, {"images": images, "model": models["eps"], "vae": vae}):
        with pytest.raises(ValueError, match="cannot be the name of a file"):
            run_node(NODE, name=name, window_size=64, **inputs)


def test_what_is_missing_is_said(run_node, models, vae, images, spectra):
    with pytest.raises(ValueError, match="images: nothing is connected and there is no name"):
        run_node(NODE)
    with pytest.raises(ValueError, match=r"no spectrum 'none' in models/perceptual/spectra \(there are none\)"):
        run_node(NODE, name="none")
    with pytest.raises(ValueError, match="model: nothing is connected"):
        run_node(NODE, images=images, window_size=64)
    with pytest.raises(ValueError, match="vae: nothing is connected"):
        run_node(NODE, images=images, window_size=64, model=models["eps"])
    with pytest.raises(ValueError, match="192 x 64 px and a window is 128 px.*window_size to 64 at most"):
        run_node(NODE, images=images, window_size=128, model=models["eps"], vae=vae)
    run_node(NODE, name="mine", images=images, window_size=64, model=models["eps"], vae=vae)
    with pytest.raises(ValueError, match="there are: mine"):
        run_node(NODE, name="none")


def test_a_vae_of_another_model_is_told(run_node, small, models, vae, images, spectra):
    with pytest.raises(ValueError, match="makes latents of 4 channels and the model's have 16"):
        run_node(NODE, images=images, window_size=64, model=small.flux_model(), vae=vae)


def test_the_demo_models_pictures(run_node, spectra):
    """The whole chain on the pack's own model: a plausible spectrum, red in its first channels."""
    model, _, vae, _ = run_node("SyncDiffusionLoadDemoModel")
    steps = torch.linspace(0, 1, 128)[:, None] ** torch.tensor([0.5, 1, 2, 3])[:, None, None]
    images = steps[..., None].expand(-1, -1, 128, 3)
    got = run_node(NODE, window_size=128, images=images + 0.02 * torch.rand(images.shape), model=model, vae=vae)[0]
    assert len(got.scale) == 4
    power = got.power(16, 16)
    assert (power[:3, 0, 0] > power[:3, 8, 8]).all()
