"""Every guider and every sampler of the host, with windows: one window is the stock run, several are several."""

import comfy.samplers
import pytest
import torch

GUIDERS = {
    "BasicGuider": {"conditioning": 1},
    "CFGGuider": {"positive": 1, "negative": 2, "cfg": 4.0},
    "DualCFGGuider": {"cond1": 1, "cond2": 5, "negative": 2, "cfg_conds": 3.0, "cfg_cond2_negative": 4.0},
    "PerpNegGuider": {"positive": 1, "negative": 2, "empty_conditioning": 6, "cfg": 4.0},
}


@pytest.fixture
def advanced(run_node, small, models):
    """advanced(guider, SAMPLER, width px) -> latent of SamplerCustomAdvanced; numbers below 9 stand for prompts."""

    def run(guider, sampler, width=192):
        inputs = {key: small.conditioning(value) if type(value) is int else value for key, value in guider[1].items()}
        latent = run_node(
            "SamplerCustomAdvanced",
            noise=run_node("RandomNoise", noise_seed=3)[0],
            guider=run_node(guider[0], model=models["eps"], **inputs)[0],
            sampler=sampler,
            sigmas=run_node("BasicScheduler", model=models["eps"], scheduler="normal", steps=3, denoise=1.0)[0],
            latent_image=small.empty_latent(width, 64),
        )[0]
        return latent["samples"]

    return run


@pytest.fixture
def synchronised(run_node, windows):
    """synchronised(width, inner sampler, guidance) -> our SAMPLER."""

    def make(width, name="euler", guidance=None):
        inner = run_node("KSamplerSelect", sampler_name=name)[0]
        extra = {"guidance": guidance} if guidance is not None else {}
        return run_node("SyncDiffusionSampler", windows=windows(width, width // 2), sampler=inner, **extra)[0]

    return make


def same(one, other):
    assert (one - other).abs().max() <= 2e-5 * other.abs().max()


@pytest.mark.parametrize("guider", GUIDERS.items(), ids=list(GUIDERS))
class TestGuiders:
    """Those that make several predictions a step as well."""

    def test_one_window_is_the_stock_run(self, guider, advanced, synchronised, run_node):
        stock = advanced(guider, run_node("KSamplerSelect", sampler_name="euler")[0], width=64)
        same(advanced(guider, synchronised(64), width=64), stock)

    def test_apply_windows_agrees(self, guider, advanced, synchronised, run_node, windows, models, monkeypatch):
        """Averaging every prediction before the guider combines them: the same, but for PerpNeg's projection."""
        ours = advanced(guider, synchronised(64))
        applied = run_node("SyncDiffusionApplyWindows", model=models["eps"], windows=windows(64, 32))[0]
        monkeypatch.setitem(models, "eps", applied)
        result = advanced(guider, run_node("KSamplerSelect", sampler_name="euler")[0])
        if guider[0] == "PerpNegGuider":
            assert result.isfinite().all()
        else:
            same(result, ours)

    def test_guidance_moves_windows(self, guider, advanced, synchronised, guidance):
        guide = guidance(weight=200.0, end_percent=1.0)
        moved = advanced(guider, synchronised(64, guidance=guide))
        assert moved.isfinite().all()
        assert not torch.allclose(moved, advanced(guider, synchronised(64)))


@pytest.mark.parametrize("name", comfy.samplers.KSampler.SAMPLERS)
def test_every_sampler_with_one_window_is_the_stock_one(name, panorama, windows, ksampler, models, small):
    inputs = {"sampler_name": name, "steps": 4, "latent_image": small.empty_latent(64, 64)}
    same(panorama(models["eps"], windows(64, 64), **inputs)[0]["samples"], ksampler(models["eps"], **inputs))


@pytest.mark.parametrize("how", ["sampler", "apply windows"])
def test_a_second_model_for_the_negative_prompt_is_told_the_windows_size(how, small, run_node, windows, synchronised):
    """The host's dual guider with SDXL twice is its CFG guider with one."""
    model, layout = small.sdxl_model(), windows(64, 32)
    sampler = synchronised(64)
    if how == "apply windows":
        model = run_node("SyncDiffusionApplyWindows", model=model, windows=layout)[0]
        sampler = run_node("KSamplerSelect", sampler_name="euler")[0]
    prompts = {"positive": small.conditioning(1), "negative": small.conditioning(2), "cfg": 4.0}
    results = [
        run_node(
            "SamplerCustomAdvanced",
            noise=run_node("RandomNoise", noise_seed=3)[0],
            guider=run_node(guider, model=model, **prompts, **second)[0],
            sampler=sampler,
            sigmas=run_node("BasicScheduler", model=model, scheduler="normal", steps=3, denoise=1.0)[0],
            latent_image=small.empty_latent(192, 64),
        )[0]["samples"]
        for guider, second in (("CFGGuider", {}), ("DualModelGuider", {"model_negative": model}))
    ]
    same(*results)
