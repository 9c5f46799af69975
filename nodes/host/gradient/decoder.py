"""What turns x0 into a picture for guidance: the host's VAE, or a cheaper look at the same latent.

All are the core's Decoder: decode(x0 in the model's latent scale) -> image [R, 3, H, W] in [0, 1], float32,
differentiable. x0 is [R, C, h, w] or, of a video model, [R, C, 1, h, w].
"""

import copy
import logging
from enum import Enum

import comfy.model_management
import comfy.sd
import torch
import torch.nn.functional as F
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ..progress import say
from .gradients import differentiable_call, differentiable_copy
from .light_decoders import FOLDER, has_light_decoder, light_vae
from .precision import Precision, check_precision, computing_in
from .recompute import recomputing

POOLED = 2
"""Cells on a side that a pooled latent averages."""


class Look(str, Enum):
    """How guidance looks at a clean prediction."""

    FULL = "full decoder"
    LIGHT = "light decoder"
    POOLED = "pooled latent"
    CHEAPEST = "light decoder, else pooled latent"


class HostDecoder:
    """A VAE of the host, or what has the attributes of one.

    inner_model: the model whose latents are decoded, None where the VAE takes the model's scale itself. recompute:
    whether backward passes run the network's blocks again, for less memory.
    """

    recompute = False

    def __init__(self, vae: object, inner_model: object | None, precision: Precision = Precision.AS_LOADED) -> None:
        check_precision(precision, vae.device)
        self.vae, self.inner_model, self.precision = vae, inner_model, precision

    @property
    def patcher(self) -> ModelPatcher:
        """By which the host's memory management knows the weights."""
        return self.vae.patcher

    @property
    def dtype(self) -> torch.dtype:
        """What its convolutions compute in; float16 wants the loss scaled."""
        return self.precision.dtype(self.vae.vae_dtype)

    def picture_size(self, width_px: int, height_px: int) -> tuple[int, int]:
        """Width and height of the picture that it makes of a window of that size."""
        return width_px, height_px

    def __call__(self, x0: Tensor) -> Tensor:
        """Interrupts like the denoiser: decoding a window can take longer than denoising it."""
        comfy.model_management.throw_exception_if_processing_interrupted()
        latent = self._from_model(x0).to(self.vae.device, self.vae.vae_dtype)
        if self.vae.latent_dim == 2 and latent.ndim == 5:
            latent = latent[:, :, 0]
        module = self.vae.first_stage_model
        with computing_in(self.precision, latent.device), recomputing(module, blocks=self.recompute):
            image = differentiable_call(module, module.decode, latent)
        if image.ndim == 5:
            image = image[:, :, 0]  # the frame of [R, 3, 1, H, W]
        # The copy is for process_output, which writes into what it is given: that may be x0 itself.
        return self.vae.process_output(image.to(torch.float32, copy=True)).to(x0.device)

    def _from_model(self, x0: Tensor) -> Tensor:
        """The VAE's scale; a latent format may hold tensors that were made in inference mode."""
        if self.inner_model is None:
            return x0
        twin = copy.copy(self.inner_model)
        twin.latent_format = differentiable_copy(self.inner_model.latent_format)
        return twin.process_latent_out(x0)


class PooledDecoder(HostDecoder):
    """The same of x0 averaged over 2x2 cells: a quarter of the pixels, and of the work."""

    def picture_size(self, width_px: int, height_px: int) -> tuple[int, int]:
        cell = self.inner_model.latent_format.spacial_downscale_ratio
        width, height = (-(-side // (POOLED * cell)) * cell for side in (width_px, height_px))
        return width, height

    def __call__(self, x0: Tensor) -> Tensor:
        flat = x0.flatten(1, -3)  # [R, C, h, w]; pooling knows no frames
        pooled = F.avg_pool2d(flat, POOLED, ceil_mode=True)  # what is left over at an edge is averaged alone
        return super().__call__(pooled.unflatten(1, x0.shape[1:-2]))


def make_decoder(
    look: Look, vae: object, inner_model: object, precision: Precision = Precision.AS_LOADED
) -> HostDecoder:
    """The decoder of a look; ValueError with a remedy where the model has no light one."""
    look = resolved_look(look, inner_model.latent_format)
    if look is Look.FULL:
        return HostDecoder(vae, inner_model, precision)
    if look is Look.POOLED:
        return PooledDecoder(vae, inner_model, precision)
    return HostDecoder(light_vae(inner_model.latent_format), None, precision)


def resolved_look(look: Look, latent_format: object) -> Look:
    """What a look means for latents of a format; there is nothing to save where they are pictures."""
    if look is not Look.CHEAPEST:
        return look
    if works_on_pixels(latent_format):
        return Look.FULL
    return Look.LIGHT if has_light_decoder(latent_format) else Look.POOLED


def say_look(look: Look, latent_format: object) -> None:
    """Tell the user, under the node and in the log, where a look falls back to a coarser one."""
    if look is Look.CHEAPEST and resolved_look(look, latent_format) is Look.POOLED:
        line = f"decoder: pooled latents, because models/{FOLDER} holds no light decoder (TAESD) of this model"
        logging.info("SyncDiffusion: %s", line)
        say(line)


def works_on_pixels(latent_format: object) -> bool:
    """Whether a model's latents are pictures, which need no decoder."""
    return latent_format.spacial_downscale_ratio == 1 and latent_format.latent_channels == 3


def pixel_space_vae() -> comfy.sd.VAE:
    """What the host itself takes for a decoder of such models: it changes the range of values and nothing else."""
    return comfy.sd.VAE(sd={"pixel_space_vae": torch.tensor(1.0)}, dtype=torch.float32)
