"""From a gradient on the clean prediction to a gradient on the state: g = dL/dx0 -> J^T g, J = dx0/dx.

Five answers with one signature. Each returns the gradient that Eq. 14's step x <- x - w s^2 (J^T g) expects.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from enum import Enum

import torch
from torch import Tensor
from torch.autograd.graph import allow_mutation_on_saved_tensors, saved_tensors_hooks

from ..moment import Moment
from .spectrum import Spectrum, SpectrumSource, fit_predictions, natural_spectrum

Pullback = Callable[[Moment, Tensor, Tensor], Tensor]
"""pullback(moment of the rows, x0, g), all [R, C, …, h, w] -> J^T g. A pullback may keep what it learns: one a run."""

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

Refusal = Callable[[RuntimeError], str | None]
"""Why a denoiser has no backward pass, by an error of one; None where the error says nothing about that."""


def torch_refusal(error: RuntimeError) -> str | None:
    """The Refusal of torch itself."""
    said = str(error)
    return said.splitlines()[0] if any(words in said for words in NO_BACKWARD) else None


DIFFERENCE_STEP = 0.1  # in state standard deviations; bf16 loses the difference below .03 (measured)


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
    refusal: what else than torch's words means that there is no backward pass; all other errors pass on unchanged.
    """

    def __init__(self, refusal: Refusal = torch_refusal) -> None:
        self._refusal = refusal
        self._saved: Callable[[], AbstractContextManager] = _saved_as_they_are

    def __call__(self, moment: Moment, x0: Tensor, g: Tensor) -> Tensor:
        # Half-precision models see values near 1; per row, so that a window cannot spoil its batch.
        largest = g.abs().amax(dim=tuple(range(1, g.ndim)), keepdim=True)
        scale = largest.clamp(min=torch.finfo(g.dtype).tiny)
        try:
            pulled = self._pull(moment, g / scale)
        except RuntimeError as error:
            reason = torch_refusal(error) or self._refusal(error)
            if reason is None:
                raise
            raise MissingBackward(reason) from error
        return pulled.to(g.dtype) * scale

    def _pull(self, moment: Moment, v: Tensor) -> Tensor:
        if self._saved is _saved_as_they_are:
            try:
                return self._vector_jacobian(moment, v)
            except RuntimeError as error:
                if CHANGED_IN_PLACE not in str(error):
                    raise
            self._saved = allow_mutation_on_saved_tensors  # costs a look at every operation, so only where needed
        return self._vector_jacobian(moment, v)

    def _vector_jacobian(self, moment: Moment, v: Tensor) -> Tensor:
        with torch.enable_grad(), self._saved():
            leaf = moment.x.detach().clone().requires_grad_(True)
            predicted = moment.denoiser(leaf, moment.sigma, moment.rows)
            if not predicted.requires_grad:
                raise MissingBackward("it is quantised, compiled or cached")
            (pulled,) = torch.autograd.grad(predicted, leaf, v.to(predicted.dtype))
        return pulled


def _saved_as_they_are() -> AbstractContextManager:
    """Autograd's own way, and its own words for what has been changed since.

    But for one thing: autograd saves a tensor itself, which may have become part of the graph that holds it. A backward
    pass that ends early, as at the first such tensor, would then leave the whole graph in memory for good.
    """

    def pack(tensor: Tensor) -> tuple[Tensor, int]:
        return tensor.detach(), tensor._version

    def unpack(saved: tuple[Tensor, int]) -> Tensor:
        tensor, version = saved
        if tensor._version != version:
            raise RuntimeError(f"a saved tensor {CHANGED_IN_PLACE}")
        return tensor

    return saved_tensors_hooks(pack, unpack)


def forward_only(moment: Moment, x0: Tensor, g: Tensor) -> Tensor:
    """One more forward pass instead of a backward one: J g for J^T g.

    The Jacobian of an ideal denoiser is a/b^2 times the posterior covariance, hence symmetric (second-order
    Tweedie), and so is a linear CFG combination's. J g is a forward difference along g, per row.
    """
    size = _rms(g)
    h = DIFFERENCE_STEP * moment.process.state_scale(moment.sigma)
    direction = g / size.clamp(min=torch.finfo(g.dtype).tiny)
    moved = moment.denoiser(moment.x + h * direction, moment.sigma, moment.rows)
    return size * (moved - x0) / h


def decoder_only(moment: Moment, x0: Tensor, g: Tensor) -> Tensor:
    """No model pass: the Jacobian of a white Gaussian prior, J = a / s^2 (MPGD-like)."""
    return moment.process.a(moment.sigma) / moment.process.state_variance(moment.sigma) * g


