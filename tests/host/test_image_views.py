"""Image Views: what its widgets become, what its maps show, what it refuses before a run."""

import pytest
import torch
from heard import said

NODE = "SyncDiffusionImageViews"


@pytest.fixture
def make(run_node):
    """make(**inputs) -> (views, maps, count), 128 px unless told otherwise."""
    return lambda **inputs: run_node(NODE, **{"width": 128, "height": 128, **inputs})


@pytest.fixture
def refused(host, pack):
    """refused(picture, **inputs) -> what the host is told before the run; None where it lets the graph through."""
    failed = type(host).validate.__globals__["GraphFailed"]

    def ask(linked: dict | None = None, **inputs) -> str | None:
        widgets = {"width": 128, "height": 128, "view_1": "identity", "view_2": "rotate 180", "view_3": "none"}
        more = {"view_4": "none", "angle": 45.0, "seed": 0, "amount": 0.0, "planes": 1, "agree_in": "pictures"}
        graph = {
            "views": {"class_type": NODE, "inputs": {**widgets, **more, **inputs}},
            "shown": {"class_type": "PreviewImage", "inputs": {"images": ["views", 1]}},
            **(linked or {}),
        }
        try:
            host.validate(graph)
        except failed as error:
            return " ".join(reason["details"] for reason in error.errors["views"]["errors"])
        return None

    return ask


def test_the_defaults_are_a_picture_and_itself_upside_down(make):
    views, maps, count = make()
    assert [look.kind.value for look in views.maps] == ["identity", "rotate 180"]
    assert (views.size_px, views.planes, views.space.value) == ((128, 128), 1, "pictures")
    assert maps.shape == (2, 128, 128, 3)
    assert 0 <= maps.min() < 0.3
    assert 0.7 < maps.max() <= 1
    assert torch.equal(maps[1], maps[0].flip(0, 1))
    assert count == 2


def test_sizes_space_and_planes(make):
    views, maps, count = make(width=192, view_2="negate", planes=3, agree_in="latents")
    assert (views.size_px, views.planes, views.space.value, count) == ((128, 192), 3, "latents", 2)
    torch.testing.assert_close(maps[1], 1 - maps[0])


def test_the_next_view_of_a_kind_is_another_one(make):
    kinds = {"view_1": "jigsaw", "view_2": "inner circle", "view_3": "jigsaw", "view_4": "inner circle"}
    views, maps, _ = make(**kinds, seed=7, angle=-30.0)
    assert [(look.seed, look.angle_deg) for look in views.maps] == [(7, 0), (0, -30), (8, 0), (0, -60)]
    assert not torch.equal(maps[0], maps[2])
    assert not torch.equal(maps[1], maps[3])


def test_amount_counts_where_a_map_has_one(make):
    views, _, _ = make(view_2="patch permutation", view_3="skew", amount=4.0)
    assert [look.amount for look in views.maps] == [None, 4.0, 4.0]
    assert [look.amount for look in make(view_2="jigsaw")[0].maps] == [None, None]


def test_a_picture_gives_the_order_and_the_maps(make):
    ramp = torch.linspace(0, 1, 128).flip(0)[None, None, :, None].expand(1, 64, 128, 3)
    noise = torch.rand(1, 64, 128, 3, generator=torch.Generator().manual_seed(0))
    both = torch.cat([ramp, noise])
    views, maps, _ = make(view_2="from picture", view_3="from picture", picture=both)
    assert torch.equal(views.maps[1].picture, ramp[0].movedim(-1, 0))
    assert torch.equal(views.maps[2].picture, noise[0].movedim(-1, 0))
    assert maps[0, 0, 0, 0] > 0.9  # the first picture itself
    assert maps[1, :8].mean() < 0.1  # its darkest parts are at the top
    assert maps[1, -8:].mean() > 0.9


def test_views_that_show_the_same_are_told(host, make):
    make(view_2="negate", view_3="negate")
    assert "views 2 and 3 both show 'negate'" in said(host)
    host.server.events.clear()
    make(view_2="jigsaw", view_3="jigsaw", view_4="skew")
    assert said(host) == ""


def test_maps_that_only_pixels_allow_are_drawn_and_told(host, make):
    """104 px are 13 latent cells: no eight patches."""
    _, maps, _ = make(width=104, height=104, view_2="patch permutation")
    assert maps.shape == (2, 104, 104, 3)
    assert "only for models that work on pixels" in said(host)
    assert "13" in said(host)


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({"width": 256, "view_3": "rotate 90"}, ["view_3", "rotate 90", "square", "256 x 128 px", "same size"]),
        ({"width": 256, "view_2": "jigsaw"}, ["view_2", "jigsaw", "square"]),
        ({"view_2": "patch permutation", "amount": 7.0}, ["view_2", "cannot cut 128 x 128 px into 7 patches"]),
        ({"view_2": "patch permutation", "amount": 2.5}, ["view_2", "whole number of patches", "2.5", "amount"]),
        ({"view_2": "inner circle", "amount": 2.0}, ["view_2", "diameter", "(0, 1]", "0 is what is usual"]),
        ({"view_3": "from picture"}, ["view_3", "from picture", "connect one to picture"]),
        ({"view_2": "none", "view_4": "negate"}, ["view_4", "behind a view that is none", "without a gap"]),
        ({"width": 32}, ["width", "between 64 and 4096"]),
        ({"view_2": "rotate 45"}, ["view_2", "must be one of none, identity"]),
        ({"angle": 400.0}, ["angle", "between -360 and 360"]),
    ],
)
def test_what_makes_no_sense_is_refused_before_the_run(refused, make, inputs, words):
    told = refused(**inputs)
    assert told is not None
    assert all(word in told for word in words), told
    with pytest.raises(ValueError, match=words[0]):
        make(**inputs)


def test_what_makes_sense_is_let_through(refused, pack):
    assert refused() is None
    assert refused(width=256, view_2="skew", view_3="inner circle", amount=0.5) is None
    assert refused(view_2="none") is None
    size = {"size": {"class_type": "PrimitiveInt", "inputs": {"value": 256}}}
    assert refused(size, width=["size", 0], view_2="rotate 90") is None  # not known yet
    assert pack[NODE].validate_inputs(view_1="identity", view_2=None, view_3="skew", view_4="none") is True
    image = {"image": {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 0}}}
    assert refused(image, view_2="from picture", picture=["image", 0]) is None


def test_a_batch_with_too_few_pictures_is_refused(make):
    with pytest.raises(ValueError, match="view_4: it is number 2 of the views 'from picture', and picture holds 1"):
        make(view_2="negate", view_3="from picture", view_4="from picture", picture=torch.rand(1, 16, 16, 3))
