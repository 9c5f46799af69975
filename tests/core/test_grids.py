"""Windows that move from step to step, and windows that take turns."""

import core_toys as toys
import pytest
import torch

from syncdiffusion_core.canvases.grids import Grid, moving_grid
from syncdiffusion_core.canvases.window_layout import WindowLayout
from syncdiffusion_core.canvases.windows import Windows
from syncdiffusion_core.guidance.targets import ReferenceView
from syncdiffusion_core.process import variance_exploding
from syncdiffusion_core.strategies import Synchronisation
from syncdiffusion_core.views.view_set import aggregate

VE = variance_exploding()
SIGMAS = [8.0, 3.0, 2.0, 1.0, 0.5, 0.0]
MOVING = pytest.mark.parametrize("grid", [Grid.ROLLED, Grid.ALTERNATING])
SHAPES = pytest.mark.parametrize(
    ("canvas", "window", "wrap", "patch"),
    [
        ((8, 48), (8, 8), (False, False), 1),
        ((8, 50), (8, 8), (False, True), 2),
        ((16, 23), (8, 8), (False, False), 1),
        ((24, 24), (8, 6), (True, True), 2),
        ((8, 8), (8, 8), (False, False), 1),
    ],
)


def grid_of(grid, canvas, window, wrap=(False, False), patch=1):
    return moving_grid(grid, Windows(canvas, window, ((0, 0),)), wrap, patch)


