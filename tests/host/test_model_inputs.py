"""Inputs of a model beside its latents: what is an image of the canvas is cut, what has no place is whole."""

import comfy.conds
import pytest
import torch

HOW = pytest.mark.parametrize("how", ["sampler", "apply windows"])
CANVAS = (8, 24)  # latent cells


def numbered(*shape):
    """Every number once."""
    return torch.arange(float(torch.Size(shape).numel())).reshape(shape)


@pytest.fixture
def told(small, models, windowed):
    """told(how, inputs) -> what the network was told in the run: a dict of its inputs for each call."""

    def run(how, inputs):
        model, calls = small.unet_model(models["eps"].model.model_type), []

        class Takes(type(model.model)):
            def extra_conds(self, **kwargs):
                return {**super().extra_conds(**kwargs), **inputs}

        model.model.__class__ = Takes
        note = lambda module, args, kwargs: calls.append({name: kwargs[name] for name in inputs})  # noqa: E731
        model.model.diffusion_model.register_forward_pre_hook(note, with_kwargs=True)
        windowed(how, model, small.conditioning(1), small.conditioning(2), per_batch=1)
        return calls

    return run


@HOW
@pytest.mark.parametrize(
    ("shape", "cell"),
    [
        ((1, 3, *CANVAS), 1),
        ((1, 1, *CANVAS), 1),
        ((1, 2, 3, *CANVAS), 1),
        ((1, 2, 2, 3, *CANVAS), 1),
        ((1, 3, 64, 192), 8),
    ],
    ids=["image", "mask", "film", "several films", "in pixels"],
)
def test_images_of_the_canvas_are_cut(how, shape, cell, told, oracle):
    image = numbered(*shape)
    wanted = [oracle.WindowAlone(left).cut(image, cell) for left in oracle.LEFTS]
    seen = [rows[:1] for call in told(how, {"image": comfy.conds.CONDRegular(image)}) for rows in [call["image"]]]
    for window in wanted:
        assert any(torch.equal(window, one) for one in seen)
    assert {one.shape for one in seen} == {wanted[0].shape}


@HOW
@pytest.mark.parametrize(
    "shape", [(1, *CANVAS), (1, 4, 24, 8), (1, 4, 16, 24), (1, 4, 9, 27), (1, 4, 8, 8), (1, 24)], ids=str
)
def test_what_has_no_place_is_whole(how, shape, told):
    """Text that has as many tokens as the canvas has rows, pictures of another shape."""
    value = numbered(*shape)
    for call in told(how, {"value": comfy.conds.CONDRegular(value)}):
        assert torch.equal(call["value"][: len(value)], value)


def test_constants_are_whole(told):
    value = numbered(1, 1, *CANVAS)
    assert all(
        torch.equal(call["value"], value) for call in told("sampler", {"value": comfy.conds.CONDConstant(value)})
    )


def test_reference_pictures_are_cut_where_they_are_the_canvas(told, oracle):
    """In a list; one of twice its size is a picture of its own."""
    of_canvas, small_one, large_one = numbered(1, 4, *CANVAS), numbered(1, 4, 8, 8), numbered(1, 4, 16, 48)
    calls = told("sampler", {"references": comfy.conds.CONDList([of_canvas, small_one, large_one])})
    lefts = {float(call["references"][0][0, 0, 0, 0]) for call in calls}
    assert lefts == set(map(float, oracle.LEFTS))
    for call in calls:
        assert torch.equal(call["references"][1][:1], small_one)
        assert torch.equal(call["references"][2][:1], large_one)


@HOW
@pytest.mark.parametrize(
    ("name", "cond"),
    [
        ("c_concat", comfy.conds.CONDNoiseShape(numbered(1, 4, 8, 16))),
        ("effnet", comfy.conds.CONDRegular(numbered(1, 16, 3, 9))),
    ],
)
def test_images_that_cannot_be_cut_are_named(how, name, cond, told):
    with pytest.raises(
        ValueError, match=rf"conditioning: the model's input '{name}' is an image of .* so it cannot be cut"
    ):
        told(how, {name: cond})


class Seen:
    """What a CLIP vision model says of a picture."""

    def __init__(self, seed):
        self.image_embeds = torch.randn(1, 32, generator=torch.manual_seed(seed))


@pytest.mark.parametrize("how", ["sampler", "custom", "apply windows"])
def test_unclip_embeddings_are_the_same_in_every_window(how, small, alone, windowed, run_node, oracle):
    """With the noise that the host adds to them for the run's seed, whatever the window."""
    model = small.unclip_model()
    given = {"clip_vision_output": Seen(3), "strength": 0.8, "noise_augmentation": 0.3}
    positive = run_node("unCLIPConditioning", conditioning=small.conditioning(1), **given)[0]
    conds = {"positive": positive, "negative": small.conditioning(2)}
    oracle.agree(windowed(how, model, **conds), alone(model, lambda window: conds))
