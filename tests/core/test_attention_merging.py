"""Attention over the canvas's tokens: what the windows' tokens become, and what one attention makes of them."""

import random
import re

import core_toys as toys
import pytest
import torch
import torch.nn.functional as F

from syncdiffusion_core.attention_merging import MergedTokens, covers, windows_of_tokens
from syncdiffusion_core.blending import Blend, window_weight
from syncdiffusion_core.views.windows import WindowLayout, Windows, full_canvas

HEADS, WIDTH = 2, 6


def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """[B, T, C] by torch's own attention."""
    q, k, v = (t.unflatten(-1, (HEADS, -1)).transpose(1, 2) for t in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


def layer(hidden: torch.Tensor, seed: int = 0) -> torch.Tensor:
    """A self-attention with random linear queries, keys and values."""
    maps = toys.randn(3, WIDTH, WIDTH, seed=seed)
    return attend(*(hidden @ m for m in maps))


def random_case(seed: int) -> tuple[Windows, int]:
    """Windows whose places fit tokens of so many cells."""
    dice = random.Random(seed)
    cells = dice.choice([1, 2, 4])
    window = [cells * dice.randint(1, 3) for _ in range(2)]
    stride = [cells * dice.randint(1, side // cells) for side in window]
    canvas = tuple(side + cells * dice.randint(0, 4) for side in window)
    wrap = (dice.random() < 0.5, dice.random() < 0.5)
    layout = WindowLayout(window[1], window[0], stride[1], stride[0], wrap[1], wrap[0], dice.choice(list(Blend)))
    return layout.resolve(canvas, 1), cells


def tokens_of(windows: Windows, cells: int) -> tuple[int, int]:
    return windows.window[0] // cells, windows.window[1] // cells


def token_at(windows: Windows, cells: int, view: int, row: int, column: int) -> tuple[int, int]:
    """Place on the canvas, in tokens, of a token of a window."""
    places = zip(windows.origins[view], (row, column), windows.canvas, strict=True)
    top, left = ((origin + cells * own) % side // cells for origin, own, side in places)
    return top, left


@pytest.mark.parametrize("seed", range(40))
def test_each_token_of_the_canvas_is_the_weighted_mean_of_the_windows_there(seed):
    """Against a slow oracle, token by token; two branches of three samples."""
    windows, cells = random_case(seed)
    h, w = tokens_of(windows, cells)
    branches, samples, count = 2, 3, len(windows)
    tokens = toys.randn(branches * count * samples, h * w, WIDTH, seed=seed)
    merged = MergedTokens(windows, (h, w), samples).merge(tokens)
    height, width = (side // cells for side in windows.canvas)
    weight = window_weight(windows.blend, h, w).double()
    total = torch.zeros(branches, samples, height, width, WIDTH, dtype=torch.float64)
    weights = torch.zeros(height, width, dtype=torch.float64)
    by_place = tokens.reshape(branches, count, samples, h, w, WIDTH)
    for view in range(count):
        for row in range(h):
            for column in range(w):
                place = token_at(windows, cells, view, row, column)
                total[(..., *place, slice(None))] += weight[row, column] * by_place[:, view, :, row, column]
                weights[place] += weight[row, column]
    expected = (total / weights[..., None]).reshape(branches * samples, height * width, WIDTH)
    torch.testing.assert_close(merged, expected, rtol=0, atol=1e-6)  # weights are float32


@pytest.mark.parametrize("seed", range(40))
def test_split_gives_each_window_its_place_of_the_canvas(seed):
    windows, cells = random_case(seed)
    h, w = tokens_of(windows, cells)
    branches, samples = 2, 3
    height, width = (side // cells for side in windows.canvas)
    canvas = toys.randn(branches * samples, height * width, WIDTH, seed=seed)
    split = MergedTokens(windows, (h, w), samples).split(canvas)
    by_place = canvas.reshape(branches, samples, height, width, WIDTH)
    rows = split.reshape(branches, len(windows), samples, h, w, WIDTH)
    for view in range(len(windows)):
        for row in range(h):
            for column in range(w):
                place = token_at(windows, cells, view, row, column)
                assert torch.equal(rows[:, view, :, row, column], by_place[(..., *place, slice(None))])


@pytest.mark.parametrize("seed", range(20))
def test_windows_that_agree_are_left_as_they_are(seed):
    """split, then merge, is the identity on the canvas."""
    windows, cells = random_case(seed)
    tokens = MergedTokens(windows, tokens_of(windows, cells), 2)
    canvas = toys.randn(4, windows.canvas[0] * windows.canvas[1] // cells**2, WIDTH, seed=seed)
    torch.testing.assert_close(tokens.merge(tokens.split(canvas)), canvas, rtol=0, atol=1e-12)


def test_one_window_over_the_canvas_is_plain_attention():
    tokens = MergedTokens(full_canvas((4, 6)), (4, 6), 2)
    hidden = toys.randn(4, 24, WIDTH, seed=1)
    assert torch.equal(tokens.merge(hidden), hidden)
    assert torch.equal(tokens.split(layer(tokens.merge(hidden))), layer(hidden))


def test_windows_side_by_side_attend_to_each_other():
    """Two that do not overlap: torch's attention of each window's queries to the keys of both."""
    windows = WindowLayout(4, 2, 4, 2).resolve((2, 8), 1)
    hidden = toys.randn(2, 8, WIDTH, seed=2)
    tokens = MergedTokens(windows, (2, 4), 1)
    ours = tokens.split(layer(tokens.merge(hidden)))
    q, k, v = (hidden @ m for m in toys.randn(3, WIDTH, WIDTH, seed=0))
    both = [torch.cat([*t])[None].expand(2, -1, -1) for t in (k, v)]
    torch.testing.assert_close(ours, attend(q, *both))


def test_merging_hidden_states_merges_queries_keys_and_values():
    """They are linear, and the weights of a mean sum to 1."""
    windows = WindowLayout(4, 4, 2, 2, wrap_x=True, blend=Blend.GAUSSIAN).resolve((4, 8), 1)
    tokens, hidden = MergedTokens(windows, (4, 4), 1), toys.randn(4, 16, WIDTH, seed=3)
    for matrix in toys.randn(3, WIDTH, WIDTH, seed=4):
        torch.testing.assert_close(tokens.merge(hidden @ matrix), tokens.merge(hidden) @ matrix)


def test_a_common_shift_of_all_windows_changes_nothing():
    """Rolled windows start between tokens: attention knows which tokens are the same, not where they are."""
    still = WindowLayout(4, 4, 2, 2, wrap_x=True).resolve((4, 8), 1)
    rolled = Windows(still.canvas, still.window, tuple((top, (left + 3) % 8) for top, left in still.origins))
    hidden = toys.randn(4, 4, WIDTH, seed=5)
    results = [layer(MergedTokens(windows, (2, 2), 1).merge(hidden)) for windows in (still, rolled)]
    splits = [MergedTokens(w, (2, 2), 1).split(r) for w, r in zip((still, rolled), results, strict=True)]
    torch.testing.assert_close(*splits)


def test_half_precision_is_summed_in_float32_and_given_back():
    windows = WindowLayout(4, 4, 1, 4).resolve((4, 8), 1)
    hidden = toys.randn(5, 16, WIDTH, seed=6).half()
    tokens = MergedTokens(windows, (4, 4), 1)
    merged = tokens.merge(hidden)
    assert merged.dtype == torch.float16
    assert torch.equal(merged, tokens.merge(hidden.float()).half())


@pytest.mark.parametrize(
    ("window", "stride", "canvas", "wrap"),
    [((4, 4), 2, (4, 8), False), ((6, 6), 4, (6, 14), False), ((4, 4), 4, (4, 10), True), ((4, 4), 4, (4, 10), False)],
)
def test_windows_between_tokens_are_refused(window, stride, canvas, wrap):
    windows = WindowLayout(window[1], window[0], stride, stride, wrap).resolve(canvas, 1)
    side = -(-window[0] // 4)
    with pytest.raises(ValueError, match="one token for 4x4 latent cells") as error:
        windows_of_tokens(windows, (side, side))
    assert re.search(r"got windows of .* cells at .*; make .* multiples of 4 cells \(32 px", str(error.value))


def test_the_message_lists_a_few_of_many_windows():
    windows = WindowLayout(4, 4, 1, 4).resolve((4, 12), 1)
    with pytest.raises(ValueError, match=r"\(0, 0\), \(0, 1\), \(0, 2\), \(0, 3\), …, \(0, 8\) on 4x12"):
        windows_of_tokens(windows, (2, 2))


def test_windows_of_tokens_in_numbers():
    windows = WindowLayout(8, 8, 4, 8, blend=Blend.FEATHERED).resolve((8, 16), 1)
    found = windows_of_tokens(windows, (2, 2))
    assert (found.canvas, found.window, found.blend) == ((2, 4), (2, 2), Blend.FEATHERED)
    assert found.origins == ((0, 0), (0, 1), (0, 2))


def test_covers():
    windows = WindowLayout(4, 4, 2, 4).resolve((4, 8), 1)
    assert covers(windows)
    assert covers(windows.subset([0, 2]))
    assert not covers(windows.subset([0, 1]))
