"""Weight 0 with windows against MultiDiffusion written from Eq. 12: slices, value over count."""

import math

import core_toys as toys
import pytest
import torch

from syncdiffusion_core.blending import Blend
from syncdiffusion_core.canvases.window_layout import WindowLayout
from syncdiffusion_core.canvases.windows import full_canvas
from syncdiffusion_core.process import rectified_flow, variance_exploding
from syncdiffusion_core.strategies import Synchronisation

SIGMAS = [14.6, 6.0, 2.5, 0.9, 0.3, 0.0]
CELL = 8


def blend_weight(blend: Blend, height: int, width: int) -> torch.Tensor:
    """The documented formulas, cell by cell."""

    def profile(i: int, length: int) -> float:
        u = 2 * (i + 0.5) / length - 1
        gauss = math.exp(-0.5 * (u / 0.3) ** 2)
        return {Blend.UNIFORM: 1.0, Blend.GAUSSIAN: gauss, Blend.FEATHERED: 1 - abs(u)}[blend]

    rows = [[profile(y, height) * profile(x, width) for x in range(width)] for y in range(height)]
    return torch.tensor(rows, dtype=torch.float64)


def multidiffusion(denoiser, z, sigmas, canvas, window, stride, wrap, blend):
    """One sample: every window takes its own DDIM step from the shared canvas, then Eq. 12."""
    weight = blend_weight(blend, *window)
    for sigma, following in zip(sigmas[:-1], sigmas[1:], strict=True):
        value, count = torch.zeros_like(z), torch.zeros_like(z)
        for view, origin in enumerate(toys.origins(canvas, window, stride, wrap)):
            x = toys.crop(z, origin, window)
            x0 = denoiser(x, sigma, toys.row(view=view))
            eps = (x - x0) / sigma
            toys.paste(value, origin, weight * (x0 + following * eps))
            toys.paste(count, origin, weight.expand_as(x))
        z = value / count
    return z


def layout(window, stride, wrap, blend) -> WindowLayout:
    return WindowLayout(
        window_width_px=window[1] * CELL,
        window_height_px=window[0] * CELL,
        stride_x_px=stride[1] * CELL,
        stride_y_px=stride[0] * CELL,
        wrap_x=wrap[1],
        wrap_y=wrap[0],
        blend=blend,
    )


LAYOUTS = [
    ((6, 17), (6, 6), (6, 3), (False, False)),
    ((6, 17), (6, 6), (6, 5), (False, True)),
    ((15, 5), (6, 5), (4, 5), (True, False)),
    ((9, 11), (5, 4), (3, 4), (False, False)),
    ((8, 9), (5, 4), (3, 2), (True, True)),
]


@pytest.mark.parametrize("blend", list(Blend))
@pytest.mark.parametrize(("canvas", "window", "stride", "wrap"), LAYOUTS)
def test_weight_zero_is_multidiffusion(canvas, window, stride, wrap, blend):
    noise = 14.6 * toys.randn(1, 4, *canvas)
    expected = multidiffusion(toys.eps_denoiser, noise, SIGMAS, canvas, window, stride, wrap, blend)
    windows = toys.tiled(layout(window, stride, wrap, blend), canvas, CELL)
    guidance = toys.guided([0.0] * 5)
    got = toys.sampled(toys.eps_denoiser, variance_exploding(), windows, noise, SIGMAS, guidance=guidance, batches=4)
    # The core keeps blending weights in float32.
    torch.testing.assert_close(got.canvas, expected, rtol=0, atol=1e-9 if blend is Blend.UNIFORM else 1e-5)


@pytest.mark.parametrize("synchronisation", list(Synchronisation))
def test_one_window_over_the_whole_canvas_is_euler(synchronisation):
    x = noise = 14.6 * toys.randn(2, 4, 6, 9)
    rows = toys.Rows.grid(2, (0,))
    for sigma, following in zip(SIGMAS[:-1], SIGMAS[1:], strict=True):
        derivative = (x - toys.eps_denoiser(x, sigma, rows)) / sigma
        x = x + (following - sigma) * derivative
    got = toys.sampled(toys.eps_denoiser, variance_exploding(), full_canvas((6, 9)), noise, SIGMAS, synchronisation)
    torch.testing.assert_close(got.canvas, x, rtol=0, atol=1e-12)


def test_one_window_over_the_whole_canvas_is_flow_euler():
    sigmas = [1.0, 0.8, 0.55, 0.2, 0.0]
    x = noise = toys.randn(2, 4, 6, 9)
    rows = toys.Rows.grid(2, (0,))
    for sigma, following in zip(sigmas[:-1], sigmas[1:], strict=True):
        x = x + (following - sigma) * toys.flow_net(x, sigma, rows)
    got = toys.sampled(toys.flow_denoiser, rectified_flow(), full_canvas((6, 9)), noise, sigmas)
    torch.testing.assert_close(got.canvas, x, rtol=0, atol=1e-12)


def test_one_window_over_the_whole_canvas_adds_nothing_of_its_own():
    """To the bit: the same steps without any windows."""
    process, noise = variance_exploding(), (14.6 * toys.randn(2, 4, 6, 9)).float()
    x = noise
    for sigma, following in zip(SIGMAS[:-1], SIGMAS[1:], strict=True):
        x = process.step(x, toys.eps_denoiser(x, sigma, toys.Rows.grid(2, (0,))), sigma, following)
    assert torch.equal(toys.sampled(toys.eps_denoiser, process, full_canvas((6, 9)), noise, SIGMAS).canvas, x)


def test_a_resolved_layout_of_one_window_is_the_full_canvas():
    for blend in Blend:
        windows = toys.tiled(layout((6, 9), (6, 9), (False, False), blend), (6, 9), CELL)
        assert windows.origins == full_canvas((6, 9)).origins == ((0, 0),)
        assert windows.view == full_canvas((6, 9)).view == (6, 9)
