"""What is to be kept of a picture (a noise mask), as windows and views see it."""

import copy
from collections.abc import Callable

import comfy.samplers
import torch
from torch import Tensor

from ....syncdiffusion_core.denoiser import Denoiser, Rows

Own = Callable[[Tensor, Rows], Tensor]
"""own(what the host holds for a run's latent, rows) -> the part of it that each row has, [R, …, h, w]."""


class Kept:
    """A Denoiser of windows or views in which the kept part of the picture is blended by the host's own rule.

    The host blends around a sampler, on the canvas. Guidance and our loops denoise windows that have moved apart, and
    views before they agree: here each is blended with its own part, so that they see the picture that is kept, and
    move towards it.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        own: Own,
        model: comfy.samplers.KSamplerX0Inpaint,
        denoise_mask: Tensor,
        model_options: dict,
    ) -> None:
        self._denoiser, self._own, self._model = denoiser, own, model
        self._mask, self._options = denoise_mask, model_options

    @property
    def alone(self) -> "Kept":
        """The same for guidance's own calls: see ``HostDenoiser``."""
        other = copy.copy(self)
        other._denoiser = self._denoiser.alone
        return other

    def __call__(self, x: Tensor, sigma: float, rows: Rows) -> Tensor:
        """x [R, C, …, h, w] -> x0, that of the kept cells being the picture's own."""
        masked = copy.copy(self._model)
        masked.inner_model = _OnRows(self._model.inner_model, self._denoiser, sigma, rows)
        masked.latent_image = self._own(self._model.latent_image, rows)
        masked.noise = self._own(self._model.noise, rows)
        level = torch.full((len(rows),), sigma, device=x.device, dtype=torch.float32)
        return masked(x, level, denoise_mask=self._own(self._mask, rows), model_options=self._options)


class _OnRows:
    """A guider for one call of the host's mask blending: the rows' denoiser in its place."""

    def __init__(self, guider: object, denoiser: Denoiser, sigma: float, rows: Rows) -> None:
        self._guider, self._denoiser, self._sigma, self._rows = guider, denoiser, sigma, rows

    def __getattr__(self, name: str) -> object:
        return getattr(self._guider, name)

    def __call__(self, x: Tensor, sigma: Tensor, model_options: dict, seed: int | None) -> Tensor:
        return self._denoiser(x, self._sigma, self._rows)


def free_cells(denoise_mask: Tensor) -> Tensor:
    """Where anything may change: [N, C, …, H, W] -> [N, H, W], true there."""
    return denoise_mask.flatten(1, -3).amax(dim=1) > 0
