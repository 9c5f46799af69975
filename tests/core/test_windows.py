"""Window layouts and the two maps of a set of windows."""

import random

import core_toys as toys
import pytest
import torch

from syncdiffusion_core.agreement import LATENTS
from syncdiffusion_core.blending import Blend, window_weight
from syncdiffusion_core.canvases.window_layout import WindowLayout
from syncdiffusion_core.canvases.windows import Windows, full_canvas
from syncdiffusion_core.views.view_set import aggregate


def layout(window=(64, 64), stride=(16, 16), wrap=(False, False), blend=Blend.UNIFORM, px=1) -> WindowLayout:
    """Pairs are (y, x), in units of px."""
    return WindowLayout(window[1] * px, window[0] * px, stride[1] * px, stride[0] * px, wrap[1], wrap[0], blend)


def random_case(seed: int):
    dice = random.Random(seed)
    patch, px = dice.choice([1, 1, 2]), dice.choice([1, 8, 16])
    window = tuple(patch * dice.randint(1, 5) for _ in range(2))
    stride = tuple(dice.randint(1, side) for side in window)
    wrap = tuple(dice.random() < 0.5 for _ in range(2))
    # Without wrap the canvas may be anything; with wrap it has to hold whole patches.
    canvas = tuple(w + (patch if wraps else 1) * dice.randint(1, 9) for w, wraps in zip(window, wrap, strict=True))
    resolved = toys.tiled(layout(window, stride, wrap, dice.choice(list(Blend)), px), canvas, px, patch)
    return canvas, window, stride, wrap, patch, resolved


CASES = range(60)


