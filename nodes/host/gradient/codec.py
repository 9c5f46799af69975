"""The decoder's twin: what turns pictures back into x0, where views agree in pictures."""

from collections.abc import Callable

import comfy.model_management
import torch
from torch import Tensor

from ....syncdiffusion_core.agreement import LATENTS, Agreement, PictureAgreement
from ....syncdiffusion_core.batching import WindowBatches
from ....syncdiffusion_core.views.schedule import Resolved, Space
from ..inputs import check_vae
from .decoder import HostDecoder, works_on_pixels


class HostEncoder:
    """encode(pictures [R, 3, H, W] in [0, 1]) -> x0 [R, C, …, h, w] in the model's scale, the mean of the posterior."""

    def __init__(self, vae: object, inner_model: object) -> None:
        self.vae, self.inner_model = vae, inner_model

    def __call__(self, pictures: Tensor) -> Tensor:
        """Interrupts like the denoiser."""
        comfy.model_management.throw_exception_if_processing_interrupted()
        # The copy is for process_input, which may write into what it is given.
        pixels = self.vae.process_input(pictures.to(self.vae.device, torch.float32, copy=True)).to(self.vae.vae_dtype)
        if self.vae.latent_dim == 3:
            pixels = pixels[:, :, None]
        latent = self.vae.first_stage_model.encode(pixels).to(pictures.device, torch.float32)
        return self.inner_model.process_latent_in(latent)


def make_agreement(
    inner_model: object, vae: object | None, space: Space, resolved: Resolved, batches: WindowBatches
) -> Agreement:
    """How the views of a run agree. batches: views in one pass of the VAE. Latents that are pictures need no VAE.

    Views that change colours have no latents to give back what the codec loses: that of a negated picture is not its
    latent negated.
    """
    if space is Space.LATENT or works_on_pixels(inner_model.latent_format):
        return LATENTS
    check_vae("vae", vae, inner_model.latent_format.latent_channels)
    pixels = resolved.pixels.every
    sign = getattr(pixels, "sign", None)
    coloured = sign is not None and bool((sign < 0).any())
    decode: Callable[[Tensor], Tensor] = HostDecoder(vae, inner_model)
    return PictureAgreement(decode, HostEncoder(vae, inner_model), pixels, batches, residual=not coloured)
