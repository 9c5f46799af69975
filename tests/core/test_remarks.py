"""What windows leave undone on a canvas, against a slow oracle and by its words."""

import itertools

import core_toys as toys
import pytest

from syncdiffusion_core.canvases.grids import Grid
from syncdiffusion_core.canvases.remarks import refuse_open_wrap, remarks
from syncdiffusion_core.canvases.window_layout import WindowLayout
from syncdiffusion_core.views.schedule import CellGrid

WINDOW = 128
MOVING = (Grid.ROLLED, Grid.ALTERNATING)
GRIDS = pytest.mark.parametrize("grid", list(Grid))
STILL = pytest.mark.parametrize("grid", [Grid.TILED, Grid.HALF])


def said(
    canvas_px, stride, window=(WINDOW, WINDOW), wrap=(False, False), grid=Grid.TILED, cell=8, patch=1
) -> list[str]:
    """Pairs are (y, x), in pixels."""
    layout = WindowLayout(window[1], window[0], stride[1], stride[0], wrap[1], wrap[0], grid=grid)
    canvas = tuple(side // cell for side in canvas_px)
    return remarks(layout, toys.resolved(layout, canvas, cell, patch).every, CellGrid(cell, patch))


def refused(canvas_px, stride, window=(WINDOW, WINDOW), wrap=(False, False), grid=Grid.TILED) -> str:
    layout = WindowLayout(window[1], window[0], stride[1], stride[0], wrap[1], wrap[0], grid=grid)
    with pytest.raises(ValueError) as error:
        refuse_open_wrap(layout, toys.resolved(layout, tuple(side // 8 for side in canvas_px), 8).every, CellGrid(8))
    return str(error.value)


# Against every pair of neighbouring cells: whether some window of some step holds both.


def crossed(grid, axis: int, place: int) -> bool:
    window, length = grid.every.view[axis], grid.every.canvas[axis]
    for origin in grid.every.origins:
        cells = [(origin[axis] + k) % length for k in range(window)]
        if any(pair == ((place - 1) % length, place) for pair in itertools.pairwise(cells)):
            return True
    return False


@GRIDS
@pytest.mark.parametrize("wrap", [False, True])
@pytest.mark.parametrize("length", [6, 12, 13, 18, 20])
@pytest.mark.parametrize("stride", [1, 3, 4, 5, 6])
def test_every_border_that_no_window_crosses_is_told_and_no_other(grid, wrap, length, stride):
    layout = WindowLayout(6, 6, stride, 6, wrap_x=wrap, grid=grid)
    resolved = toys.resolved(layout, (6, length))
    open_ = [place for place in range(length) if not crossed(resolved, 1, place)]
    lines = remarks(layout, resolved.every, CellGrid(1))
    assert any("wrap_x: no window runs over the right edge" in line for line in lines) == (wrap and 0 in open_)
    inner = [place for place in open_ if place]
    assert any("only touch" in line for line in lines) == bool(inner)
    if 0 < len(inner) <= 4:
        assert any(f"x = {', '.join(map(str, inner))} px" in line for line in lines)


# A wrap that no window crosses.


@STILL
def test_a_wrap_at_a_stride_as_wide_as_the_window(grid):
    lines = said((128, 384), (128, 128), wrap=(False, True), grid=grid)
    assert lines[0] == (
        "wrap_x: no window runs over the right edge of a canvas of 384 px, so its ends would not meet; choose a "
        "stride_x of 64 px or less, or the grid 'rolled', or turn wrap_x off"
    )
    assert refused((128, 384), (128, 128), wrap=(False, True), grid=grid) == lines[0]


@STILL
def test_the_same_from_top_to_bottom(grid):
    message = refused((512, 128), (128, 64), wrap=(True, False), grid=grid)
    assert "wrap_y: no window runs over the bottom edge of a canvas of 512 px" in message
    assert "stride_y of 64 px" in message


@STILL
def test_one_window_that_spans_an_axis_that_wraps(grid):
    """A horizontal panorama whose height wraps too: one row of windows, and nothing over its edge."""
    assert "wrap_y" in refused((128, 384), (128, 64), wrap=(True, True), grid=grid)
    assert said((128, 384), (64, 64), wrap=(True, True), grid=grid) == []


def test_a_canvas_of_one_window_that_wraps():
    assert "wrap_x" in refused((128, 128), (128, 128), wrap=(False, True))
    assert said((128, 128), (128, 32), wrap=(False, True)) == []


def test_a_canvas_that_no_whole_windows_fill_closes_but_its_borders_show():
    (line,) = said((128, 400), (128, 128), wrap=(False, True))
    assert "windows only touch at x = 128, 256, 384 px" in line


@pytest.mark.parametrize("grid", MOVING)
@pytest.mark.parametrize("canvas", [(128, 384), (128, 128), (256, 256)])
def test_a_grid_that_moves_closes_whatever_the_stride(grid, canvas):
    assert said(canvas, (128, 128), wrap=(True, True), grid=grid) == []


@pytest.mark.parametrize("grid", MOVING)
def test_one_window_that_spans_an_axis_moves_where_it_wraps(grid):
    layout = WindowLayout(6, 6, 6, 6, wrap_x=True, grid=grid)
    moving = toys.resolved(layout, (6, 6))
    assert {moving.at(step).origins for step in range(12)} >= {((0, 0),), ((0, 3),)}
    assert all(moving.at(step).coverage().eq(1).all() for step in range(12))


# Borders that show.


def test_strides_as_wide_as_the_window_without_wrap():
    lines = said((256, 384), (128, 128))
    assert [line.split(",")[0] for line in lines] == [
        "windows only touch at x = 128",
        "windows only touch at y = 128 px",
    ]


def test_many_borders_are_counted():
    (line,) = said((128, 1280), (128, 128))
    assert "x = 128, 256, 384, 512 px and 5 places more" in line


def test_a_window_of_one_patch_cannot_overlap():
    for grid in Grid:
        (line,) = said((16, 64), (16, 16), window=(16, 16), grid=grid, patch=2)
        assert "make window_width larger than 16 px" in line


def test_a_finer_stride_than_a_patch_is_no_overlap():
    (line,) = said((16, 64), (8, 8), window=(16, 16), patch=2)
    assert "only touch" in line


@pytest.mark.parametrize(("stride", "overlap"), [(104, 24), (112, 16), (120, 8)])
@pytest.mark.parametrize("wrap", [False, True])
def test_hardly_an_overlap(stride, overlap, wrap):
    (line,) = said((128, 4 * 128), (128, stride), wrap=(False, wrap))
    assert f"overlap by {overlap} px only along x" in line
    assert "stride_x of 64 px or less" in line


@pytest.mark.parametrize("stride", [32, 64, 96])
@pytest.mark.parametrize("wrap", [(False, False), (False, True)])
@GRIDS
def test_nothing_to_say_of_strides_up_to_three_quarters(grid, wrap, stride):
    assert said((128, 384), (128, stride), wrap=wrap, grid=grid) == []


# One window alone.


@GRIDS
def test_one_window_over_the_whole_canvas(grid):
    """The defaults of Empty Latent Image and Window Tiler together."""
    (line,) = said((512, 512), (128, 128), window=(512, 512), grid=grid)
    assert "one window covers the whole canvas of 512 x 512 px" in line
    assert "nothing to join" in line


def test_two_windows_are_not_one():
    assert said((512, 520), (128, 128), window=(512, 512)) == []
    assert said((512, 1024), (512, 256), window=(512, 512)) == []
