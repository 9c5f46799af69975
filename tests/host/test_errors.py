"""Bad input is named with its rule, its value and a remedy, before any model is loaded."""

import comfy.model_management
import comfy.nested_tensor
import pytest
import torch
from safetensors.torch import save_file


@pytest.fixture
def refused(monkeypatch):
    """refused(call, *words): the call raises ValueError with those words, and no model was loaded for it."""

    def check(call, *words):
        loaded = []
        with monkeypatch.context() as patch:
            patch.setattr(comfy.model_management, "load_models_gpu", lambda *a, **k: loaded.append(a))
            with pytest.raises(ValueError) as caught:
                call()
        message = str(caught.value)
        assert not [word for word in words if word not in message], message
        assert not loaded

    return check


def test_window_larger_than_the_canvas(refused, panorama, models, windows):
    layout = windows(512, 64, height=64)
    refused(lambda: panorama(models["eps"], layout), "window", "512", "192", "at most")


@pytest.mark.parametrize("stride", [0, 72])
def test_stride(refused, windows, stride):
    refused(lambda: windows(64, stride), "stride_x", str(stride), "64", "between")


def test_window_off_the_latent_grid(refused, panorama, models, windows):
    refused(lambda: panorama(models["eps"], windows(60, 20)), "window_width", "60", "multiple of 8", "56")


def test_mask_batch(refused, panorama, models, windows, small):
    latent = {**small.empty_latent(192, 64, batch=3), "noise_mask": torch.ones(2, 64, 192)}
    refused(lambda: panorama(models["eps"], windows(64, 32), latent_image=latent), "latent_image", "mask", "2", "3")


def test_vae_missing(refused, panorama, models, windows, run_node, perceptual):
    guide = run_node("SyncDiffusionGuidance", perceptual_model=perceptual)[0]
    refused(lambda: panorama(models["eps"], windows(64, 32), guidance=guide), "vae", "decode", "Load VAE")


def test_perceptual_model_missing(refused, run_node, vae):
    refused(
        lambda: run_node("SyncDiffusionGuidance", vae=vae, perceptual_model=None),
        "perceptual_model",
        "Load Perceptual Model",
    )


def test_vae_of_another_family(refused, panorama, models, windows, guidance):
    guide = guidance()
    guide.vae.latent_channels, kept = 16, guide.vae.latent_channels
    try:
        refused(lambda: panorama(models["eps"], windows(64, 32), guidance=guide), "vae", "16", "4", "own VAE")
    finally:
        guide.vae.latent_channels = kept


def test_nan_latent(refused, panorama, models, windows, small):
    latent = small.empty_latent(192, 64)
    latent["samples"][0, 0, 0, 0] = float("nan")
    refused(lambda: panorama(models["eps"], windows(64, 32), latent_image=latent), "latent_image", "NaN")


def test_nested_latent(refused, panorama, models, windows, run_node, vae):
    nested = comfy.nested_tensor.NestedTensor([torch.zeros(1, 4, 8, 24), torch.zeros(1, 4, 8, 8)])
    latent = {"samples": nested}
    refused(lambda: panorama(models["eps"], windows(64, 32), latent_image=latent), "latent_image", "nested")
    refused(lambda: run_node("SyncDiffusionPanoramaDecode", samples=latent, vae=vae), "samples", "nested")


@pytest.mark.parametrize("index", [5, -6])
def test_anchor_index(refused, panorama, models, windows, guidance, index):
    guide = guidance(anchor="window by index", anchor_index=index)
    refused(lambda: panorama(models["eps"], windows(64, 32), guidance=guide), "anchor_index", str(index), "4")


def test_anchor_image_missing_or_of_another_batch(refused, panorama, models, windows, guidance, small):
    refused(lambda: guidance(anchor="reference image"), "anchor", "anchor_image")
    guide = guidance(anchor="reference image", anchor_image=torch.rand(2, 64, 64, 3))
    latent = small.empty_latent(192, 64, batch=3)
    refused(
        lambda: panorama(models["eps"], windows(64, 32), guidance=guide, latent_image=latent), "anchor_image", "2", "3"
    )


