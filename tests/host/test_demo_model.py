"""The demo model in the host's own classes is the demo model in plain torch."""

import pytest
import torch

from demo.objects import CONTROL_FILE, OBJECTS
from demo.pipeline import load_demo, load_objects

LOADERS = {
    "SyncDiffusionLoadDemoModel": load_demo,
    "SyncDiffusionLoadDemoModelAround": lambda: load_demo(around=True),
    "SyncDiffusionLoadDemoModelObjects": load_objects,
}
"""Nodes, and their models without a host."""


@pytest.fixture(scope="module", params=LOADERS)
def loader(request):
    """The node; that of objects only once they are trained."""
    if request.param.endswith("Objects") and not (OBJECTS.file.exists() and CONTROL_FILE.exists()):
        pytest.skip("objects are not trained yet: python -m demo.train objects")
    return request.param


@pytest.fixture(scope="module")
def plain(loader):
    """The model without a host."""
    return LOADERS[loader]()


@pytest.fixture
def loaded(run_node, loader):
    """(MODEL, CLIP, VAE) of the loader node."""
    return run_node(loader)[:3]


def encoded(run_node, clip, text: str) -> torch.Tensor:
    """What CLIPTextEncode makes of a prompt."""
    return run_node("CLIPTextEncode", clip=clip, text=text)[0][0][0]


@pytest.mark.parametrize("text", ["mountains", "", "a lake at dusk, clouds"])
def test_prompts(run_node, loaded, plain, text):
    assert torch.allclose(encoded(run_node, loaded[1], text), plain.encode([text]), atol=1e-5)


def test_prompt_weights_act(run_node, loaded):
    clip = loaded[1]
    neutral = encoded(run_node, clip, "lake at dusk")
    assert torch.allclose(encoded(run_node, clip, "lake at (dusk:1.0)"), neutral)
    assert not torch.allclose(encoded(run_node, clip, "lake at (dusk:1.5)"), neutral)


def test_long_prompts_go_on_in_further_chunks(run_node, loaded):
    context = encoded(run_node, loaded[1], ", ".join(["lake", "dusk", "clouds"] * 10))
    assert context.shape[1] == 2 * 16
    assert context.isfinite().all()


def test_up_and_down_are_words_of_the_one_that_looks_around(run_node, loaded, loader, host):
    host.server.events.clear()
    encoded(run_node, loaded[1], "zenith, looking up, forest")
    told = any(isinstance(data, bytes) and b"zenith, up" in data for _, data in host.server.events)
    assert told is (loader == "SyncDiffusionLoadDemoModel")


def test_unknown_words_are_reported(run_node, loaded, host):
    encoded(run_node, loaded[1], "a spaceship over mountains")
    assert any(isinstance(data, bytes) and b"spaceship" in data for _, data in host.server.events)


def test_one_denoising_step(run_node, loaded, plain, small):
    """A single Euler step from pure noise to 0 is the host's x0; ours must be the same."""
    model, clip, _ = loaded
    positive, negative = (run_node("CLIPTextEncode", clip=clip, text=text)[0] for text in ("mountains", ""))
    sigmas = run_node("BasicScheduler", model=model, scheduler="ddim_uniform", steps=50, denoise=1.0)[0]
    for sigma in (sigmas[0], sigmas[25]):
        host_x0 = run_node(
            "SamplerCustom",
            model=model,
            add_noise=True,
            noise_seed=5,
            cfg=5.0,
            positive=positive,
            negative=negative,
            sampler=run_node("KSamplerSelect", sampler_name="euler")[0],
            sigmas=torch.tensor([float(sigma), 0.0]),
            latent_image=small.empty_latent(256, 128),
        )[0]["samples"]
        noise = torch.randn(1, 4, 16, 32, generator=torch.manual_seed(5))
        denoise = plain.denoiser(plain.encode(["mountains"]), plain.encode([""]), 5.0)
        with torch.no_grad():
            x0 = denoise(noise * float(sigma), float(sigma), [0])
        assert torch.allclose(model.model.process_latent_in(host_x0), x0, atol=2e-3 * float(x0.abs().max()))


def test_vae_both_ways(run_node, loaded, plain):
    vae = loaded[2]
    image = torch.rand(1, 128, 256, 3, generator=torch.Generator().manual_seed(0))
    latent = run_node("VAEEncode", pixels=image, vae=vae)[0]
    with torch.no_grad():
        ours = plain.encode_image(image.movedim(-1, 1))
        decoded = plain.decode(ours)
    model = loaded[0].model
    assert torch.allclose(model.process_latent_in(latent["samples"]), ours, atol=1e-4)
    host_image = run_node("VAEDecode", samples=latent, vae=vae)[0]
    assert torch.allclose(host_image.movedim(-1, 1), decoded, atol=1e-4)


def test_combined_conditioning_runs_windowed(run_node, loaded, panorama, windows, small):
    model, clip, _ = loaded
    first, second = (run_node("CLIPTextEncode", clip=clip, text=text)[0] for text in ("lake", "clouds"))
    both = run_node("ConditioningCombine", conditioning_1=first, conditioning_2=second)[0]
    layout = windows(128, 64, height=128)
    latent = small.empty_latent(256, 128)
    out = panorama(model, layout, positive=both, negative=first, latent_image=latent, steps=2)[0]
    assert out["samples"].isfinite().all()
