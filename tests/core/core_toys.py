"""Toy models of every parameterisation, a toy decoder and a toy perceptual distance, all small and nonlinear.

The networks know the noise level the way a trained one does: they are the ideal prediction of a white unit
prior plus a convolutional perturbation, so that no state explodes and no picture saturates. Every row has a
prompt of its own, so that a row mistaken for another changes the result.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from syncdiffusion_core.canvases.windows import Windows
from syncdiffusion_core.denoiser import Rows
from syncdiffusion_core.guidance.loss import PerceptualLoss
from syncdiffusion_core.guidance.perceptual import Limits, Passes, PerceptualGuidance
from syncdiffusion_core.guidance.pullbacks import Gradient, make_pullback, torch_refusal
from syncdiffusion_core.guidance.turns import Guided, Turns
from syncdiffusion_core.moment import Moment
from syncdiffusion_core.process import variance_exploding
from syncdiffusion_core.sampling import Method, sample
from syncdiffusion_core.strategies import STRATEGIES, Synchronisation
from syncdiffusion_core.views.schedule import CellGrid, Still

CHANNELS = 4
CFG = 2.5


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


W_IN, W_OUT = 0.4 * randn(6, CHANNELS, 3, 3, seed=1), 0.2 * randn(CHANNELS, 6, 3, 3, seed=2)
W_DECODE = 0.15 * randn(3, CHANNELS, 3, 3, seed=3)
W_FEATURES = (0.5 * randn(5, 3, 3, 3, seed=4), 0.5 * randn(6, 5, 3, 3, seed=5))
LAYER_WEIGHTS = (randn(5, seed=6).abs(), randn(6, seed=7).abs())


def row(sample: int = 0, view: int = 0) -> Rows:
    return Rows((sample,), (view,))


def perturbation(x: Tensor, level: float, rows: Rows) -> Tensor:
    """Classifier-free guidance of a small convolutional network; level is any number that tells the noise."""
    prompt = torch.tensor([math.sin(1 + 3 * s + 1.7 * v) for s, v in zip(*rows, strict=True)], dtype=x.dtype)

    def net(prompt: Tensor) -> Tensor:
        hidden = F.conv2d(x, W_IN.to(x), padding=1) + level + prompt[:, None, None, None]
        return F.conv2d(hidden.tanh(), W_OUT.to(x), padding=1)

    blank = net(torch.zeros_like(prompt))
    return blank + CFG * (net(prompt) - blank)


def eps_net(x_vp: Tensor, ab: float, rows: Rows) -> Tensor:
    return math.sqrt(1 - ab) * x_vp + math.sqrt(ab) * 0.5 * perturbation(x_vp, ab, rows)


def v_net(x_vp: Tensor, ab: float, rows: Rows) -> Tensor:
    return 0.5 * perturbation(x_vp, ab, rows)


def flow_net(x: Tensor, sigma: float, rows: Rows) -> Tensor:
    return (2 * sigma - 1) / ((1 - sigma) ** 2 + sigma**2) * x + 0.5 * perturbation(x, sigma, rows)


def eps_denoiser(x: Tensor, sigma: float, rows: Rows) -> Tensor:
    """The core's view of an EPS model: x = x0 + sigma eps."""
    ab = 1 / (1 + sigma**2)
    return x - sigma * eps_net(math.sqrt(ab) * x, ab, rows)


def v_denoiser(x: Tensor, sigma: float, rows: Rows) -> Tensor:
    ab = 1 / (1 + sigma**2)
    x_vp = math.sqrt(ab) * x
    return math.sqrt(ab) * x_vp - math.sqrt(1 - ab) * v_net(x_vp, ab, rows)


def flow_denoiser(x: Tensor, sigma: float, rows: Rows) -> Tensor:
    return x - sigma * flow_net(x, sigma, rows)


def gaussian_denoiser(process, covariance: Tensor):
    """The exact posterior mean of x0 ~ N(0, covariance) over the flattened latent."""
    identity = torch.eye(len(covariance), dtype=covariance.dtype)

    def denoise(x: Tensor, sigma: float, rows: Rows) -> Tensor:
        a, b = process.a(sigma), process.b(sigma)
        gain = a * covariance @ torch.linalg.inv(a * a * covariance + b * b * identity)
        return (x.flatten(1) @ gain.T).view_as(x)

    return denoise


def random_covariance(size: int, seed: int = 0) -> Tensor:
    root = randn(size, size, seed=seed) / math.sqrt(size)
    return root @ root.T + 0.1 * torch.eye(size, dtype=torch.float64)


def clamped_decode(x0: Tensor) -> Tensor:
    """Twice the size, three channels, clamped inside the graph as the official code does."""
    picture = F.conv2d(F.interpolate(x0, scale_factor=2), W_DECODE.to(x0), padding=1)
    return (0.5 + 0.5 * picture).clamp(0, 1)


def smooth_decode(x0: Tensor) -> Tensor:
    """The same without kinks, for finite differences."""
    return F.conv2d(F.interpolate(x0, scale_factor=2), W_DECODE.to(x0), padding=1).sigmoid()


def side_by_side(count: int, size: int) -> Windows:
    """A row of square windows that only touch."""
    return Windows((size, count * size), (size, size), tuple((0, k * size) for k in range(count)))


