"""Previews of long canvases are cheap, and nothing but previews is made of them."""

import comfy.latent_formats
import comfy.utils
import folder_paths
import latent_preview
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from comfy.cli_args import LatentPreviewMethod, args
from comfy.taesd.taesd import TAESD
from safetensors.torch import save_file
from small_models import randomise

from demo.scenes import render


@pytest.fixture
def shown(monkeypatch):
    """The clean canvases that the host's previewer decodes."""
    seen = []

    class Previewer:
        def decode_latent_to_preview_image(self, preview_format, x0):
            seen.append(tuple(x0.shape))

    monkeypatch.setattr(latent_preview, "get_previewer", lambda *args: Previewer())
    return seen


LONG = 8 * 1040  # px: 1040 cells


def test_long_canvases_are_shown_small(small, models, panorama, windows, shown):
    """A third of the cells along each side; the last one also in full, for hosts that keep it."""
    panorama(models["eps"], windows(512, 512), latent_image=small.empty_latent(LONG, 64), steps=2)
    assert shown == [(1, 4, 3, 347), (1, 4, 3, 347), (1, 4, 8, 1040)]


def test_others_are_shown_as_they_are(small, models, panorama, windows, shown):
    panorama(models["eps"], windows(64, 64), steps=2)
    assert shown == [(1, 4, 8, 24), (1, 4, 8, 24)]


@pytest.mark.parametrize("sampler_name", ["euler", "dpmpp_2m", "dpm_fast"])
def test_the_clean_output_of_the_hosts_sampler_stays_whole(
    sampler_name, small, models, windows, run_node, shown, monkeypatch, module_of
):
    """denoised_output of SamplerCustomAdvanced is what its callback was shown last."""

    def run():
        sampler = run_node("KSamplerSelect", sampler_name=sampler_name)[0]
        model = models["eps"]
        roles = {"positive": small.conditioning(1), "negative": small.conditioning(2), "cfg": 4.0}
        return run_node(
            "SamplerCustomAdvanced",
            noise=run_node("RandomNoise", noise_seed=3)[0],
            guider=run_node("CFGGuider", model=model, **roles)[0],
            sampler=run_node("SyncDiffusionSampler", windows=windows(64, 64), sampler=sampler)[0],
            sigmas=run_node("BasicScheduler", model=model, scheduler="normal", steps=3, denoise=1.0)[0],
            latent_image=small.empty_latent(192, 64),
        )

    wanted = run()
    monkeypatch.setattr(module_of("host.run.previews"), "LONGEST", 12)
    got = run()
    assert shown[-2:] == [(1, 4, 4, 12), (1, 4, 8, 24)]
    assert all(torch.equal(ours["samples"], theirs["samples"]) for ours, theirs in zip(got, wanted, strict=True))


# The demo model's own colours, read off the picture that the host shows.

METHODS = {
    "auto": LatentPreviewMethod.Auto,
    "latent2rgb": LatentPreviewMethod.Latent2RGB,
    "taesd": LatentPreviewMethod.TAESD,
}
CLOSE, FAR = 0.03, 0.1
"""Mean distance of a colour channel from the decoded picture's: the demo's own, and less than SD 1.5's (.11 to .23)."""


@pytest.fixture(params=METHODS)
def method(request, monkeypatch, tmp_path):
    """Each of the host's preview methods; SD 1.5's TAESD is there and does not fit these latents."""
    stock = TAESD(latent_channels=4)
    randomise(stock, 31)
    save_file(
        {k: v.clone() for k, v in stock.taesd_decoder.state_dict().items()}, tmp_path / "taesd_decoder.safetensors"
    )
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "vae_approx", ([str(tmp_path)], {".safetensors"}))
    monkeypatch.setattr(folder_paths, "filename_list_cache", {})
    monkeypatch.setattr(args, "preview_method", METHODS[request.param])
    return request.param


