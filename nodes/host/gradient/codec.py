"""The decoder's twin: what turns pictures back into x0, where views agree in pictures."""

from dataclasses import dataclass

import comfy.model_management
import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ....syncdiffusion_core.agreement import LATENTS, Agreement, LatentAgreement, PictureAgreement, keeps_colours
from ....syncdiffusion_core.batching import WindowBatches
from ....syncdiffusion_core.views.schedule import Resolved, Space
from ..inputs import check_vae
from .decoder import HostDecoder, Look, make_decoder, works_on_pixels
from .light_decoders import light_encoder


class HostEncoder:
    """encode(pictures [R, 3, H, W] in [0, 1]) -> x0 [R, C, …, h, w] in the model's scale, the mean of the posterior.

    inner_model: the model whose latents they become, None where the VAE gives the model's scale itself.
    """

    def __init__(self, vae: object, inner_model: object | None) -> None:
        self.vae, self.inner_model = vae, inner_model

    @property
    def patcher(self) -> ModelPatcher:
        """By which the host's memory management knows the weights."""
        return self.vae.patcher

    def __call__(self, pictures: Tensor) -> Tensor:
        """Interrupts like the denoiser."""
        comfy.model_management.throw_exception_if_processing_interrupted()
        # The copy is for process_input, which may write into what it is given.
        pixels = self.vae.process_input(pictures.to(self.vae.device, torch.float32, copy=True)).to(self.vae.vae_dtype)
        if self.vae.latent_dim == 3:
            pixels = pixels[:, :, None]
        latent = self.vae.first_stage_model.encode(pixels).to(pictures.device, torch.float32)
        return latent if self.inner_model is None else self.inner_model.process_latent_in(latent)


@dataclass(frozen=True)
class Agreeing:
    """How views are made to agree, as the nodes describe it. look: through which decoder they see each other."""

    space: Space
    vae: object | None = None
    look: Look = Look.FULL

    def make(self, inner_model: object, resolved: Resolved, batches: WindowBatches) -> Agreement:
        """Of the views of a run. batches: views in one pass of the VAE. Latents that are pictures need no VAE.

        A light decoder has a light encoder where there is a file of one, else the VAE's; the last canvas is the VAE's
        in any case.
        """
        latent_format, last = inner_model.latent_format, getattr(resolved.pixels, "last", None)
        if works_on_pixels(latent_format):
            return LatentAgreement(last)
        if self.space is Space.LATENT:
            return LATENTS
        check_vae("vae", self.vae, latent_format.latent_channels)
        decode, encode = HostDecoder(self.vae, inner_model), HostEncoder(self.vae, inner_model)
        pixels = resolved.pixels.every
        residual = keeps_colours(pixels)
        views = {"steps": resolved.pixels, "last": last}
        if self.look is Look.FULL:
            return PictureAgreement(decode, encode, pixels, batches, residual, **views)
        if (light := light_encoder(latent_format)) is not None:
            encode = HostEncoder(light, None)
        seen = make_decoder(self.look, self.vae, inner_model)
        return PictureAgreement(seen, encode, pixels, batches, residual, _Loading(decode), **views)


def load_codec(agreement: Agreement, patcher: ModelPatcher, memory: float) -> None:
    """Load what views agree through together with the model. memory: bytes beside them."""
    if isinstance(agreement, PictureAgreement):
        both = {agreement.decode.patcher, agreement.encode.patcher}  # of one VAE, or of two networks
        comfy.model_management.load_models_gpu([patcher, *both], memory_required=memory)


@dataclass(frozen=True)
class _Loading:
    """A decoder that is not loaded before it is needed, which is once."""

    decoder: HostDecoder

    def __call__(self, x0: Tensor) -> Tensor:
        comfy.model_management.load_models_gpu([self.decoder.patcher])
        return self.decoder(x0)