class ToyDistance:
    """LPIPS in form: unit-length activations of two smooth layers, weighted squared differences."""

    def __init__(self, constant: float = 1.0) -> None:
        self.constant = constant

    def features(self, image: Tensor) -> tuple[Tensor, ...]:
        x, out = 2 * image - 1, []
        for weight in W_FEATURES:
            x = F.conv2d(x, weight.to(x), stride=2, padding=1).tanh()
            out.append(x / (x.square().sum(dim=1, keepdim=True) + 1e-2).sqrt())
        return tuple(out)

    def distance(self, features, anchor) -> Tensor:
        layers = zip(features, anchor, LAYER_WEIGHTS, strict=True)
        return sum(((f - a).square() * w.to(f)[:, None, None]).sum(1).mean((1, 2)) for f, a, w in layers)


def loss_of(image: Tensor, anchor_image: Tensor) -> Tensor:
    """The toy distance of two pictures, [N]."""
    toy = ToyDistance()
    return toy.distance(toy.features(image), toy.features(anchor_image))


def alphas_cumprod() -> np.ndarray:
    """Stable Diffusion's: the square roots of the betas are equidistant."""
    return np.cumprod(1 - np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2)


def starts(length: int, window: int, stride: int, wrap: bool) -> list[int]:
    """Where windows start along one axis."""
    if wrap:
        return list(range(0, length, stride))
    out = list(range(0, length - window + 1, stride))
    return out if out[-1] + window == length else [*out, length - window]


def origins(canvas, window, stride, wrap=(False, False)) -> list[tuple[int, int]]:
    """(top, left) of each window, row by row."""
    rows, columns = (starts(*axis) for axis in zip(canvas, window, stride, wrap, strict=True))
    return [(top, left) for top in rows for left in columns]


def crop(canvas: Tensor, origin: tuple[int, int], window: tuple[int, int]) -> Tensor:
    """One window of a canvas that continues around its edges."""
    rolled = torch.roll(canvas, (-origin[0], -origin[1]), dims=(-2, -1))
    return rolled[..., : window[0], : window[1]].clone()


def paste(canvas: Tensor, origin: tuple[int, int], view: Tensor) -> None:
    """Add a window to the canvas it was cut from, around its edges."""
    height, width = view.shape[-2:]
    alone = torch.zeros_like(canvas)
    alone[..., :height, :width] = view
    canvas += torch.roll(alone, origin, dims=(-2, -1))


def report_difference(one: Tensor, other: Tensor) -> float:
    return float((one - other).abs().max())


def fill(network: nn.Module, seed: int = 0) -> nn.Module:
    """Weights that keep activations near 1, one half of them off after a ReLU; non-negative linear layers."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in network.named_parameters():
        if "lin" in name:
            parameter.data = torch.rand(parameter.shape, generator=generator)
        elif parameter.ndim > 1:
            fan_in = parameter[0].numel()
            parameter.data = torch.randn(parameter.shape, generator=generator) * (2 / fan_in) ** 0.5
        else:
            parameter.data = 0.1 * torch.randn(parameter.shape, generator=generator)
    return network.eval()


def tiled(layout, canvas: tuple[int, int], cell_px: int = 1, patch: int = 1) -> Windows:
    """The windows of a layout at every stride."""
    return layout.tiled(canvas, CellGrid(cell_px, patch))


def scheduled(views):
    """Views as a schedule; what is one already stays."""
    return views if hasattr(views, "at") else Still(views)


def sampled(denoiser, process, views, canvas, sigmas, synchronisation=Synchronisation.MULTIDIFFUSION, **options):
    """``sample`` from a noised canvas, whatever the state of the strategy: options as in Method."""
    schedule = scheduled(views)
    state = STRATEGIES[synchronisation].start(schedule.at(0), canvas)
    return sample(denoiser, process, schedule, state, sigmas, Method(synchronisation, **options))


def guided(weights, loss=None, report=None, **options):
    """PerceptualGuidance by the names of its parts' settings. report: called with the trace of each guided step."""
    of_loss = {name: options.pop(name) for name in ("target", "loss_scale") if name in options}
    decodes = options.pop("decode_batch", options.get("pulled", 1))
    loss = loss or PerceptualLoss(
        options.pop("decode", clamped_decode), options.pop("distance", ToyDistance()), batches=decodes, **of_loss
    )
    passes = Passes(options.pop("first", 1), options.pop("pulled", 1), options.pop("second", True))
    limits = Limits(options.pop("max_move", None), options.pop("where", None))
    turns = Turns(options.pop("guided", Guided.ALL), options.pop("shared", False))
    gradient, refusal = options.pop("gradient", Gradient.THROUGH_MODEL), options.pop("refusal", torch_refusal)
    pullback = make_pullback(gradient, options.pop("spectrum", None), options.pop("source", None), refusal)
    assert not options, options
    guidance = PerceptualGuidance(weights, loss, pullback, turns, passes, limits)
    return guidance if report is None else Reporting(guidance, report)


class Reporting:
    """A guidance that tells what it did."""

    def __init__(self, guidance, report) -> None:
        self.guidance, self.report = guidance, report

    def __call__(self, moment):
        moved = self.guidance(moment)
        if moved.trace is not None:
            self.report(moved.trace)
        return moved


def moment(views, x, sigma, denoiser=eps_denoiser, process=None, step=0) -> Moment:
    """A moment of a run over these views, x [V*N, C, h, w]."""
    return Moment(views, x, step, sigma, len(x) // len(views), process or variance_exploding(), denoiser)


def resolved(layout, canvas: tuple[int, int], cell_px: int = 1, patch: int = 1):
    """The windows of a run, step by step, as its grid has them."""
    return layout.resolve(canvas, CellGrid(cell_px, patch)).latent
