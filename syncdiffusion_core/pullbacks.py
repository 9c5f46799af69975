"""From a gradient on the clean prediction to a gradient on the state: g = dL/dx0 -> J^T g, J = dx0/dx.

Five answers with one signature. Each returns the gradient that Eq. 14's step x <- x - w s^2 (J^T g) expects.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from enum import Enum

import torch
from torch import Tensor
from torch.autograd.graph import allow_mutation_on_saved_tensors

from .denoiser import Denoiser, Rows
from .process import NoiseProcess

Pullback = Callable[[Denoiser, NoiseProcess, Tensor, float, Rows, Tensor, Tensor], Tensor]

CHANGED_IN_PLACE = "modified by an inplace operation"
NO_BACKWARD = (
    CHANGED_IN_PLACE,
    "in-place operation",
    "modified inplace",
    "no autograd formula",
    "automatic differentiation",
    "derivative for",
)
"""What torch says where a network computes something that its backward pass cannot."""

DIFFERENCE_STEP = 0.1  # in state standard deviations; bf16 loses the difference below .03 (measured)
SPECTRUM_BEND = 0.3  # cycles a window; fitted to the latents of the demo's scenes


class MissingBackward(ValueError):
    """The denoiser has no backward pass; reason: why, in torch's words or ours."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"the model returned a prediction without a gradient ({reason}); "
            f"choose the gradient '{Gradient.FORWARD_ONLY.value}'"
        )
        self.reason = reason


class Gradient(str, Enum):
    """Which way the gradient takes to the state."""

    THROUGH_MODEL = "through the model"
    FORWARD_ONLY = "forward only"
    IMAGE_PRIOR = "image prior (Wiener)"
    DECODER_ONLY = "decoder only"
    NOISY_LATENT = "noisy latent (Eq. 13)"


class ThroughModel:
    """The paper's: reverse-mode automatic differentiation of the denoiser (Eq. 14).

    Raises MissingBackward where the denoiser cannot be differentiated. Networks made for inference change activations
    in place that autograd has saved: at the first sign of it, such activations are copied first, from then on.
    """

    def __init__(self) -> None:
        self._saved: Callable[[], AbstractContextManager] = nullcontext

    def __call__(
        self, denoiser: Denoiser, process: NoiseProcess, x: Tensor, sigma: float, rows: Rows, x0: Tensor, g: Tensor
    ) -> Tensor:
        # Half-precision models see values near 1; per row, so that a window cannot spoil its batch.
        largest = g.abs().amax(dim=tuple(range(1, g.ndim)), keepdim=True)
        scale = largest.clamp(min=torch.finfo(g.dtype).tiny)
        try:
            pulled = self._pull(denoiser, x, sigma, rows, g / scale)
        except RuntimeError as error:
            if not any(words in str(error) for words in NO_BACKWARD):
                raise
            raise MissingBackward(str(error).splitlines()[0]) from error
        return pulled.to(g.dtype) * scale

    def _pull(self, denoiser: Denoiser, x: Tensor, sigma: float, rows: Rows, v: Tensor) -> Tensor:
        if self._saved is nullcontext:
            try:
                return self._vector_jacobian(denoiser, x, sigma, rows, v)
            except RuntimeError as error:
                if CHANGED_IN_PLACE not in str(error):
                    raise
            self._saved = allow_mutation_on_saved_tensors  # costs a look at every operation, so only where needed
        return self._vector_jacobian(denoiser, x, sigma, rows, v)

    def _vector_jacobian(self, denoiser: Denoiser, x: Tensor, sigma: float, rows: Rows, v: Tensor) -> Tensor:
        with torch.enable_grad(), self._saved():
            leaf = x.detach().clone().requires_grad_(True)
            predicted = denoiser(leaf, sigma, rows)
            if not predicted.requires_grad:
                raise MissingBackward("it is quantised, compiled or cached")
            (pulled,) = torch.autograd.grad(predicted, leaf, v.to(predicted.dtype))
        return pulled


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


def make_pullback(gradient: Gradient) -> Pullback:
    """The pullback of one run."""
    return ThroughModel() if gradient is Gradient.THROUGH_MODEL else WITHOUT_BACKWARD[gradient]


WITHOUT_BACKWARD: dict[Gradient, Pullback] = {
    Gradient.FORWARD_ONLY: forward_only,
    Gradient.IMAGE_PRIOR: image_prior,
    Gradient.DECODER_ONLY: decoder_only,
    Gradient.NOISY_LATENT: noisy_latent,
}


def _rms(x: Tensor) -> Tensor:
    """Root-mean-square of each row: [N, 1, …]."""
    return x.square().mean(dim=tuple(range(1, x.ndim)), keepdim=True).sqrt()