@pytest.mark.parametrize("seed", CASES)
def test_windows_stand_where_they_should(seed):
    canvas, window, stride, wrap, patch, windows = random_case(seed)
    # A stride finer than a patch becomes one patch, others round down to whole patches.
    whole = [max(s // patch, 1) * patch for s in stride]
    assert list(windows.origins) == toys.origins(canvas, window, whole, wrap)
    assert len(windows) == len(windows.origins) == len(set(windows.origins))


@pytest.mark.parametrize("seed", CASES)
def test_every_cell_is_covered_and_the_mean_of_agreeing_windows_is_the_canvas(seed):
    canvas, _, _, _, _, windows = random_case(seed)
    total, weight = windows.unproject(torch.ones(len(windows) * 2, 3, *windows.view, dtype=torch.float64))
    assert total.shape == (2, 3, *canvas)
    assert weight.shape == (1, 1, *canvas)
    assert (weight > 0).all()
    picture = toys.randn(2, 3, *canvas, seed=seed)
    torch.testing.assert_close(aggregate(windows, windows.project(picture)), picture, rtol=0, atol=1e-12)
    torch.testing.assert_close(aggregate(windows, torch.full_like(windows.project(picture), 3.5)), 0 * picture + 3.5)


@pytest.mark.parametrize("seed", CASES)
def test_project_crops_and_orders_rows_view_major(seed):
    canvas, window, _, _, _, windows = random_case(seed)
    picture = toys.randn(2, 3, *canvas, seed=seed)
    views = windows.project(picture).unflatten(0, (len(windows), 2))
    for view, origin in zip(views, windows.origins, strict=True):
        assert torch.equal(view, toys.crop(picture, origin, window))


@pytest.mark.parametrize("seed", CASES)
def test_the_two_maps_are_adjoint(seed):
    canvas, _, _, _, _, windows = random_case(seed)
    x = toys.randn(2, 3, *canvas, seed=seed)
    y = toys.randn(len(windows) * 2, 3, *windows.view, seed=seed + 1)
    weight = window_weight(windows.blend, *windows.view).double()
    total, _ = windows.unproject(y)
    torch.testing.assert_close((windows.project(x) * weight * y).sum(), (x * total).sum())


def test_coverage_counts_windows():
    windows = toys.tiled(layout((2, 4), (2, 2)), (2, 8))
    assert windows.coverage().tolist() == [[1, 1, 2, 2, 2, 2, 1, 1]] * 2
    closed = toys.tiled(layout((2, 4), (2, 2), wrap=(False, True)), (2, 8))
    assert closed.coverage().tolist() == [[2] * 8] * 2


def test_windows_are_counted_from_the_top_left_row_by_row():
    windows = toys.tiled(layout((2, 2), (2, 2)), (4, 6))
    assert windows.origins == ((0, 0), (0, 2), (0, 4), (2, 0), (2, 2), (2, 4))


@pytest.mark.parametrize(
    ("canvas", "middle"),
    [((2, 2), 0), ((2, 8), 2), ((2, 10), 2), ((8, 2), 2), ((4, 8), 6), ((6, 6), 4), ((8, 6), 7)],
)
def test_the_reference_of_a_grid_is_the_middle_of_its_middle_row(canvas, middle):
    assert toys.tiled(layout((2, 2), (2, 2)), canvas).reference == middle


def test_the_papers_panorama_has_21_windows():
    windows = toys.tiled(layout((64, 64), (16, 16), px=8), (64, 384), 8)
    assert len(windows) == 21
    assert windows.origins[-1] == (0, 320)
    assert windows.view == (64, 64)


def test_a_closed_panorama_has_all_24_windows():
    """The official code adds 64 // 16 - 2 wrap windows where - 1 are needed, and so has 23."""
    windows = toys.tiled(layout((64, 64), (16, 16), wrap=(False, True), px=8), (64, 384), 8)
    assert [left for _, left in windows.origins] == list(range(0, 384, 16))
    assert len(windows) == 24
    assert set(windows.coverage().flatten().tolist()) == {4.0}


@pytest.mark.parametrize(
    ("canvas", "wrap", "count"),
    [
        ((384, 64), (True, False), 24),
        ((128, 128), (True, True), 64),
        ((128, 128), (False, False), 25),
        ((128, 128), (False, True), 40),
    ],
)
def test_wrap_windows_in_either_axis(canvas, wrap, count):
    windows = toys.tiled(layout((64, 64), (16, 16), wrap), canvas)
    assert len(windows) == count
    assert (windows.coverage() > 0).all()


def test_a_canvas_one_window_wide_can_still_be_closed():
    """The docstring's convention: with wrap, windows start at 0, stride, 2*stride, … below the canvas length."""
    windows = toys.tiled(layout((64, 64), (64, 16), wrap=(False, True)), (64, 64))
    assert windows.origins == ((0, 0), (0, 16), (0, 32), (0, 48))


def test_a_stride_that_does_not_divide_leaves_no_strip():
    """The official code leaves the columns 448 … 511 of this canvas at zero."""
    windows = toys.tiled(layout((64, 64), (48, 48)), (64, 130))
    assert [left for _, left in windows.origins] == [0, 48, 66]


def test_pixels_become_cells_and_strides_whole_patches():
    windows = toys.tiled(WindowLayout(128, 64, 40, 64), (8, 40), 8, 2)
    assert windows.view == (8, 16)
    assert [left for _, left in windows.origins] == [0, 4, 8, 12, 16, 20, 24]


def test_windows_are_the_same_in_pixel_space():
    fine, coarse = layout((8, 8), (4, 4), px=1), layout((8, 8), (4, 4), px=16)
    assert toys.tiled(fine, (8, 20)).origins == toys.tiled(coarse, (8, 20), 16).origins


def test_wrap_windows_hold_both_ends():
    windows = toys.tiled(layout((1, 4), (1, 2), wrap=(False, True)), (1, 6))
    views = windows.project(torch.arange(6.0)[None, None, None])
    assert views[:, 0, 0].tolist() == [[0, 1, 2, 3], [2, 3, 4, 5], [4, 5, 0, 1]]


def test_latents_with_frames_are_windows_of_each_frame():
    windows = toys.tiled(layout((4, 4), (2, 3), wrap=(True, False), blend=Blend.GAUSSIAN), (6, 9))
    clip = toys.randn(2, 3, 5, 6, 9)
    views = windows.project(clip)
    assert views.shape == (len(windows) * 2, 3, 5, 4, 4)
    noisy = views + toys.randn(*views.shape, seed=1)
    total, weight = windows.unproject(noisy)
    assert total.shape == clip.shape
    mean = aggregate(windows, noisy)
    for frame in range(5):
        assert torch.equal(views[:, :, frame], windows.project(clip[:, :, frame]))
        assert torch.equal(mean[:, :, frame], aggregate(windows, noisy[:, :, frame]))


def test_half_precision_views_are_summed_in_float32():
    windows = toys.tiled(layout((2, 4), (2, 1)), (2, 16))
    total, weight = windows.unproject(torch.ones(len(windows), 1, 2, 4, dtype=torch.float16))
    assert total.dtype == weight.dtype == torch.float32


def test_weights_of_a_batch_of_samples_do_not_mix_samples():
    windows = toys.tiled(layout((2, 4), (2, 2)), (2, 8))
    views = toys.randn(len(windows) * 3, 1, 2, 4)
    apart = [aggregate(windows, views.unflatten(0, (-1, 3))[:, k]) for k in range(3)]
    assert torch.equal(aggregate(windows, views), torch.cat(apart))


def test_resynchronised_views_agree_and_stay():
    windows = toys.tiled(layout((4, 4), (2, 2), wrap=(True, True), blend=Blend.FEATHERED), (8, 8))
    once = LATENTS.views(windows, toys.randn(len(windows), 2, 4, 4))
    torch.testing.assert_close(LATENTS.views(windows, once), once, rtol=0, atol=1e-12)


def test_cells_that_no_window_covers_are_zero_not_nan():
    lonely = Windows((2, 6), (2, 2), ((0, 2),))
    assert aggregate(lonely, torch.ones(1, 1, 2, 2))[0, 0, 0].tolist() == [0, 0, 1, 1, 0, 0]


def test_the_full_canvas_is_one_window():
    windows = full_canvas((3, 5))
    picture = toys.randn(2, 4, 3, 5)
    assert len(windows) == 1
    assert torch.equal(windows.project(picture), picture)
    assert torch.equal(aggregate(windows, picture), picture)


BAD_LAYOUTS = [
    # window, stride (y, x); what the message must hold
    ((64, 0), (16, 16), ["window", "x", "at least 1", "got 0"]),
    ((-8, 64), (16, 16), ["window", "y", "at least 1", "got -8"]),
    ((64, 64), (16, 0), ["stride_x", "between 1", "64", "got 0"]),
    ((64, 64), (0, 16), ["stride_y", "between 1", "64", "got 0"]),
    ((64, 64), (16, 65), ["stride_x", "between 1", "64", "got 65"]),
    ((64, 64), (-1, 16), ["stride_y", "between 1", "64", "got -1"]),
]


@pytest.mark.parametrize(("window", "stride", "words"), BAD_LAYOUTS)
def test_a_layout_without_sense_is_refused_at_once(window, stride, words):
    with pytest.raises(ValueError) as error:
        layout(window, stride)
    assert [word for word in words if word not in str(error.value)] == []


BAD_CANVASES = [
    # window (y, x) px, canvas cells, cell px, patch, wrap; what the message must hold
    ((512, 512), (64, 48), 8, 1, False, ["width", "512 px", "384 px", "at most 384"]),
    ((520, 512), (64, 64), 8, 1, False, ["height", "520 px", "512 px", "at most 512"]),
    ((512, 500), (64, 64), 8, 1, False, ["window_width", "multiple of 8", "500", "496 or 504"]),
    ((504, 512), (64, 64), 8, 2, False, ["window_height", "multiple of 16", "504", "496 or 512"]),
    ((512, 512), (64, 99), 8, 2, True, ["wrapping along x", "patch of 2", "99"]),
    ((512, 512), (64, 99), 8, 2, True, ["multiple of 16 px", "got 792 px", "use 784 or 800"]),
    ((512, 512), (64, 65), 8, 2, True, ["multiple of 16 px", "got 520 px", "use 512 or 528"]),
    ((512, 512), (520, 1030), 1, 16, True, ["multiple of 16 px", "got 1030 px", "use 1024 or 1040"]),
    ((512, 512), (33, 67), 16, 4, True, ["multiple of 64 px", "got 1072 px", "use 1024 or 1088"]),
]


@pytest.mark.parametrize(("window", "canvas", "cell", "patch", "wrap", "words"), BAD_CANVASES)
def test_a_layout_that_does_not_fit_says_what_to_do(window, canvas, cell, patch, wrap, words):
    with pytest.raises(ValueError) as error:
        toys.tiled(layout(window, (128, 128), (False, wrap)), canvas, cell, patch)
    assert [word for word in words if word not in str(error.value)] == []


def test_a_wrap_from_top_to_bottom_is_told_its_heights():
    with pytest.raises(ValueError, match=r"wrapping along y needs a height .* got 1080 px .* use 1072 or 1088"):
        toys.tiled(layout((512, 512), (128, 128), (True, False)), (135, 64), 8, 2)


def test_a_window_of_less_than_a_cell_is_told_the_one_size_that_works():
    with pytest.raises(ValueError) as error:
        toys.tiled(layout((64, 4), (1, 1)), (64, 64), 8)
    assert "8 or 8" not in str(error.value)
