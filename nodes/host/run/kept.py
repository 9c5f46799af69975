"""What is to be kept of a canvas (a noise mask), as windows see it."""

import copy

import comfy.samplers
import torch
from torch import Tensor

from ....syncdiffusion_core.canvases.windows import Windows
from ....syncdiffusion_core.denoiser import Denoiser, Rows
from ..conditioning.tags import cut
from .denoiser import HostDenoiser


class KeptWindows:
    """A Denoiser of windows in which the kept part of the picture is blended by the host's own rule.

    The host blends on the canvas, around a sampler. Guidance and our loops denoise windows that have moved apart:
    here each is blended with its own part, so that they see the picture that is kept, and move towards it.
    """

    def __init__(
        self,
        denoiser: HostDenoiser,
        windows: Windows,
        model: comfy.samplers.KSamplerX0Inpaint,
        denoise_mask: Tensor,
        model_options: dict,
    ) -> None:
        self._denoiser, self._windows, self._model = denoiser, windows, model
        self._mask, self._options = denoise_mask, model_options

    @property
    def alone(self) -> "KeptWindows":
        """The same for guidance's own calls: see ``HostDenoiser``."""
        other = copy.copy(self)
        other._denoiser = self._denoiser.alone
        return other

    def __call__(self, x: Tensor, sigma: float, rows: Rows) -> Tensor:
        """x [R, C, …, h, w] -> x0, that of the kept cells being the picture's own."""
        masked = copy.copy(self._model)
        masked.inner_model = _OnRows(self._model.inner_model, self._denoiser, sigma, rows)
        masked.latent_image = cut(self._windows, self._model.latent_image, rows)
        masked.noise = cut(self._windows, self._model.noise, rows)
        level = torch.full((len(rows),), sigma, device=x.device, dtype=torch.float32)
        return masked(x, level, denoise_mask=cut(self._windows, self._mask, rows), model_options=self._options)


class _OnRows:
    """A guider for one call of the host's mask blending: the windows' denoiser in its place."""

    def __init__(self, guider: object, denoiser: Denoiser, sigma: float, rows: Rows) -> None:
        self._guider, self._denoiser, self._sigma, self._rows = guider, denoiser, sigma, rows

    def __getattr__(self, name: str) -> object:
        return getattr(self._guider, name)

    def __call__(self, x: Tensor, sigma: Tensor, model_options: dict, seed: int | None) -> Tensor:
        return self._denoiser(x, self._sigma, self._rows)


def free_cells(denoise_mask: Tensor) -> Tensor:
    """Where anything may change: [N, C, …, H, W] -> [N, H, W], true there."""
    return denoise_mask.flatten(1, -3).amax(dim=1) > 0
