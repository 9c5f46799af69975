"""Sums over windows: one order on every device, by construction, and the bits of the sums over an index before them."""

import random

import core_toys as toys
import pytest
import torch
from one_order import OneOrder
from torch import Tensor

from syncdiffusion_core.agreement import LATENTS
from syncdiffusion_core.attention_merging import MergedTokens
from syncdiffusion_core.blending import Blend, window_weight
from syncdiffusion_core.canvases.grids import Grid
from syncdiffusion_core.canvases.window_layout import WindowLayout
from syncdiffusion_core.canvases.windows import Windows, full_canvas
from syncdiffusion_core.extrapolation import Outpainted, extrapolate, visiting_order
from syncdiffusion_core.guidance.pullbacks import Gradient
from syncdiffusion_core.guidance.turns import Guided
from syncdiffusion_core.perceptual.resized import Resized
from syncdiffusion_core.process import variance_exploding
from syncdiffusion_core.strategies import Synchronisation
from syncdiffusion_core.views.view_set import aggregate

VE = variance_exploding()
SIGMAS = [8.0, 2.0, 0.5, 0.0]


# The guard itself.


@pytest.mark.parametrize(
    "sum_up",
    [
        lambda x: x.index_add_(0, torch.tensor([0, 0]), torch.ones(2)),
        lambda x: x.scatter_add(0, torch.tensor([0, 0]), torch.ones(2)),
        lambda x: x.index_put_((torch.tensor([0, 1]),), torch.ones(2), accumulate=True),
        lambda x: x.__setitem__(torch.tensor([1, 1]), torch.arange(2.0)),
        lambda x: torch.bincount(torch.tensor([0, 0]), torch.ones(2)),
        lambda x: x.requires_grad_()[torch.tensor([0, 0])].sum().backward(),
        lambda x: x.requires_grad_().index_select(0, torch.tensor([0, 0])).sum().backward(),
        lambda x: (
            torch.nn.functional.interpolate(x.requires_grad_().reshape(1, 1, 2, 2), scale_factor=2.0, mode="bilinear")
            .sum()
            .backward()
        ),
    ],
)
def test_the_guard_sees_sums_without_an_order(sum_up):
    with OneOrder(), pytest.raises(AssertionError):
        sum_up(torch.zeros(4))


def test_the_guard_lets_through_what_has_an_order():
    x = torch.zeros(4, requires_grad=True)
    with OneOrder():
        y = x.clone()
        y[[2, 0]] = torch.arange(2.0)
        y[1:3] += 1
        y.sum().backward()


# The bits of before: sums over an index, as the CPU makes them one after the other.


def summed_over_an_index(windows: Windows, views: Tensor) -> tuple[Tensor, Tensor]:
    dtype = torch.promote_types(views.dtype, torch.float32)
    weight = window_weight(windows.blend, *windows.view).to(dtype)
    (height, width), (h, w) = windows.canvas, windows.view
    rows, columns = (
        [(o[axis] + torch.arange(side)) % length for o in windows.origins]
        for axis, side, length in ((0, h, height), (1, w, width))
    )
    index = torch.stack([r[:, None] * width + c for r, c in zip(rows, columns, strict=True)]).flatten()
    stacked = (views.to(dtype) * weight).unflatten(0, (len(windows), -1)).movedim(0, -3).flatten(-3)
    total = torch.zeros(*stacked.shape[:-1], height * width, dtype=dtype).index_add_(-1, index, stacked)
    share = torch.zeros(height * width, dtype=dtype)
    share.index_add_(0, index, weight.expand(len(windows), -1, -1).flatten())
    return total.unflatten(-1, windows.canvas), share.unflatten(0, windows.canvas)[None, None]


def merged_over_an_index(windows: Windows, layer: tuple[int, int], n: int, cells: int, tokens: Tensor) -> Tensor:
    dtype = torch.promote_types(tokens.dtype, torch.float32)
    height, width = windows.canvas
    places = [
        (top + cells * y) % height * width + (left + cells * x) % width
        for top, left in windows.origins
        for y in range(layer[0])
        for x in range(layer[1])
    ]
    found, index = torch.tensor(places).unique(return_inverse=True)
    weight = window_weight(windows.blend, *layer).flatten().repeat(len(windows)).to(dtype)
    stacked = tokens.unflatten(0, (-1, len(windows), n)).transpose(1, 2).flatten(2, 3).flatten(0, 1)
    total = torch.zeros(len(stacked), len(found), tokens.shape[-1], dtype=dtype)
    total.index_add_(1, index, stacked.to(dtype) * weight[:, None])
    share = torch.zeros(len(found), dtype=dtype).index_add_(0, index, weight)
    return (total / share[:, None]).to(tokens.dtype)


def random_windows(seed: int, cells: int = 1) -> Windows:
    """Any layout, wraps in every way; windows and canvases are multiples of ``cells`` only by chance."""
    dice = random.Random(seed)
    window = [cells * dice.randint(1, 5) for _ in range(2)]
    stride = [dice.randint(1, side) for side in window]
    canvas = tuple(side + dice.randint(0, 9) for side in window)
    wrap = (dice.random() < 0.5, dice.random() < 0.5)
    layout = WindowLayout(window[1], window[0], stride[1], stride[0], wrap[1], wrap[0], dice.choice(list(Blend)))
    return toys.tiled(layout, canvas)


