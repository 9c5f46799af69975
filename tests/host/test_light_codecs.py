"""Views that agree in pictures through a light decoder: of the demo model, and TAESD's two files."""

import comfy.latent_formats
import pytest
import small_vaes
import torch
from comfy.taesd.taesd import TAESD

from demo.light_encoder import load_light_encoder

PAIR = ("identity", "rotate 180")
LOOKS = ("full decoder", "light decoder")


@pytest.fixture
def codec(module_of):
    """The pack's module of codecs."""
    return module_of("host.gradient.codec")


def put_taesd(folder, *halves: str) -> None:
    """Random files of SD 1.5's."""
    for half in halves:
        small_vaes.put_taesd(folder, f"taesd_{half}", 4)


@pytest.fixture
def agreement(codec, core_of, models, vae, pictures, module_of):
    """agreement(look) of a pair of pictures on a small SD 1.5 -> (its agreement, its views)."""
    look, batching = codec.Look, core_of("batching")
    resolved = pictures(*PAIR).resolve(None, module_of("host.run.layout").cells_of(models["eps"].model))

    def make(name: str, own: object = vae) -> tuple[object, object]:
        agreeing = codec.Agreeing(core_of("views.schedule").Space.RGB, own, look(name))
        made = agreeing.make(models["eps"].model, resolved, batching.WindowBatches.of(2))
        return made, resolved.latent.every

    return make


def test_taesd_encodes_as_the_hosts_loader_does(codec, approx, run_node):
    """In the model's scale, where the VAE of the stock loader is in the VAE's."""
    put_taesd(approx, "encoder", "decoder")
    stock, picture = run_node("VAELoader", vae_name="taesd")[0], torch.rand(2, 64, 96, 3)
    latent_format = comfy.latent_formats.SD15()
    with torch.inference_mode():
        wanted = latent_format.process_in(stock.encode(picture).float())
        got = codec.HostEncoder(codec.light_encoder(latent_format), None)(picture.movedim(-1, 1))
    assert got.std() > 1e-3
    torch.testing.assert_close(got, wanted, atol=1e-2 * float(wanted.std()), rtol=0)  # the loader's is in float16


@torch.inference_mode()
def test_views_agree_by_the_light_networks_and_the_canvas_is_the_vaes(agreement, codec, approx, vae, models):
    put_taesd(approx, "encoder", "decoder")
    (light, views), (full, _) = agreement("light decoder"), agreement("full decoder")
    x0 = torch.randn(2, 4, 8, 8, generator=torch.manual_seed(2))
    assert torch.equal(light.result(views, x0), full.result(views, x0))
    network = TAESD(str(approx / "taesd_encoder.safetensors"), str(approx / "taesd_decoder.safetensors"))
    seen = ((network.decode(x0) + 1) / 2).clamp(0, 1)
    lost = x0 - network.encode(2 * seen - 1)
    mean = (seen[:1] + seen[1:].flip(-1, -2)) / 2
    rest = (lost[:1] + lost[1:].flip(-1, -2)) / 2
    wanted = [network.encode(2 * p - 1) + r for p, r in ((mean, rest), (mean.flip(-1, -2), rest.flip(-1, -2)))]
    torch.testing.assert_close(light.views(views, x0), torch.cat(wanted), atol=1e-5, rtol=1e-4)
    assert (light.views(views, x0) - full.views(views, x0)).abs().max() > 1e-2


def test_without_a_light_encoder_the_vae_encodes(agreement, codec, approx, vae):
    put_taesd(approx, "decoder")
    made, _ = agreement("light decoder")
    assert made.encode.vae is vae
    assert made.decode.vae is not vae


def test_without_a_light_decoder_it_is_refused_before_the_run(view_sampler, models, vae, pictures, approx):
    with pytest.raises(ValueError, match=r"decoder: .*taesd_decoder, is not in models/vae_approx; .*'full decoder'"):
        view_sampler(models["eps"], pictures(*PAIR, space="pictures"), vae=vae, decoder="light decoder")


def test_latents_and_pixels_have_no_use_for_one(view_sampler, models, pictures, approx):
    one, other = (view_sampler(models["eps"], pictures(*PAIR), decoder=look)[0] for look in LOOKS)
    assert torch.equal(one, other)


def test_the_demo_model_encodes_by_its_own(codec, run_node):
    for around in ("", "Around"):
        latent_format = run_node(f"SyncDiffusionLoadDemoModel{around}")[0].model.latent_format
        picture = torch.rand(2, 3, 64, 96)
        with torch.inference_mode():
            got = codec.HostEncoder(codec.light_encoder(latent_format), None)(picture)
            torch.testing.assert_close(got, load_light_encoder().encode(picture), atol=1e-5, rtol=1e-4)


def test_a_damaged_encoder_is_named(agreement, approx, damage):
    put_taesd(approx, "encoder", "decoder")
    file = approx / "taesd_encoder.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"taesd_encoder.safetensors: .*light encoder"):
        agreement("light decoder")


def test_the_demo_models_light_codec_makes_the_same_picture(
    view_sampler, run_node, pictures, noise_of_views, from_noise
):
    """By both nodes: its own light decoder, and its own light encoder."""
    model, clip, vae = run_node("SyncDiffusionLoadDemoModel")[:3]
    positive, negative = (run_node("CLIPTextEncode", clip=clip, text=text)[0] for text in ("mountains, dusk", ""))
    views = pictures("identity", "flip left-right", size=(128, 128), space="pictures")
    given = {"positive": positive, "negative": negative, "steps": 6}
    (_, full, _), (latents, light, _) = (view_sampler(model, views, vae=vae, **given, decoder=look) for look in LOOKS)
    assert 0 < (full - light).abs().mean() < 0.05
    synchronise = {"views": views, "vae": vae, "decoder": "light decoder"}
    patched = run_node("SyncDiffusionSynchroniseViews", model=model, **synchronise)[0]
    again = from_noise(patched, noise_of_views(model, views), **given)
    torch.testing.assert_close(again, latents, atol=1e-4, rtol=1e-4)
