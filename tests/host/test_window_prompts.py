"""Window Prompts: lines of text as conditioning with masks that the host, and our windows, can read."""

import pytest
import torch


@pytest.fixture
def clip(small):
    return small.Clip()


def test_a_line_a_part_in_order_with_the_common_words(run_node, clip):
    inputs = {"prompts": "hills\n\n  a lake \nsea\n", "common": "at dusk", "blend": 0.5}
    (conditioning,) = run_node("SyncDiffusionWindowPrompts", clip=clip, **inputs)
    assert clip.texts == ["hills, at dusk", "a lake, at dusk", "sea, at dusk"]
    masks = torch.cat([options["mask"] for _, options in conditioning])
    torch.testing.assert_close(masks.sum(0), torch.ones(masks.shape[1:]))
    middles = masks[:, 0, [170, 512, 853]].argmax(dim=0)
    assert middles.tolist() == [0, 1, 2]


def test_direction_and_loop(run_node, clip):
    inputs = {"clip": clip, "prompts": "a\nbb"}
    down = run_node("SyncDiffusionWindowPrompts", direction="top to bottom", **inputs)[0][0][1]["mask"]
    across = run_node("SyncDiffusionWindowPrompts", **inputs)[0][0][1]["mask"]
    loop = run_node("SyncDiffusionWindowPrompts", loop=True, **inputs)[0][0][1]["mask"]
    assert torch.equal(down, across.transpose(1, 2))
    assert across[0, 0, 0] == 1
    assert loop[0, 0, 0] == pytest.approx(0.5, abs=0.01)


def test_no_text_is_refused(run_node, clip):
    with pytest.raises(ValueError, match="prompts: no text; write a prompt a line"):
        run_node("SyncDiffusionWindowPrompts", clip=clip, prompts=" \n \n")


def test_windows_are_asked_only_for_what_they_see(run_node, clip, small, models, windows, panorama):
    """Three hard thirds on windows of a third: each call of the model holds one prompt, and the picture is right."""
    prompts = {"clip": clip, "prompts": "a\nbb\nccc", "blend": 0.0}
    (positive,) = run_node("SyncDiffusionWindowPrompts", **prompts)
    model, rows = models["eps"].clone(), []
    model.set_model_unet_function_wrapper(
        lambda apply, args: rows.append(len(args["input"])) or apply(args["input"], args["timestep"], **args["c"])
    )
    whole, _ = panorama(model, windows(64, 64), positive=positive, steps=2)
    assert sum(rows) == 2 * (3 + 3)  # steps x (a prompt and a negative prompt for each window)
    for k, text in enumerate(("a", "bb", "ccc")):
        alone, _ = panorama(models["eps"], windows(64, 64), positive=small.conditioning(len(text)), steps=2)
        part = slice(8 * k, 8 * k + 8)
        one, other = whole["samples"][..., part], alone["samples"][..., part]
        assert (one - other).abs().max() <= 1e-5 * other.abs().max()