@pytest.fixture
def models_folder(host, tmp_path):
    """A folder of perceptual networks that the host looks in during one test."""
    import folder_paths

    folders = folder_paths.folder_names_and_paths["perceptual"][0]
    folders.append(str(tmp_path))
    yield tmp_path
    folders.remove(str(tmp_path))
    folder_paths.filename_list_cache.pop("perceptual", None)


def test_weights_file_that_is_not_safetensors_or_does_not_fit(refused, run_node, models_folder):
    (models_folder / "broken.safetensors").write_bytes(b"not a safetensors file at all")
    save_file({"net.slice1.0.weight": torch.zeros(64, 3, 3, 3)}, models_folder / "strange.safetensors")
    meta = {"format": "syncdiffusion-perceptual", "net": "alex", "constant": "1.0"}
    save_file({"net.slice1.0.weight": torch.zeros(64, 3, 3, 3)}, models_folder / "small.safetensors", metadata=meta)
    for name, words in {
        "broken.safetensors": ("broken.safetensors", "not a readable safetensors"),
        "strange.safetensors": ("strange.safetensors", "not a perceptual network"),
        "small.safetensors": ("small.safetensors", "do not fit", "alex"),
    }.items():
        refused(lambda name=name: run_node("SyncDiffusionLoadPerceptualModel", perceptual_name=name), *words)


@pytest.mark.parametrize("sampler", ["uni_pc", "uni_pc_bh2", "sa_solver", "dpm_adaptive", "dpm_fast"])
def test_samplers_that_forget_a_move(refused, panorama, models, windows, guidance, sampler):
    refused(
        lambda: panorama(models["eps"], windows(64, 32), guidance=guidance(), sampler_name=sampler),
        sampler.removesuffix("_bh2"),
        "guidance",
        "dpmpp_2m",
    )


@pytest.mark.parametrize("algorithm", ["reference (Algorithm 1)", "sequential (Blended Latent Diffusion)"])
def test_loops_of_our_own_need_euler(refused, panorama, models, windows, algorithm):
    run = {"sampler_name": "dpmpp_2m", "algorithm": algorithm}
    refused(lambda: panorama(models["eps"], windows(64, 32), **run), "sampler", algorithm, "euler and ddim only")


def test_sequential_extrapolation_takes_no_guidance(refused, panorama, models, windows, guidance):
    run = {"algorithm": "sequential (Blended Latent Diffusion)", "guidance": guidance()}
    refused(lambda: panorama(models["eps"], windows(64, 32), **run), "guidance", "sequential", "disconnect")


def test_guidance_mask_batch(refused, panorama, models, windows, guidance, small):
    run = {"guidance": guidance(mask=torch.ones(2, 8, 8)), "latent_image": small.empty_latent(192, 64, batch=3)}
    refused(lambda: panorama(models["eps"], windows(64, 32), **run), "guidance", "mask", "2", "3")


def test_apply_windows_twice(run_node, models, windows):
    once = run_node("SyncDiffusionApplyWindows", model=models["eps"], windows=windows(64, 32))[0]
    with pytest.raises(ValueError, match="already"):
        run_node("SyncDiffusionApplyWindows", model=once, windows=windows(64, 32))


def test_a_latent_of_another_model(refused, panorama, models, windows):
    latent = {"samples": torch.ones(1, 16, 8, 24)}
    refused(
        lambda: panorama(models["eps"], windows(64, 32), latent_image=latent),
        "latent_image",
        "16",
        "4",
        "another model",
    )


def test_an_anchor_picture_that_is_none(refused, guidance):
    for picture, word in ((torch.full((1, 64, 64, 3), float("nan")), "NaN"), (torch.ones(1, 64, 64, 1), "in colour")):
        refused(lambda p=picture: guidance(anchor="reference image", anchor_image=p), "anchor_image", word)
