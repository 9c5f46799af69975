"""Pictures to redo, wholly or under a noise mask: the host's blend on the canvas is that of windows alone."""

import pytest
import torch

HOW = pytest.mark.parametrize("how", ["sampler", "custom", "apply windows"])
RUNS = pytest.mark.parametrize(("family", "denoise"), [("eps", 1.0), ("eps", 0.6), ("flow", 0.6)])
WRAP = pytest.mark.parametrize("wrap", [False, True], ids=["", "wrapped"])


@pytest.fixture
def picture(oracle):
    """A latent to redo, [1, 4, 8, canvas]."""
    return torch.randn(1, 4, 8, oracle.CANVAS, generator=torch.manual_seed(9))


@pytest.fixture
def mask(oracle):
    """[1, 64, W] pixels: one part of the canvas may change, with a soft border, and a half of the rest by half."""
    ramp = ((torch.arange(8 * oracle.CANVAS) - 70) / 40).clamp(0, 1).repeat(1, 64, 1)
    ramp[:, :32, :50] = 0.5
    return ramp


@pytest.fixture
def both(small, alone, windowed, picture):
    """both(how, model, wrap, mask, denoise) -> (ours, the windows alone)."""
    conds = {"positive": small.conditioning(1), "negative": small.conditioning(2)}

    def run(how, model, wrap=False, mask=None, denoise=1.0, oracle_model=None):
        latent = {"samples": picture, **({} if mask is None else {"noise_mask": mask})}
        ours = windowed(how, model, **conds, wrap=wrap, latent=latent, denoise=denoise)
        return ours, alone(oracle_model or model, lambda _: conds, wrap, latent=picture, mask=mask, denoise=denoise)

    return run


@HOW
@WRAP
@RUNS
def test_pictures_are_redone(how, wrap, family, denoise, both, models, picture, oracle):
    ours, wanted = both(how, models[family], wrap, denoise=denoise)
    oracle.agree(ours, wanted)
    assert not torch.allclose(ours, picture, atol=0.1)


@HOW
@WRAP
@RUNS
def test_masks_keep_the_rest(how, wrap, family, denoise, both, mask, models, picture, oracle):
    ours, wanted = both(how, models[family], wrap, mask, denoise)
    oracle.agree(ours, wanted)
    kept = slice(7, 8)  # a column that the mask leaves alone in its lower half
    assert (ours - picture)[..., 5:, kept].abs().max() < 1e-4


@HOW
@pytest.mark.parametrize("strength", [1.0, 0.6])
def test_differential_diffusion_lets_each_part_change_from_its_own_step_on(
    how, strength, both, mask, models, run_node, oracle
):
    model = run_node("DifferentialDiffusion", model=models["eps"], strength=strength)[0]
    ours, wanted = both(how, model, mask=mask)
    oracle.agree(ours, wanted)
    assert not torch.allclose(ours, both(how, models["eps"], mask=mask)[0])


@HOW
def test_a_mask_is_also_an_inpaint_models_own_input(how, small, both, mask, oracle):
    """Nine channels: mask and picture of the canvas, cut, and the blend around them."""
    from comfy.model_base import ModelType

    model = small.unet_model(ModelType.EPS, in_channels=9)
    model.model.concat_keys = ("mask", "masked_image")
    ours, wanted = both(how, model, mask=(mask > 0.5).float(), denoise=0.6)
    oracle.agree(ours, wanted)