def by_cell(image) -> torch.Tensor:
    """Mean colours [h, w, 3] in [0, 1] of the cells of a picture [8h, 8w, 3]."""
    return F.avg_pool2d(image.movedim(-1, 0), 8).movedim(0, -1)


def colours(preview, like: torch.Tensor) -> torch.Tensor:
    """A preview's picture as [h, w, 3] in [0, 1], at the size of ``like``."""
    picture = torch.from_numpy(np.array(preview.convert("RGB"))).float() / 255
    return F.adaptive_avg_pool2d(picture.movedim(-1, 0), like.shape[:2]).movedim(0, -1)


def previewed(latent_format, x0: torch.Tensor):
    """What the host shows of x0 in the model's scale."""
    previewer = latent_preview.get_previewer(torch.device("cpu"), latent_format)
    return previewer.decode_latent_to_preview_image("JPEG", x0)[1]


@pytest.mark.parametrize(("time", "biome"), [("noon", "meadow"), ("sunset", "desert"), ("night", "lake")])
def test_a_scene_of_the_demos_world_is_previewed_in_its_colours(method, run_node, time, biome):
    model, _, vae, _ = run_node("SyncDiffusionLoadDemoModel")
    picture = torch.from_numpy(render(50_000_000, time, biome, 256)).float()[None] / 255
    latent = run_node("VAEEncode", pixels=picture, vae=vae)[0]
    cells = by_cell(run_node("VAEDecode", samples=latent, vae=vae)[0][0])
    x0 = model.model.process_latent_in(latent["samples"])
    assert (colours(previewed(model.model.latent_format, x0), cells) - cells).abs().mean() < CLOSE
    args.preview_method = LatentPreviewMethod.Latent2RGB  # what the monkeypatch takes back
    assert (colours(previewed(comfy.latent_formats.SD15(), x0), cells) - cells).abs().mean() > FAR


@pytest.mark.parametrize("sampler", ["KSampler", "Panorama Sampler", "Apply Windows"])
def test_a_run_of_the_demo_model_shows_its_own_colours(
    method, sampler, run_node, ksampler, panorama, windows, monkeypatch
):
    """The last preview of a run against the picture that it makes."""
    model, clip, vae, _ = run_node("SyncDiffusionLoadDemoModel")
    positive, negative = (run_node("CLIPTextEncode", clip=clip, text=text)[0] for text in ("meadow at noon", ""))
    inputs = {"positive": positive, "negative": negative, "latent_image": {"samples": torch.zeros(1, 4, 16, 32)}}
    layout, shown = windows(128, 64, height=128), []
    monkeypatch.setattr(comfy.utils, "PROGRESS_BAR_HOOK", lambda *told, **more: shown.append(told[2]))
    if sampler == "Panorama Sampler":
        samples = panorama(model, layout, steps=4, **inputs)[0]["samples"]
    else:
        if sampler == "Apply Windows":
            model = run_node("SyncDiffusionApplyWindows", model=model, windows=layout)[0]
        samples = ksampler(model, steps=4, **inputs)
    last = [preview for preview in shown if preview is not None][-1]
    cells = by_cell(run_node("VAEDecode", samples={"samples": samples}, vae=vae)[0][0])
    assert (colours(last[1], cells) - cells).abs().mean() < CLOSE


def test_what_the_hosts_latent_format_sets_on_itself_is_the_demos_own(run_node):
    """All that an instance of SD 1.5's has: anything else that its constructor sets would be shown here."""
    ours, stock = run_node("SyncDiffusionLoadDemoModel")[0].model.latent_format, comfy.latent_formats.SD15()
    same = {name for name in vars(stock) if getattr(ours, name) == getattr(stock, name)}
    assert same == {"scale_factor"}  # the demo's VAE was trained to it
    assert ours.taesd_decoder_name is None
    assert np.shape(ours.latent_rgb_factors) == (4, 3)
    assert np.shape(ours.latent_rgb_factors_bias) == (3,)
