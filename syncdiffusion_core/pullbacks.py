"""From a gradient on the clean prediction to a gradient on the state: g = dL/dx0 -> J^T g, J = dx0/dx.

Five answers with one signature. Each returns the gradient that Eq. 14's step x <- x - w s^2 (J^T g) expects.
"""

from collections.abc import Callable
from enum import Enum

import torch
from torch import Tensor

from .denoiser import Denoiser, Rows
from .process import NoiseProcess

Pullback = Callable[[Denoiser, NoiseProcess, Tensor, float, Rows, Tensor, Tensor], Tensor]

DIFFERENCE_STEP = 0.1  # in state standard deviations; bf16 loses the difference below .03 (measured)
SPECTRUM_BEND = 0.3  # cycles a window; fitted to the latents of the demo's scenes


class Gradient(str, Enum):
    """Which way the gradient takes to the state."""

    THROUGH_MODEL = "through the model"
    FORWARD_ONLY = "forward only"
    IMAGE_PRIOR = "image prior (Wiener)"
    DECODER_ONLY = "decoder only"
    NOISY_LATENT = "noisy latent (Eq. 13)"


def through_model(
    denoiser: Denoiser, process: NoiseProcess, x: Tensor, sigma: float, rows: Rows, x0: Tensor, g: Tensor
) -> Tensor:
    """The paper's: reverse-mode automatic differentiation of the denoiser (Eq. 14)."""
    with torch.enable_grad():
        leaf = x.detach().clone().requires_grad_(True)
        predicted = denoiser(leaf, sigma, rows)
        if not predicted.requires_grad:
            raise ValueError(
                "the model returned a prediction without a gradient (it is quantised, compiled or cached); "
                f"choose the gradient '{Gradient.FORWARD_ONLY.value}'"
            )
        # Half-precision models see values near 1; per row, so that a window cannot spoil its batch.
        largest = g.abs().amax(dim=tuple(range(1, g.ndim)), keepdim=True)
        scale = largest.clamp(min=torch.finfo(g.dtype).tiny)
        (pulled,) = torch.autograd.grad(predicted, leaf, (g / scale).to(predicted.dtype))
    return pulled.to(g.dtype) * scale


def forward_only(
    denoiser: Denoiser, process: NoiseProcess, x: Tensor, sigma: float, rows: Rows, x0: Tensor, g: Tensor
) -> Tensor:
    """One more forward pass instead of a backward one: J g for J^T g.

    The Jacobian of an ideal denoiser is a/b^2 times the posterior covariance, hence symmetric (second-order
    Tweedie), and so is a linear CFG combination's. J g is a forward difference along g, per row.
    """
    size = _rms(g)
    h = DIFFERENCE_STEP * process.state_scale(sigma)
    direction = g / size.clamp(min=torch.finfo(g.dtype).tiny)
    moved = denoiser(x + h * direction, sigma, rows)
    return size * (moved - x0) / h


def decoder_only(
    denoiser: Denoiser, process: NoiseProcess, x: Tensor, sigma: float, rows: Rows, x0: Tensor, g: Tensor
) -> Tensor:
    """No model pass: the Jacobian of a white Gaussian prior, J = a / s^2 (MPGD-like)."""
    return process.a(sigma) / process.state_variance(sigma) * g


def image_prior(
    denoiser: Denoiser, process: NoiseProcess, x: Tensor, sigma: float, rows: Rows, x0: Tensor, g: Tensor
) -> Tensor:
    """No model pass: the Jacobian of a Gaussian prior with the spectrum of natural images.

    J = a S / (a^2 S + b^2) at each spatial frequency, Wiener's filter: at high noise only the broad light and
    colour of the gradient pass, which is what the state is still undecided about. A trained denoiser that has
    committed to one scene has no gradient towards another; this prior has.
    """
    a, b = process.a(sigma), process.b(sigma)
    power = natural_spectrum(g.shape[-2], g.shape[-1]).to(g.device, g.dtype) * process.sigma_data**2
    gain = a * power / (a * a * power + b * b)
    return torch.fft.ifft2(torch.fft.fft2(g, norm="ortho") * gain, norm="ortho").real


def natural_spectrum(height: int, width: int) -> Tensor:
    """Power S(f) = c / (f^2 + f0^2) of natural images (Field 1987): [height, width], mean 1, unshifted FFT order.

    f in cycles a window. f0 bends the law at the window's own size, where it would diverge.
    """
    fy = torch.fft.fftfreq(height, dtype=torch.float64)[:, None] * height
    fx = torch.fft.fftfreq(width, dtype=torch.float64)[None, :] * width
    power = 1 / (fy.square() + fx.square() + SPECTRUM_BEND**2)
    return power / power.mean()


def noisy_latent(
    denoiser: Denoiser, process: NoiseProcess, x: Tensor, sigma: float, rows: Rows, x0: Tensor, g: Tensor
) -> Tensor:
    """The ablation of Eq. 13: the decoder was given x / s instead of phi(x), so the Jacobian is 1 / s."""
    return g / process.state_scale(sigma)


PULLBACKS: dict[Gradient, Pullback] = {
    Gradient.THROUGH_MODEL: through_model,
    Gradient.FORWARD_ONLY: forward_only,
    Gradient.IMAGE_PRIOR: image_prior,
    Gradient.DECODER_ONLY: decoder_only,
    Gradient.NOISY_LATENT: noisy_latent,
}


def _rms(x: Tensor) -> Tensor:
    """Root-mean-square of each row: [N, 1, …]."""
    return x.square().mean(dim=tuple(range(1, x.ndim)), keepdim=True).sqrt()
