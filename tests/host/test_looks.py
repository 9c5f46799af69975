"""Cheaper looks at a clean prediction: which decoder, in what scale and range, with what gradient and precision."""

import comfy.latent_formats
import comfy.model_management
import comfy.sd
import comfy.taesd.taehv
import comfy.utils
import folder_paths
import pytest
import small_vaes
import torch
from comfy.taesd.taesd import TAESD
from safetensors.torch import save_file
from small_models import randomise

from demo.light_decoder import load_light_decoder


@pytest.fixture
def looks(module_of):
    """The pack's module of decoders."""
    return module_of("host.gradient.decoder")


class Model:
    """What a decoder asks of a model."""

    def __init__(self, latent_format):
        self.latent_format = latent_format

    def process_latent_out(self, latent):
        return self.latent_format.process_out(latent)


def latents(channels=4, *between, n=2, side=8):
    return torch.randn(n, channels, *between, side, side, generator=torch.Generator().manual_seed(0))


def gradient(module_of, decoder, x0):
    """(picture, d sum of squares / d x0) as the guidance takes it."""
    with module_of("host.gradient.gradients").outside_inference(), torch.enable_grad():
        leaf = x0.clone().requires_grad_(True)
        image = decoder(leaf)
        (g,) = torch.autograd.grad(image.square().sum(), leaf)
    return image.detach(), g


def assert_derivative(decoder, x0, g, rel=0.05):
    """<g, d> against a central difference along g itself."""
    with torch.inference_mode():
        d = 1e-3 * g / g.square().mean().sqrt()
        difference = (decoder(x0 + d).double().square().sum() - decoder(x0 - d).double().square().sum()) / 2
    assert (g * d).sum().item() == pytest.approx(difference.item(), rel=rel)


FORMATS = {
    "SD15": (comfy.latent_formats.SD15, "taesd_decoder", 4, ()),
    "SDXL": (comfy.latent_formats.SDXL, "taesdxl_decoder", 4, ()),
    "SD3": (comfy.latent_formats.SD3, "taesd3_decoder", 16, ()),
    "Flux": (comfy.latent_formats.Flux, "taef1_decoder", 16, ()),
    "Flux2": (comfy.latent_formats.Flux2, "taef2_decoder", 128, ()),
}