def same_bits(one: Tensor, other: Tensor) -> bool:
    return one.dtype == other.dtype and torch.equal(one.view(torch.uint8), other.view(torch.uint8))


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("seed", range(40))
def test_sums_of_windows_have_the_bits_of_sums_over_an_index(seed, dtype):
    windows = random_windows(seed)
    frames = [3] * (seed % 3 == 0)
    views = toys.randn(len(windows) * 2, 4, *frames, *windows.view, seed=seed).to(dtype)
    with OneOrder():
        got = windows.unproject(views)
        coverage = windows.coverage()
    assert all(same_bits(*pair) for pair in zip(got, summed_over_an_index(windows, views), strict=True))
    assert same_bits(coverage, summed_over_an_index(windows, views.float())[1][0, 0])


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("seed", range(40))
def test_merged_tokens_have_the_bits_of_sums_over_an_index(seed, dtype):
    cells = (1, 2, 4)[seed % 3]
    windows = random_windows(seed, cells)
    layer = tuple(side // cells for side in windows.view)
    tokens = toys.randn(2 * len(windows) * 3, layer[0] * layer[1], 5, seed=seed).to(dtype)
    maps = MergedTokens(windows, layer, 3)
    with OneOrder():
        merged = maps.merge(tokens)
        maps.split(merged)
    assert same_bits(merged, merged_over_an_index(windows, layer, 3, cells, tokens))


def test_the_papers_panoramas_bit_by_bit():
    for canvas in ((64, 384), (160, 160)):
        windows = toys.tiled(WindowLayout(64, 64, 16, 16, blend=Blend.GAUSSIAN), canvas)
        views = toys.randn(len(windows), 4, 64, 64, seed=1).float()
        wanted = summed_over_an_index(windows, views)
        assert all(same_bits(*pair) for pair in zip(windows.unproject(views), wanted, strict=True))


def test_a_window_over_a_corner_lies_in_four_places():
    windows = Windows((5, 6), (4, 4), ((3, 4),))
    canvas = toys.randn(1, 1, 5, 6)
    with OneOrder():
        view = windows.project(canvas)
        total, weight = windows.unproject(view)
    assert torch.equal(view, toys.crop(canvas, (3, 4), (4, 4)))
    assert torch.equal(total, canvas * weight)
    assert int(weight.sum()) == 16


# No operation without an order anywhere in the maps and their gradients, or in a run.


@pytest.mark.parametrize("seed", range(20))
def test_the_maps_and_their_gradients(seed):
    windows = random_windows(seed)
    canvas = toys.randn(2, 4, *windows.canvas, seed=seed).requires_grad_()
    noise = toys.randn(len(windows) * 2, 4, *windows.view, seed=seed + 1)
    with OneOrder():
        views = windows.project(canvas) * noise
        (aggregate(windows, views).square().sum() + LATENTS.views(windows, views).sin().sum()).backward()
    assert canvas.grad.isfinite().all()


def guidance(**options):
    return toys.guided([300.0, 300.0, 0.0], **{"pulled": 2} | options)


LAYOUTS = [
    WindowLayout(6, 6, 2, 6, wrap_x=True, blend=Blend.FEATHERED),
    WindowLayout(6, 6, 4, 3, wrap_y=True),
    WindowLayout(6, 6, 6, 6, wrap_x=True, wrap_y=True, grid=Grid.ROLLED),
    WindowLayout(6, 6, 2, 2, grid=Grid.ALTERNATING),
    WindowLayout(6, 6, 2, 2, grid=Grid.HALF),
]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"guided": Guided.ROTATING, "second": False},
        {"gradient": Gradient.FORWARD_ONLY, "max_move": 0.5},
        {"where": torch.rand(2, 8, 14, generator=torch.Generator().manual_seed(0))},
    ],
)
def test_a_guided_run(layout, options):
    start = 8.0 * toys.randn(2, 4, 8, 14)
    with OneOrder():
        windows = toys.resolved(layout, (8, 14))
        got = toys.sampled(toys.eps_denoiser, VE, windows, start, SIGMAS, guidance=guidance(**options))
    assert got.canvas.isfinite().all()


def test_a_smaller_picture_for_the_perceptual_network():
    distance, image = Resized(toys.ToyDistance(), 2), toys.randn(2, 3, 65, 64).sigmoid().requires_grad_()
    with OneOrder():
        distance.distance(distance.features(image), distance.features(image.detach().flip(0))).sum().backward()
    assert image.grad.any()


@pytest.mark.parametrize("synchronisation", list(Synchronisation))
def test_every_strategy(synchronisation):
    windows = toys.tiled(LAYOUTS[0], (6, 14))
    with OneOrder():
        toys.sampled(toys.eps_denoiser, VE, windows, 8.0 * toys.randn(2, 4, 6, 14), SIGMAS, synchronisation)


def test_window_after_window():
    windows = toys.tiled(WindowLayout(6, 6, 4, 6), (6, 14))
    known = torch.zeros(2, 1, 6, 14, dtype=torch.bool)
    clean = toys.randn(2, 4, 6, 14)
    with OneOrder():
        order = visiting_order(windows, known)
        given = Outpainted(8.0 * clean, known, clean, clean)
        extrapolate(toys.eps_denoiser, VE, windows.subset(order), given, SIGMAS)


def test_one_window_over_the_canvas_is_given_back():
    windows, view = full_canvas((3, 5)), toys.randn(2, 4, 3, 5)
    with OneOrder():
        assert torch.equal(aggregate(windows, view), view)
