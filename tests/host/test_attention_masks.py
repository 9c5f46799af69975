"""Attention masks over text and patches: each window attends by its own part of them, as a window alone would."""

import pytest
import torch

HOW = pytest.mark.parametrize("how", ["sampler", "apply windows"])
WRAP = pytest.mark.parametrize("wrap", [False, True], ids=["", "wrapped"])
PATCH, WORDS, HEIGHT = 2, 8, 8  # cells of a patch, tokens of the small conditioning, cells of the canvas


@pytest.fixture(scope="module")
def flux(small):
    return small.flux_model()


def coupled(columns):
    """A bias for a canvas of these columns of latent cells: the text's first half counts left of cell 10, and so on."""
    left = torch.tensor([column < 10 for column in columns[::PATCH]]).repeat(HEIGHT // PATCH)
    tokens = WORDS + len(left)
    mask = torch.zeros(1, tokens, tokens)
    mask[:, WORDS:, : WORDS // 2] = torch.where(left, 2.0, -2.0)[:, None]
    mask[:, : WORDS // 2, WORDS:] = torch.where(left, 1.0, -1.0)
    mask[:, WORDS:, WORDS:] = torch.where(left[:, None] == left, 1.0, -1.0)
    return mask


@HOW
@WRAP
@pytest.mark.parametrize("per_batch", [1, 0])
def test_masks_of_places_are_those_of_windows_alone(how, wrap, per_batch, flux, small, alone, windowed, oracle):
    def conds(columns):
        options = {
            "attention_mask": coupled(columns),
            "attention_mask_img_shape": (HEIGHT // PATCH, len(columns) // PATCH),
        }
        return {"positive": small.conditioning(1, **options), "negative": small.conditioning(2)}

    ours = windowed(how, flux, **conds(range(oracle.CANVAS)), wrap=wrap, per_batch=per_batch)
    oracle.agree(ours, alone(flux, lambda window: conds(window.columns), wrap))
    plain = windowed(how, flux, small.conditioning(1), small.conditioning(2), wrap=wrap)
    assert not torch.allclose(ours, plain)


class Style:
    """In the place of a style model: four tokens of an image."""

    def get_cond(self, clip_vision_output):
        return torch.randn(1, 4, 32, generator=torch.manual_seed(2))


@HOW
def test_a_style_models_strength_is_that_of_windows_alone(how, flux, small, alone, windowed, run_node, oracle):
    """Redux as an attention bias: a mask that is the same at every place."""

    def conds(window=None):
        given = {"style_model": Style(), "clip_vision_output": None, "strength": 0.3, "strength_type": "attn_bias"}
        positive = run_node("StyleModelApply", conditioning=small.conditioning(1), **given)[0]
        return {"positive": positive, "negative": small.conditioning(2)}

    oracle.agree(windowed(how, flux, **conds()), alone(flux, conds))


def test_a_mask_of_another_size_is_named(small, models, windowed):
    """For a model that takes it as it is."""
    import comfy.conds

    class Takes(type(models["eps"].model)):
        def extra_conds(self, **kwargs):
            return {**super().extra_conds(**kwargs), "attention_mask": comfy.conds.CONDRegular(torch.zeros(1, 27, 27))}

    model = small.unet_model(models["eps"].model.model_type)
    model.model.__class__ = Takes
    with pytest.raises(ValueError, match="attention mask is for 19 patches of a picture"):
        windowed("sampler", model, small.conditioning(1), small.conditioning(2))