@pytest.mark.parametrize("name", FORMATS)
def test_taesd_shows_what_the_hosts_preview_shows(looks, module_of, approx, name):
    kind, file, channels, between = FORMATS[name]
    path = small_vaes.put_taesd(approx, file, channels)
    x0 = latents(channels, *between)
    with torch.inference_mode():
        decoder = looks.make_decoder(looks.Look.LIGHT, None, Model(kind()))
    preview = TAESD(None, str(path), latent_channels=channels)  # ordinary tensors
    wanted, wanted_g = gradient(module_of, lambda x: ((preview.decode(x) + 1) / 2).clamp(0, 1), x0)
    image, g = gradient(module_of, decoder, x0)
    assert image.dtype == torch.float32
    assert wanted.std() > 0.01
    torch.testing.assert_close(image, wanted, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(g, wanted_g, atol=1e-3 * float(wanted_g.abs().max()), rtol=1e-3)


@torch.inference_mode()
def put_taehv(folder, name):
    network = comfy.taesd.taehv.TAEHV(latent_channels=16)
    randomise(network, 32)
    save_file({k: v.clone().contiguous() for k, v in network.state_dict().items()}, folder / f"{name}.safetensors")
    return folder / f"{name}.safetensors"


def test_a_video_models_light_decoder_shows_what_the_hosts_preview_shows(looks, module_of, approx):
    path = put_taehv(approx, "lighttaew2_1")
    x0 = latents(16, 1, n=1)
    with torch.inference_mode():
        decoder = looks.make_decoder(looks.Look.LIGHT, None, Model(comfy.latent_formats.Wan21()))
        preview = comfy.sd.VAE(comfy.utils.load_torch_file(str(path)), dtype=torch.float32)
        wanted = preview.first_stage_model.decode(x0)[:, :, 0].clamp(0, 1)
    image, g = gradient(module_of, decoder, x0)
    assert image.shape == (1, 3, 64, 64)
    torch.testing.assert_close(image, wanted, atol=1e-5, rtol=1e-4)
    assert_derivative(decoder, x0, g)


def test_five_dimensional_latents_of_an_image_vae(looks, approx, module_of):
    small_vaes.put_taesd(approx, "taesd_decoder", 4)
    decoder = looks.make_decoder(looks.Look.LIGHT, None, Model(comfy.latent_formats.SD15()))
    image, g = gradient(module_of, decoder, latents(4, 1))
    assert image.shape == (2, 3, 64, 64)
    assert g.shape == (2, 4, 1, 8, 8)


def test_the_demo_models_light_decoder_is_its_own(looks, module_of, run_node):
    model, _, vae = run_node("SyncDiffusionLoadDemoModel")[:3]
    with torch.inference_mode():
        decoder = looks.make_decoder(looks.Look.LIGHT, vae, model.model)
    x0 = latents(side=16)
    image, g = gradient(module_of, decoder, x0)
    with torch.no_grad():
        torch.testing.assert_close(image, load_light_decoder().decode(x0), atol=1e-5, rtol=1e-4)
    assert_derivative(decoder, x0, g)
    comfy.model_management.load_models_gpu([decoder.patcher])
    assert any(entry.model is decoder.patcher for entry in comfy.model_management.current_loaded_models)


def losses(trace: str) -> list[float]:
    return [float(line.split("anchor by ")[1].split(" ")[0]) for line in trace.splitlines()]


def test_a_run_of_the_demo_model_sees_the_same_distances_through_its_light_decoder(looks, run_node, panorama, windows):
    model, clip, vae = run_node("SyncDiffusionLoadDemoModel")[:3]
    perceptual = run_node("SyncDiffusionLoadPerceptualModel", perceptual_name="scene (built in)")[0]
    positive, negative = (run_node("CLIPTextEncode", clip=clip, text=text)[0] for text in ("mountains", ""))
    seen = []
    for look in (looks.Look.FULL, looks.Look.LIGHT):
        guidance = run_node(
            "SyncDiffusionGuidance",
            vae=vae,
            perceptual_model=perceptual,
            end_percent=1.0,
            gradient="image prior (Wiener)",
            savings=run_node("SyncDiffusionSavings", decoder=look)[0],
        )[0]
        inputs = {"positive": positive, "negative": negative, "latent_image": {"samples": torch.zeros(1, 4, 16, 32)}}
        latent, trace = panorama(model, windows(128, 128, height=128), guidance=guidance, steps=3, **inputs)
        seen.append((latent["samples"], losses(trace)))
    (full, distances), (light, light_distances) = seen
    assert light_distances == pytest.approx(distances, rel=0.1)
    assert (light - full).abs().mean() < 0.1 * full.std()


def test_light_decoders_that_are_not_there_are_refused_with_a_remedy(looks, approx):
    with pytest.raises(ValueError, match=r"taesd_decoder, is not in models/vae_approx; put .*'full decoder'"):
        looks.make_decoder(looks.Look.LIGHT, None, Model(comfy.latent_formats.SD15()))
    with pytest.raises(ValueError, match=r"no light decoder is known .* SD_X4; choose 'full decoder'"):
        looks.make_decoder(looks.Look.LIGHT, None, Model(comfy.latent_formats.SD_X4()))


def test_the_cheapest_look_is_the_light_decoder_where_there_is_one(looks, approx, vae, models):
    model = models["eps"].model
    assert isinstance(looks.make_decoder(looks.Look.CHEAPEST, vae, model), looks.PooledDecoder)
    small_vaes.put_taesd(approx, model.latent_format.taesd_decoder_name, 4)
    folder_paths.filename_list_cache.clear()
    assert type(looks.make_decoder(looks.Look.CHEAPEST, None, model)) is looks.HostDecoder


@pytest.mark.parametrize("family", ["image", "video"])
def test_a_pooled_latent_is_the_full_decoder_of_block_means(looks, module_of, family):
    video = family == "video"
    vae = small_vaes.wan_vae() if video else small_vaes.kl_vae_4()
    model = Model(comfy.latent_formats.Wan21() if video else comfy.latent_formats.SD15())
    x0 = latents(16, 1, n=1) if video else latents()
    full, pooled = (looks.make_decoder(look, vae, model) for look in (looks.Look.FULL, looks.Look.POOLED))
    by_hand = x0.unflatten(-1, (4, 2)).unflatten(-3, (4, 2)).mean(dim=(-3, -1))
    image, g = gradient(module_of, pooled, x0)
    with torch.inference_mode():
        torch.testing.assert_close(image, full(by_hand), atol=1e-5, rtol=1e-4)
    assert full.picture_size(64, 64) == (64, 64)
    assert pooled.picture_size(64, 64) == image.shape[-2:] == (32, 32)
    blocks = g.unflatten(-1, (4, 2)).unflatten(-3, (4, 2))
    torch.testing.assert_close(blocks, blocks.mean(dim=(-3, -1), keepdim=True).expand_as(blocks))


def test_odd_sides_are_pooled_without_inventing_cells(looks):
    pooled = looks.make_decoder(looks.Look.POOLED, small_vaes.kl_vae_4(), Model(comfy.latent_formats.SD15()))
    x0 = torch.ones(1, 4, 7, 5)
    with torch.inference_mode():
        full = looks.HostDecoder(pooled.vae, pooled.inner_model)
        image = pooled(x0)
        torch.testing.assert_close(image, full(torch.ones(1, 4, 4, 3)), atol=1e-5, rtol=1e-4)
    assert pooled.picture_size(40, 56) == (image.shape[-1], image.shape[-2]) == (24, 32)


def test_bfloat16_by_autocast_leaves_the_module_alone_and_the_gradient_where_it_was(looks, module_of):
    vae, model = small_vaes.kl_vae_4(), Model(comfy.latent_formats.SD15())
    before = {name: (p.dtype, p.data_ptr()) for name, p in vae.first_stage_model.named_parameters()}
    results = {}
    for precision in (looks.Precision.AS_LOADED, looks.Precision.BFLOAT16):
        decoder = looks.make_decoder(looks.Look.FULL, vae, model, precision)
        results[precision] = gradient(module_of, decoder, latents())
    (image, g), (low_image, low_g) = results.values()
    assert decoder.dtype == torch.bfloat16
    assert low_image.dtype == low_g.dtype == torch.float32
    assert 0 < (image - low_image).abs().max() < 0.1
    assert torch.nn.functional.cosine_similarity(g.flatten(), low_g.flatten(), dim=0) > 0.98
    assert {name: (p.dtype, p.data_ptr()) for name, p in vae.first_stage_model.named_parameters()} == before
    assert not torch.is_autocast_enabled("cpu")


def test_float16_on_a_cpu_is_refused_with_a_remedy(module_of):
    precision = module_of("host.gradient.precision")
    with pytest.raises(ValueError, match=r"'float16' needs a GPU.*choose 'bfloat16' or 'as loaded'"):
        precision.check_precision(precision.Precision.FLOAT16, torch.device("cpu"))
    precision.check_precision(precision.Precision.FLOAT16, torch.device("cuda"))


@pytest.mark.parametrize("look", ["POOLED", "FULL"])
def test_a_picture_is_an_anchor_whatever_the_look(look, looks, run_node, panorama, windows, models, vae, perceptual):
    """The anchor's picture and the windows' must have features of one size."""
    guidance = run_node(
        "SyncDiffusionGuidance",
        vae=vae,
        perceptual_model=perceptual,
        end_percent=1.0,
        anchor="reference image",
        anchor_image=torch.rand(1, 50, 70, 3, generator=torch.Generator().manual_seed(1)),
        savings=run_node("SyncDiffusionSavings", decoder=looks.Look[look])[0],
    )[0]
    latent, trace = panorama(models["eps"], windows(64, 64), guidance=guidance, steps=2)
    assert latent["samples"].isfinite().all()
    assert "differed" in trace


@pytest.mark.parametrize("look", ["FULL", "POOLED"])
def test_interrupts(looks, look):
    decoder = looks.make_decoder(looks.Look[look], small_vaes.kl_vae_4(), Model(comfy.latent_formats.SD15()))
    comfy.model_management.interrupt_current_processing(True)
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        decoder(latents())
