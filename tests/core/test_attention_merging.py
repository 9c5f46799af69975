"""Attention over the canvas's tokens: what the windows' tokens become, and what one attention makes of them."""

import random

import core_toys as toys
import pytest
import torch
import torch.nn.functional as F

from syncdiffusion_core.attention_merging import MergedTokens, cells_of_a_token, covers
from syncdiffusion_core.blending import Blend, window_weight
from syncdiffusion_core.canvases.window_layout import WindowLayout
from syncdiffusion_core.canvases.windows import Windows, full_canvas

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
    """Windows and cells of a token; half of the cases have windows that lie parts of a token apart."""
    dice = random.Random(seed)
    cells = dice.choice([1, 2, 4])
    step = dice.choice([1, cells])
    window = [cells * dice.randint(1, 3) for _ in range(2)]
    stride = [step * dice.randint(1, side // step) for side in window]
    canvas = tuple(side + step * dice.randint(0, 6) for side in window)
    wrap = (dice.random() < 0.5, dice.random() < 0.5)
    layout = WindowLayout(window[1], window[0], stride[1], stride[0], wrap[1], wrap[0], dice.choice(list(Blend)))
    return toys.tiled(layout, canvas), cells


def tokens_of(windows: Windows, cells: int) -> tuple[int, int]:
    return windows.view[0] // cells, windows.view[1] // cells


def places(windows: Windows, cells: int) -> list[list[tuple[int, int]]]:
    """For each window, the cell of the canvas where each of its tokens begins."""
    (h, w), (height, width) = tokens_of(windows, cells), windows.canvas
    inside = [(cells * row, cells * column) for row in range(h) for column in range(w)]
    return [[((top + y) % height, (left + x) % width) for y, x in inside] for top, left in windows.origins]


@pytest.mark.parametrize("seed", range(60))
def test_tokens_at_one_place_become_their_weighted_mean(seed):
    """Against a slow oracle, token by token; two branches of three samples."""
    windows, cells = random_case(seed)
    branches, samples, layer_size = 2, 3, tokens_of(windows, cells)
    weight = window_weight(windows.blend, *layer_size).double().flatten().tolist()
    tokens = toys.randn(branches, len(windows), samples, len(weight), WIDTH, seed=seed)
    merged = MergedTokens(windows, layer_size, samples).merge(tokens.flatten(0, 2))
    at: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for view, own in enumerate(places(windows, cells)):
        for token, place in enumerate(own):
            at.setdefault(place, []).append((view, token))
    means = []
    for place in sorted(at):
        shares = [weight[token] for _, token in at[place]]
        parts = [share * tokens[:, view, :, token] for share, (view, token) in zip(shares, at[place], strict=True)]
        means.append(sum(parts) / sum(shares))
    expected = torch.stack(means, dim=2).flatten(0, 1)
    torch.testing.assert_close(merged, expected, rtol=0, atol=1e-6)  # weights are float32


@pytest.mark.parametrize("seed", range(60))
def test_split_gives_each_window_its_tokens(seed):
    windows, cells = random_case(seed)
    branches, samples, own = 2, 3, places(windows, cells)
    order = sorted({place for window in own for place in window})
    canvas = toys.randn(branches, samples, len(order), WIDTH, seed=seed)
    split = MergedTokens(windows, tokens_of(windows, cells), samples).split(canvas.flatten(0, 1))
    expected = torch.stack([canvas[:, :, [order.index(place) for place in window]] for window in own], dim=1)
    assert torch.equal(split, expected.flatten(0, 2))


@pytest.mark.parametrize("seed", range(20))
def test_windows_that_agree_are_left_as_they_are(seed):
    """split, then merge, is the identity on the canvas."""
    windows, cells = random_case(seed)
    tokens = MergedTokens(windows, tokens_of(windows, cells), 2)
    count = len({place for window in places(windows, cells) for place in window})
    canvas = toys.randn(4, count, WIDTH, seed=seed)
    torch.testing.assert_close(tokens.merge(tokens.split(canvas)), canvas, rtol=0, atol=1e-12)


def test_one_window_over_the_canvas_is_plain_attention():
    tokens = MergedTokens(full_canvas((4, 6)), (4, 6), 2)
    hidden = toys.randn(4, 24, WIDTH, seed=1)
    assert torch.equal(tokens.merge(hidden), hidden)
    assert torch.equal(tokens.split(layer(tokens.merge(hidden))), layer(hidden))


def test_windows_side_by_side_attend_to_each_other():
    """Two that do not overlap: torch's attention of each window's queries to the keys of both."""
    windows = toys.tiled(WindowLayout(4, 2, 4, 2), (2, 8))
    hidden = toys.randn(2, 8, WIDTH, seed=2)
    tokens = MergedTokens(windows, (2, 4), 1)
    ours = tokens.split(layer(tokens.merge(hidden)))
    q, k, v = (hidden @ m for m in toys.randn(3, WIDTH, WIDTH, seed=0))
    both = [torch.cat([*t])[None].expand(2, -1, -1) for t in (k, v)]
    torch.testing.assert_close(ours, attend(q, *both))


def test_merging_hidden_states_merges_queries_keys_and_values():
    """They are linear, and the weights of a mean sum to 1."""
    windows = toys.tiled(WindowLayout(4, 4, 2, 2, wrap_x=True, blend=Blend.GAUSSIAN), (4, 8))
    tokens, hidden = MergedTokens(windows, (4, 4), 1), toys.randn(4, 16, WIDTH, seed=3)
    for matrix in toys.randn(3, WIDTH, WIDTH, seed=4):
        torch.testing.assert_close(tokens.merge(hidden @ matrix), tokens.merge(hidden) @ matrix)


def test_a_common_shift_of_all_windows_changes_nothing():
    """Rolled windows start between tokens: attention knows which tokens are the same, not where they are."""
    still = toys.tiled(WindowLayout(4, 4, 2, 2, wrap_x=True), (4, 8))
    rolled = Windows(still.canvas, still.view, tuple((top, (left + 3) % 8) for top, left in still.origins))
    hidden = toys.randn(4, 4, WIDTH, seed=5)
    results = [layer(MergedTokens(windows, (2, 2), 1).merge(hidden)) for windows in (still, rolled)]
    splits = [MergedTokens(w, (2, 2), 1).split(r) for w, r in zip((still, rolled), results, strict=True)]
    torch.testing.assert_close(*splits)


def test_half_precision_is_summed_in_float32_and_given_back():
    windows = toys.tiled(WindowLayout(4, 4, 1, 4), (4, 8))
    hidden = toys.randn(5, 16, WIDTH, seed=6).half()
    tokens = MergedTokens(windows, (4, 4), 1)
    merged = tokens.merge(hidden)
    assert merged.dtype == torch.float16
    assert torch.equal(merged, tokens.merge(hidden.float()).half())


def test_windows_parts_of_a_token_apart_keep_their_tokens_and_look_at_each_other():
    """Tokens of 2x2 cells, windows 1 cell apart: torch's attention to the keys of both, none averaged."""
    windows = toys.tiled(WindowLayout(4, 4, 1, 4), (4, 5))
    hidden = toys.randn(2, 4, WIDTH, seed=7)
    tokens = MergedTokens(windows, (2, 2), 1)
    merged = tokens.merge(hidden)
    assert merged.shape == (1, 8, WIDTH)
    ours = tokens.split(layer(merged))
    q, k, v = (hidden @ m for m in toys.randn(3, WIDTH, WIDTH, seed=0))
    torch.testing.assert_close(ours, attend(q, *(torch.cat([*t])[None].expand(2, -1, -1) for t in (k, v))))


@pytest.mark.parametrize(
    ("window", "layer_size", "cells"),
    [((8, 8), (8, 8), 1), ((8, 12), (2, 3), 4), ((15, 9), (4, 3), 4), ((6, 6), (2, 2), 4)],
)
def test_cells_of_a_token(window, layer_size, cells):
    """Sides that a UNet has halved, odd ones rounded up."""
    assert cells_of_a_token(full_canvas(window), layer_size) == cells


def test_covers():
    windows = toys.tiled(WindowLayout(4, 4, 2, 4), (4, 8))
    assert covers(windows)
    assert covers(windows.subset([0, 2]))
    assert not covers(windows.subset([0, 1]))
