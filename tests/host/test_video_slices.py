"""Conditioning of latents with a time axis: areas in three dimensions, masks of each frame, pictures to start from."""

import pytest
import torch

HOW = pytest.mark.parametrize("how", ["sampler", "apply windows"])
WRAP = pytest.mark.parametrize("wrap", [False, True], ids=["", "wrapped"])
FRAMES, HEIGHT = 3, 8  # latent cells


@pytest.fixture(scope="module")
def wan(small):
    return small.wan_model()


@pytest.fixture
def both(alone, windowed, oracle):
    """both(how, wrap, model, conds of a window or None) -> (ours, the windows alone), of a film to redo."""
    film = torch.randn(1, 16, FRAMES, HEIGHT, oracle.CANVAS, generator=torch.manual_seed(9))

    def run(how, wrap, model, conds):
        ours = windowed(how, model, **conds(None), wrap=wrap, latent={"samples": film}, denoise=0.6)
        return ours, alone(model, conds, wrap, latent=film, denoise=0.6)

    return run


@HOW
@WRAP
@pytest.mark.parametrize("frames", [(0, 3), (1, 2)], ids=["all frames", "last frames"])
def test_areas_in_three_dimensions(how, wrap, frames, both, wan, small, run_node, oracle):
    """By the host's node, in shares of the canvas; in a window, what it sees of them."""
    start, width, top, height = 6, 12, 2, 6
    first, count = frames

    def part(left, length, of):
        place = {"x": left / of, "width": length / of, "y": top / HEIGHT, "height": height / HEIGHT}
        time = {"z": first / FRAMES, "temporal": count / FRAMES, "strength": 0.7}
        node = "ConditioningSetAreaPercentageVideo"
        return run_node(node, conditioning=small.conditioning(5), **place, **time)[0]

    def conds(window):
        spans = (
            [(start, width, oracle.CANVAS)]
            if window is None
            else [(*span, oracle.WINDOW) for span in window.spans(start, width)]
        )
        parts = [entry for span in spans for entry in part(*span)]
        return {"positive": small.conditioning(1) + parts, "negative": small.conditioning(2)}

    oracle.agree(*both(how, wrap, wan, conds))


@HOW
@WRAP
@pytest.mark.parametrize("frames", [1, FRAMES], ids=["one mask", "a mask for each frame"])
def test_masks(how, wrap, frames, both, wan, small, run_node, oracle):
    ramp = torch.linspace(0, 1, 8 * oracle.CANVAS).repeat(frames, 8 * HEIGHT, 1)
    ramp[frames // 2] = ramp[frames // 2].flip(-1)

    def conds(window):
        mask = ramp if window is None else window.cut(ramp, 8)
        parts = [
            run_node("ConditioningSetMask", conditioning=small.conditioning(seed), mask=m, strength=1.0)[0]
            for seed, m in ((1, mask), (5, 1 - mask))
        ]
        return {"positive": parts[0] + parts[1], "negative": small.conditioning(2)}

    oracle.agree(*both(how, wrap, wan, conds))


@HOW
@WRAP
def test_a_picture_to_start_from(how, wrap, both, small, oracle):
    """In channels beside the film's: the picture, and the mask of what is given."""
    model = small.wan_model(in_dim=36)
    picture = torch.randn(1, 16, FRAMES, HEIGHT, oracle.CANVAS, generator=torch.manual_seed(4))
    given = (picture[:, :1] > 0).float()

    def conds(window):
        cut = (lambda image: image) if window is None else window.cut
        options = {"concat_latent_image": cut(picture), "concat_mask": cut(given)}
        return {"positive": small.conditioning(1, **options), "negative": small.conditioning(2, **options)}

    oracle.agree(*both(how, wrap, model, conds))
