"""Neutral settings reproduce the host."""

import pytest
import torch

SAMPLERS = ["euler", "ddim", "dpmpp_2m", "euler_ancestral", "heun"]


def assert_same(ours: torch.Tensor, stock: torch.Tensor) -> None:
    """Equal to float32 accuracy of a whole run."""
    assert ours.shape == stock.shape
    assert (ours - stock).abs().max() <= 2e-5 * stock.abs().max()


@pytest.mark.parametrize("family", ["eps", "v", "flow"])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_one_window_without_guidance_is_the_stock_sampler(models, windows, panorama, ksampler, family, sampler):
    ours = panorama(models[family], windows(192, 192), sampler_name=sampler)[0]["samples"]
    assert_same(ours, ksampler(models[family], sampler_name=sampler))


@pytest.mark.parametrize("family", ["eps", "v", "flow"])
@pytest.mark.parametrize("sampler", ["euler", "ddim"])
def test_one_window_with_weight_0_is_the_stock_sampler(models, windows, panorama, ksampler, guidance, family, sampler):
    ours = panorama(models[family], windows(192, 192), guidance=guidance(weight=0.0), sampler_name=sampler)
    assert_same(ours[0]["samples"], ksampler(models[family], sampler_name=sampler))


@pytest.mark.parametrize("family", ["eps", "v", "flow"])
def test_one_guided_window_is_its_own_anchor_and_stays(models, windows, panorama, ksampler, guidance, family):
    ours = panorama(models[family], windows(192, 192), guidance=guidance(weight=20.0, end_percent=1.0))
    assert_same(ours[0]["samples"], ksampler(models[family]))


@pytest.mark.parametrize("blend", ["uniform", "gaussian", "feathered"])
@pytest.mark.parametrize("wrap", [False, True])
def test_apply_windows_under_the_stock_sampler_is_the_panorama_sampler(
    models, windows, panorama, ksampler, run_node, blend, wrap
):
    layout = windows(64, 24, blend=blend, wrap_x=wrap)
    windowed = run_node("SyncDiffusionApplyWindows", model=models["eps"], windows=layout)[0]
    assert_same(ksampler(windowed), panorama(models["eps"], layout)[0]["samples"])
