"""Views in batches: levelled, padded, and halved when memory runs out."""

import gc
import weakref

import core_toys as toys
import pytest
import torch

from syncdiffusion_core.batching import ALONE, WindowBatches, batches
from syncdiffusion_core.canvases.window_layout import WindowLayout
from syncdiffusion_core.denoiser import denoise_views
from syncdiffusion_core.guidance.pullbacks import Gradient
from syncdiffusion_core.guidance.targets import AnchorKind, make_target
from syncdiffusion_core.process import variance_exploding


@pytest.mark.parametrize("count", [1, 2, 5, 21, 24])
@pytest.mark.parametrize("size", [1, 2, 3, 7, 16, 40])
def test_batches_hold_every_view_once_and_are_all_of_one_size(count, size):
    parts = list(batches(count, size))
    assert [v for views, real in parts for v in views[:real]] == list(range(count))
    assert len({len(views) for views, _ in parts}) == 1
    assert len(parts[0][0]) <= size
    assert len(parts) == -(-count // size)


@pytest.mark.parametrize("count", [5, 21, 23])
@pytest.mark.parametrize("size", [2, 4, 10])
def test_padding_repeats_the_last_view(count, size):
    *_, (views, real) = batches(count, size)
    assert set(views[real:]) <= {count - 1}


def test_batches_are_levelled():
    assert [real for _, real in batches(21, 16)] == [11, 10]
    assert list(batches(3, 2)) == [((0, 1), 2), ((2, 2), 1)]
    assert list(batches(3, 99)) == [((0, 1, 2), 3)]


@pytest.mark.parametrize("size", [0, -1])
def test_a_batch_holds_at_least_one_view(size):
    with pytest.raises(ValueError, match=f"windows per batch must be at least 1, got {size}"):
        list(batches(4, size))


@pytest.mark.parametrize("size", [0, -3])
def test_windows_come_in_batches_of_at_least_one(size):
    with pytest.raises(ValueError, match=f"windows per batch must be at least 1, got {size}"):
        WindowBatches(size)


class Full:
    """Raises out of memory above a number of rows; remembers the rows of each call, and its inputs weakly."""

    def __init__(self, limit: int) -> None:
        self.limit, self.calls, self.inputs = limit, [], []

    def __call__(self, x, sigma, rows):
        self.calls.append(len(rows))
        self.inputs.append(weakref.ref(x))
        if len(rows) > self.limit:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return toys.eps_denoiser(x, sigma, rows)


def each(size: int, count: int, limit: int, **options) -> tuple[list[int], list[int]]:
    """(sizes asked for, views seen) by a body that does at most ``limit`` views at once."""
    asked, seen = [], []

    def body(views):
        asked.append(len(views))
        if len(views) > limit:
            raise torch.OutOfMemoryError
        return views

    for views, result in WindowBatches(size, **options).each(range(100, 100 + count), body):
        assert result[: len(views)] == views
        seen += views
    return asked, seen


@pytest.mark.parametrize("count", [1, 2, 5, 21, 24])
@pytest.mark.parametrize("size", [1, 2, 7, 16, 40])
@pytest.mark.parametrize("limit", [1, 2, 3, 5, 100])
def test_every_view_is_done_once_and_in_its_order_whatever_fits(count, size, limit):
    asked, seen = each(size, count, limit)
    assert seen == list(range(100, 100 + count))
    assert sum(wanted > limit for wanted in asked) <= size.bit_length()


def test_a_failed_batch_is_halved():
    """21 by 16 are 11 + 10: 11 fail, and 5 at a time are five batches."""
    assert each(16, 21, 5)[0] == [11, 5, 5, 5, 5, 5]


def test_what_was_done_stays_done():
    room = iter([8, 8, 1, 1, 1, 1, 1, 1])  # memory gets tight after two batches

    def body(views):
        if len(views) > next(room):
            raise torch.OutOfMemoryError

    done = [views for views, _ in WindowBatches(4).each(range(12), body)]
    assert done == [(0, 1, 2, 3), (4, 5, 6, 7), (8,), (9,), (10,), (11,)]


def test_the_smaller_size_is_kept_for_the_rest_of_the_run():
    told = []
    model, kept = Full(3), WindowBatches(8, on_shrink=told.append)
    for _ in range(3):
        denoise_views(model, toys.randn(12, 4, 3, 3), 0.7, 1, kept)
    assert told == [3]
    assert kept.size == 3
    assert model.calls == [6] + 12 * [3]


def test_nothing_of_a_failed_batch_is_alive_when_it_is_done_again():
    """Its traceback would hold every activation of the frames it went through."""
    model, alive = Full(2), []

    def on_shrink(size):
        alive.append(model.inputs[-1]() is not None)

    gc.disable()
    try:
        denoise_views(model, toys.randn(8, 4, 3, 3), 0.7, 1, WindowBatches(8, on_shrink=on_shrink))
    finally:
        gc.enable()
    assert alive == [False, False]


def test_one_window_that_does_not_fit_says_what_to_do():
    model = Full(0)
    with pytest.raises(torch.OutOfMemoryError) as raised:
        denoise_views(model, toys.randn(4, 4, 3, 3), 0.7, 1, 4)
    assert "Tried to allocate 2.00 GiB" in str(raised.value)
    assert ALONE in str(raised.value)
    assert model.calls == [4, 2, 1]


@pytest.mark.parametrize("error", [RuntimeError("sizes differ"), KeyboardInterrupt(), ValueError("a mask")])
def test_other_errors_pass(error):
    calls = []

    def body(views):
        calls.append(views)
        raise error

    with pytest.raises(type(error)):
        list(WindowBatches(4).each(range(4), body))
    assert len(calls) == 1


def test_a_host_names_its_own_errors():
    told = []

    def body(views):
        if len(views) > 1:
            raise RuntimeError("device memory exhausted")
        return views

    kept = WindowBatches(4, lambda error: "exhausted" in str(error), told.append)
    assert len(list(kept.each(range(4), body))) == 4
    assert told == [2, 1]


SIGMAS = (8.0, 2.0, 0.7, 0.0)
WINDOWS = toys.tiled(WindowLayout(6, 6, 2, 6), (6, 24))


@pytest.mark.parametrize("limit", [2, 4, 6])
@pytest.mark.parametrize("n", [1, 2])
def test_a_run_that_runs_out_of_memory_ends_at_the_same_canvas(limit, n):
    canvas = 8.0 * toys.randn(n, 4, 6, 24)

    def run(model, size):
        return toys.sampled(model, variance_exploding(), WINDOWS, canvas, SIGMAS, batches=size).canvas

    kept = WindowBatches(16)
    got = run(Full(limit), kept)
    assert kept.size * n <= limit
    torch.testing.assert_close(got, run(toys.eps_denoiser, 16), rtol=0, atol=1e-10)


@pytest.mark.parametrize("gradient", list(Gradient))
@pytest.mark.parametrize("anchor", [AnchorKind.CENTRE, AnchorKind.MEAN])
@pytest.mark.parametrize("where", ["denoiser", "decoder"])
def test_guidance_that_runs_out_of_memory_moves_the_same(gradient, anchor, where):
    x, full = toys.randn(len(WINDOWS) * 2, 4, 6, 6), Full(4)

    def decode(x0):
        if where == "decoder" and len(x0) > 4:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return toys.smooth_decode(x0)

    def moved(decode, model, size):
        options = {"decode": decode, "target": make_target(anchor), "gradient": gradient}
        guide = toys.guided([3000.0], first=size, pulled=size, **options)
        return guide(toys.moment(WINDOWS, x, 0.8, model)).x

    wanted = moved(toys.smooth_decode, toys.eps_denoiser, 1)
    got = moved(decode, full if where == "denoiser" else toys.eps_denoiser, WindowBatches(6))
    torch.testing.assert_close(got, wanted, rtol=0, atol=1e-10)


def test_views_that_have_to_stay_together_are_never_parted():
    """Their error says what to do instead."""
    together = {"smallest": 4, "remedy": "All four belong together."}
    assert each(4, 4, 4, **together) == each(4, 4, 4)
    with pytest.raises(torch.OutOfMemoryError, match="All four belong together"):
        each(4, 4, 3, **together)