class ImagePrior:
    """No model pass: the Jacobian of a Gaussian prior with the power spectrum of pictures.

    J = a S / (a^2 S + b^2) at each spatial frequency, Wiener's filter: at high noise only the broad light and
    colour of the gradient pass, which is what the state is still undecided about. A trained denoiser that has
    committed to one scene has no gradient towards another; this prior has.
    S is natural images' (`natural_spectrum`), the measured one that is given, or, online, each sample's own, which
    `observe` fits anew to the predictions of every guided step: the less noise, the better it is known.
    Raises ValueError where the measured spectrum is missing, not asked for, or of another model's latents.
    """

    def __init__(self, spectrum: Spectrum | None = None, source: SpectrumSource | None = None) -> None:
        if source is None:
            source = SpectrumSource.NATURAL if spectrum is None else SpectrumSource.MEASURED
        if (source is SpectrumSource.MEASURED) != (spectrum is not None):
            raise ValueError(
                f"spectrum: '{source.value}' is chosen and {'no' if spectrum is None else 'a'} measured one is given; "
                f"connect Latent Spectrum and choose '{SpectrumSource.MEASURED.value}', or do neither"
            )
        self._spectrum, self._source = spectrum, source
        self._fitted: dict[int, Spectrum] = {}

    def observe(self, moment: Moment, x0: Tensor) -> None:
        """Learn from the predictions of all windows, x0 [V*N, C, ..., h, w], view-major; before the pullback.

        Of all windows at once, so that the result does not depend on how many of them fit a batch. Does nothing unless
        the spectrum is of this picture. Where nothing can be learnt (one window, a state without signal, the same
        prediction everywhere), natural images stand in.
        """
        if self._source is not SpectrumSource.ONLINE:
            return
        self._fitted = {}
        for sample, windows in enumerate(x0.unflatten(0, (-1, moment.n_samples)).unbind(1)):  # [V, C, ..., h, w]
            windows = windows[windows.flatten(1).isfinite().all(dim=1)]
            varies = len(windows) > 1 and bool((windows != windows[:1]).transpose(0, 1).flatten(1).any(dim=1).all())
            if varies and moment.process.a(moment.sigma) > 0:
                self._fitted[sample] = fit_predictions(moment.process, moment.sigma, windows)

    def __call__(self, moment: Moment, x0: Tensor, g: Tensor) -> Tensor:
        a, b = moment.process.a(moment.sigma), moment.process.b(moment.sigma)
        spectrum = self._power(moment, g)
        gain = a * spectrum / (a * a * spectrum + b * b)
        return torch.fft.ifft2(torch.fft.fft2(g, norm="ortho") * gain.to(g), norm="ortho").real

    def _power(self, moment: Moment, g: Tensor) -> Tensor:
        """S of each row, to be multiplied with g: [N or 1, C or 1, (1,) h, w], float64 on the CPU."""
        height, width = g.shape[-2:]
        natural = (natural_spectrum(height, width) * moment.process.sigma_data**2)[None]
        if self._spectrum is not None:
            self._spectrum.check_channels(g.shape[1])
            power = self._spectrum.power(height, width)[None]
        else:
            known = {sample: spectrum.power(height, width) for sample, spectrum in self._fitted.items()}
            each = [known.get(sample, natural).expand(g.shape[1], -1, -1) for sample in moment.rows.samples]
            power = torch.stack(each) if known else natural[None]
        return power.reshape(*power.shape[:2], *[1] * (g.ndim - 4), height, width)


def noisy_latent(moment: Moment, x0: Tensor, g: Tensor) -> Tensor:
    """The ablation of Eq. 13: the decoder was given x / s instead of phi(x), so the Jacobian is 1 / s."""
    return g / moment.process.state_scale(moment.sigma)


def make_pullback(
    gradient: Gradient,
    spectrum: Spectrum | None = None,
    source: SpectrumSource | None = None,
    refusal: Refusal = torch_refusal,
) -> Pullback:
    """The pullback of one run; spectrum and source: what the image prior takes for the spectrum of pictures."""
    if gradient is Gradient.IMAGE_PRIOR:
        return ImagePrior(spectrum, source)
    return ThroughModel(refusal) if gradient is Gradient.THROUGH_MODEL else WITHOUT_STATE[gradient]


WITHOUT_STATE: dict[Gradient, Pullback] = {
    Gradient.FORWARD_ONLY: forward_only,
    Gradient.DECODER_ONLY: decoder_only,
    Gradient.NOISY_LATENT: noisy_latent,
}


def _rms(x: Tensor) -> Tensor:
    """Root-mean-square of each row: [N, 1, …]."""
    return x.square().mean(dim=tuple(range(1, x.ndim)), keepdim=True).sqrt()
