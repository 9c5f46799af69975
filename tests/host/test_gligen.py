"""GLIGEN's boxes in windows: what each window sees of them, at its own coordinates, against windows alone."""

import pytest
import torch

HOW = pytest.mark.parametrize("how", ["sampler", "apply windows"])
BOXES = {"two words": (40, 48, 72, 8), "a tree": (16, 64, 150, 0), "sky": (192, 16, 0, 48)}  # width, height, x, y


@pytest.fixture
def boxed(small, run_node):
    """boxed(boxes) -> conditioning with boxes of texts, by the host's node; both roles."""
    model, clip = small.gligen(), small.Clip()

    def make(boxes):
        positive = small.conditioning(1)
        for text, (width, height, x, y) in boxes:
            inputs = {"clip": clip, "gligen_textbox_model": model, "text": text}
            place = {"width": width, "height": height, "x": x, "y": y}
            positive = run_node("GLIGENTextBoxApply", conditioning_to=positive, **inputs, **place)[0]
        if not boxes:  # a model of its own shows no box: the host's set_empty
            positive = small.conditioning(1, gligen=("none", model, []))
        return {"positive": positive, "negative": small.conditioning(2)}

    return make


def in_window(window):
    """The boxes as an artist would draw them on a canvas of that window's size."""
    return [
        (text, (8 * length, height, 8 * start, y))
        for text, (width, height, x, y) in cells_of(BOXES).items()
        for start, length in window.spans(x, width)
    ]


def cells_of(boxes):
    """Columns in latent cells, as the host rounds them."""
    return {text: (width // 8, height, x // 8, y) for text, (width, height, x, y) in boxes.items()}


@HOW
@pytest.mark.parametrize("wrap", [False, True], ids=["", "wrapped"])
@pytest.mark.parametrize("per_batch", [1, 0])
def test_boxes_are_those_of_windows_alone(how, wrap, per_batch, boxed, models, alone, windowed, oracle):
    ours = windowed(how, models["eps"], **boxed(BOXES.items()), wrap=wrap, per_batch=per_batch)
    oracle.agree(ours, alone(models["eps"], lambda window: boxed(in_window(window)), wrap))


@HOW
def test_a_window_without_a_box_is_told_of_none(how, boxed, models, alone, windowed, oracle):
    one = {"a tree": BOXES["a tree"]}
    ours = windowed(how, models["eps"], **boxed(one.items()))

    def conds(window):
        return boxed([(text, box) for text, box in in_window(window) if text in one])

    oracle.agree(ours, alone(models["eps"], conds))


def test_boxes_matter(boxed, models, windowed):
    assert not torch.allclose(
        windowed("sampler", models["eps"], **boxed(BOXES.items())), windowed("sampler", models["eps"], **boxed([]))
    )


@pytest.mark.parametrize("gradient", ["through the model", "forward only"])
def test_guidance_runs_through_boxes(gradient, boxed, models, windows, panorama, guidance):
    """The boxes' own network is a part of the model that the gradient goes through."""
    guide = guidance(weight=200.0, end_percent=1.0, gradient=gradient)
    inputs = {"steps": 2, **boxed(BOXES.items())}
    plain, _ = panorama(models["eps"], windows(64, 64), **inputs)
    moved, trace = panorama(models["eps"], windows(64, 64), guidance=guide, **inputs)
    assert len(trace.splitlines()) == 2
    assert moved["samples"].isfinite().all()
    assert not torch.equal(plain["samples"], moved["samples"])


@pytest.mark.parametrize("with_control", [False, True], ids=["boxes", "boxes and a control"])
def test_one_window_is_guided_towards_a_picture_through_them(
    with_control, small, boxed, models, windows, panorama, guidance, run_node
):
    conds = boxed(BOXES.items())
    if with_control:
        given = {"control_net": small.control_net("plain"), "image": torch.rand(1, 64, 192, 3)}
        conds = dict(zip(conds, run_node("ControlNetApplyAdvanced", **conds, **given), strict=True))
    guide = guidance(weight=200.0, end_percent=1.0, anchor="reference image", anchor_image=torch.rand(1, 64, 192, 3))
    plain, _ = panorama(models["eps"], windows(192, 192), steps=2, **conds)
    moved, _ = panorama(models["eps"], windows(192, 192), steps=2, guidance=guide, **conds)
    assert moved["samples"].isfinite().all()
    assert not torch.equal(plain["samples"], moved["samples"])
