"""Every conditioning follows its window: against an oracle that runs each window alone through the host's functions."""

import pytest
import torch

CANVAS = 24  # latent cells, as in the oracle
HOW = pytest.mark.parametrize("how", ["sampler", "apply windows"])


def half_mask(left=True):
    """[1, 64, 192] pixels: 1 in one half of the canvas, with a soft border."""
    ramp = ((torch.arange(8 * CANVAS) // 8 - CANVAS / 2) / 4).clamp(-0.5, 0.5) + 0.5
    return (1 - ramp if left else ramp).repeat(1, 64, 1)


def pixels(mask, window):
    return window.cut(mask, 8)


@HOW
@pytest.mark.parametrize("wrap", [False, True], ids=["", "wrapped"])
@pytest.mark.parametrize("per_batch", [1, 2, 0])
def test_masks(how, wrap, per_batch, small, models, alone, windowed, run_node, oracle):
    """Two prompts, each in its half."""

    def conds(cut=lambda mask: mask):
        parts = [
            run_node("ConditioningSetMask", conditioning=small.conditioning(seed), mask=cut(half_mask(left)), **spec)[0]
            for seed, left, spec in ((1, True, {"strength": 0.7}), (5, False, {"strength": 1.0}))
        ]
        return {"positive": parts[0] + parts[1], "negative": small.conditioning(2)}

    ours = windowed(how, models["eps"], **conds(), per_batch=per_batch, wrap=wrap)
    oracle.agree(ours, alone(models["eps"], lambda window: conds(lambda mask: pixels(mask, window)), wrap))


@HOW
def test_masks_with_bounds(how, small, models, alone, windowed, run_node, oracle):
    """set_cond_area "mask bounds": the host turns the mask into an area as well, of at least 8 x 8 cells."""
    mask = torch.zeros(1, 64, 8 * CANVAS)
    mask[..., 64:] = 1

    def conds(cut=lambda mask: mask):
        given = {"mask": cut(mask), "strength": 0.7, "set_cond_area": "mask bounds"}
        extra = run_node("ConditioningSetMask", conditioning=small.conditioning(5), **given)[0]
        return {"positive": small.conditioning(1) + extra, "negative": small.conditioning(2)}

    wanted = alone(models["eps"], lambda window: conds(lambda mask: pixels(mask, window)))
    oracle.agree(windowed(how, models["eps"], **conds()), wanted)


@HOW
@pytest.mark.parametrize("wrap", [False, True], ids=["", "wrapped"])
@pytest.mark.parametrize("area", [(12, 12), (5, 9), (0, 6), (18, 6), (2, 20)], ids=lambda a: f"{a[0]}+{a[1]}")
def test_areas(how, wrap, area, small, models, alone, windowed, oracle):
    """A prompt over the whole canvas and one in an area (start, width in cells), given in percent and in cells."""
    start, width = area

    def conds(areas):
        parts = [small.conditioning(5, area=a, strength=0.8, set_area_to_bounds=False) for a in areas]
        return {
            "positive": small.conditioning(1) + [part[0] for part in parts],
            "negative": small.conditioning(2),
        }

    percent = ("percentage", 1.0, width / CANVAS, 0.0, start / CANVAS)
    ours = windowed(how, models["eps"], **conds([percent]), wrap=wrap)
    oracle.agree(ours, windowed(how, models["eps"], **conds([(8, width, 0, start)]), wrap=wrap, per_batch=2))

    def in_window(window):
        return conds([(8, length, 0, first) for first, length in window.spans(start, width)])

    oracle.agree(ours, alone(models["eps"], in_window, wrap))


def test_default_conditioning_fills_what_masks_leave(small, models, alone, windowed, oracle):
    def conds(cut=lambda mask: mask):
        masked = small.conditioning(5, mask=cut(half_mask()), mask_strength=1.0, set_area_to_bounds=False)
        return {"positive": masked + small.conditioning(1, default=True), "negative": small.conditioning(2)}

    ours = windowed("sampler", models["eps"], **conds())
    oracle.agree(ours, alone(models["eps"], lambda window: conds(lambda mask: pixels(mask, window))))


def test_timestep_ranges(small, models, alone, windowed, run_node, oracle):
    early = run_node("ConditioningSetTimestepRange", conditioning=small.conditioning(1), start=0.0, end=0.5)[0]
    late = run_node("ConditioningSetTimestepRange", conditioning=small.conditioning(5), start=0.5, end=1.0)[0]
    conds = {"positive": early + late, "negative": small.conditioning(2)}
    oracle.agree(windowed("sampler", models["eps"], **conds), alone(models["eps"], lambda window: conds))


@HOW
def test_inpaint_models_see_their_own_part(how, small, alone, windowed, oracle):
    """A model with nine input channels: mask and masked picture (concat) come with the conditioning."""
    from comfy.model_base import ModelType

    model = small.unet_model(ModelType.EPS, in_channels=9)
    picture = torch.randn(1, 4, 8, CANVAS, generator=torch.manual_seed(9))
    hole = (half_mask()[:, None, ::8, ::8] > 0.5).float()

    def conds(cut=lambda latent: latent):
        options = {"concat_latent_image": cut(picture), "concat_mask": cut(hole)}
        return {"positive": small.conditioning(1, **options), "negative": small.conditioning(2, **options)}

    model.model.concat_keys = ("mask", "masked_image")
    oracle.agree(windowed(how, model, **conds()), alone(model, lambda window: conds(window.cut)))