@MOVING
@SHAPES
def test_every_step_covers_the_canvas_with_few_windows(grid, canvas, window, wrap, patch):
    moving = grid_of(grid, canvas, window, wrap, patch)
    for step in range(20):
        windows = moving.at(step)
        assert (windows.coverage() > 0).all()
        most = 1
        for length, side, loops in zip(canvas, window, wrap, strict=True):
            most *= -(-length // side) + (not loops and length > side)
        assert len(windows) <= most <= moving.largest + most
        for top, left in windows.origins:
            inside = wrap[0] or top + window[0] <= canvas[0], wrap[1] or left + window[1] <= canvas[1]
            assert all(inside)
        assert [moving.every.origins[name] for name in windows.names] == list(windows.origins)


@SHAPES
def test_shifts_are_whole_patches(canvas, window, wrap, patch):
    """Up to the windows at the far end, which end where the canvas does."""
    for top, left in grid_of(Grid.ROLLED, canvas, window, wrap, patch).every.origins:
        assert top % patch == 0 or top == canvas[0] - window[0]
        assert left % patch == 0 or left == canvas[1] - window[1]


def test_a_rolled_grid_stands_at_every_place_in_time_and_never_twice_in_a_row():
    moving = grid_of(Grid.ROLLED, (8, 48), (8, 8))
    shifts = [moving.at(step).origins[1][1] % 8 for step in range(8)]
    assert moving.at(0).origins == tuple((0, left) for left in range(0, 48, 8))
    assert all(here != there for here, there in zip(shifts[:-1], shifts[1:], strict=True))
    assert len(set(shifts)) >= 5


def test_an_alternating_grid_by_its_numbers():
    moving = grid_of(Grid.ALTERNATING, (8, 24), (8, 8))
    assert [left for _, left in moving.at(4).origins] == [0, 8, 16]
    assert [left for _, left in moving.at(7).origins] == [0, 4, 12, 16]


def test_the_grid_of_a_layout():
    tiled = WindowLayout(6, 6, 4, 6)
    assert toys.resolved(tiled, (6, 14)).every.origins == toys.tiled(tiled, (6, 14)).origins
    rolled = toys.resolved(WindowLayout(6, 6, 4, 6, wrap_x=True, grid=Grid.ROLLED), (6, 18))
    assert [len(rolled.at(step)) for step in range(6)] == [3] * 6
    with pytest.raises(ValueError, match="larger than the canvas"):
        toys.resolved(WindowLayout(16, 6, 4, 6, grid=Grid.ROLLED), (6, 14))


def test_half_overlapping_windows_by_their_numbers():
    def lefts(stride, **options):
        layout = WindowLayout(8, 8, stride, 8, grid=Grid.HALF, **options)
        return [left for _, left in toys.resolved(layout, (8, 24), patch=2).every.origins]

    assert lefts(2) == [0, 4, 8, 12, 16]
    assert lefts(6) == [0, 6, 12, 16]
    assert lefts(2, wrap_x=True) == [0, 4, 8, 12, 16, 20]


@MOVING
def test_a_model_that_looks_at_one_place_does_not_see_the_windows(grid):
    """As good as the whole canvas in one piece."""

    def pointwise(x, sigma, rows):
        return x / (1 + sigma**2) + 0.1 * x.sin()

    start = 8.0 * toys.randn(2, 4, 6, 20)
    moving, whole = grid_of(grid, (6, 20), (6, 6)), toys.tiled(WindowLayout(20, 6, 20, 6), (6, 20))
    got, wanted = (toys.sampled(pointwise, VE, views, start, SIGMAS, batches=3).canvas for views in (moving, whole))
    torch.testing.assert_close(got, wanted, rtol=0, atol=1e-12)


@MOVING
def test_the_loop_on_moving_windows_is_multidiffusion_of_each_steps_own(grid):
    moving = grid_of(grid, (6, 20), (6, 6))
    start = canvas = 8.0 * toys.randn(2, 4, 6, 20)
    for k, (sigma, following) in enumerate(zip(SIGMAS[:-1], SIGMAS[1:], strict=True)):
        windows = moving.at(k)
        x = windows.project(canvas)
        x0 = toys.eps_denoiser(x, sigma, toys.Rows.grid(2, windows.names))
        canvas = aggregate(windows, VE.step(x, x0, sigma, following))
    got = toys.sampled(toys.eps_denoiser, VE, moving, start, SIGMAS, batches=2)
    torch.testing.assert_close(got.canvas, canvas, rtol=0, atol=1e-11)


@pytest.mark.parametrize("synchronisation", [Synchronisation.VIEW_NOISE, Synchronisation.SYNCTWEEDIES])
def test_a_state_of_views_needs_views_that_stay(synchronisation):
    moving = grid_of(Grid.ROLLED, (6, 20), (6, 6))
    with pytest.raises(ValueError, match=f"'{synchronisation.value}' keeps the views as its state.*multidiffusion"):
        toys.sampled(toys.eps_denoiser, VE, moving, toys.randn(1, 4, 6, 20), SIGMAS, synchronisation)


# Windows in turns.


@pytest.mark.parametrize(
    ("layout", "canvas"),
    [
        (WindowLayout(8, 8, 2, 2), (8, 48)),
        (WindowLayout(8, 8, 2, 2, wrap_x=True), (8, 48)),
        (WindowLayout(8, 8, 3, 4, wrap_x=True, wrap_y=True), (20, 30)),
        (WindowLayout(8, 8, 5, 5), (21, 23)),
    ],
)
def test_windows_in_turns_do_not_overlap_and_each_has_its_turn(layout, canvas):
    windows = toys.tiled(layout, canvas)
    turns = [windows.apart(turn) for turn in range(120)]
    assert all(windows.subset(turn).coverage().max() == 1 for turn in turns)
    assert {view for turn in turns for view in turn} == set(range(len(windows)))
    for turn in turns:  # nothing more fits in
        others = set(range(len(windows))) - set(turn)
        assert all(windows.subset([*turn, other]).coverage().max() == 2 for other in others)


def test_turns_at_the_papers_stride_by_their_numbers():
    windows = toys.tiled(WindowLayout(64, 64, 16, 16), (64, 384))
    assert windows.apart(0) == (0, 4, 8, 12, 16, 20)
    assert windows.apart(1) == (1, 5, 9, 13, 17)
    assert windows.apart(4) == windows.apart(0)


def test_a_subset_keeps_the_names_of_its_windows():
    windows = toys.tiled(WindowLayout(8, 8, 2, 2), (8, 20))
    some = windows.subset([5, 2])
    assert some.names == (5, 2)
    assert some.subset([1]).names == (2,)
    assert on(some, (0, 5)) == 1


def on(windows, corner):
    """Number of the window that sees the most of one with that corner."""
    place = Windows(windows.canvas, windows.view, (corner,))
    return ReferenceView(place=place).stays(windows)


@MOVING
def test_a_run_that_begins_later_sees_the_windows_of_those_steps(grid):
    moving = grid_of(grid, (8, 50), (8, 8))
    for step in range(12):
        assert moving.later(5).at(step).origins == moving.at(5 + step).origins
        assert moving.later(2).later(3).at(step).names == moving.at(5 + step).names
    still = toys.resolved(WindowLayout(8, 8, 4, 8), (8, 48))
    assert still.later(5).at(3) is still.every


def test_the_window_that_sees_the_most_of_a_place_may_be_over_the_edge():
    windows = toys.tiled(WindowLayout(8, 8, 8, 8, wrap_x=True), (8, 48)).subset([1, 3, 5])  # lefts 8, 24, 40
    assert on(windows, (0, 0)) == 0
    assert on(windows, (0, 47)) == 2
    assert on(windows, (0, 2)) == 0
    over = Windows((8, 48), (8, 8), ((0, 8), (0, 24), (0, 44)))
    assert on(over, (0, 1)) == 2  # the first sees 1 column of it, the last 3 over the edge
