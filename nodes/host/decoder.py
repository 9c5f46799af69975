"""The host's VAE as the core's differentiable decoder."""

import copy

import comfy.model_management
import comfy.sd
import torch
from torch import Tensor

from .gradients import differentiable_call, differentiable_copy
from .recompute import recomputing


class HostDecoder:
    """decode(x0 in the model's latent scale) -> image [R, 3, H, W] in [0, 1], float32.

    x0 [R, C, h, w] or, of a video model, [R, C, 1, h, w]. recompute: whether backward passes run the network's blocks
    again, for less memory.
    """

    def __init__(self, vae: object, inner_model: object, recompute: bool = False) -> None:
        self.vae, self.inner_model, self.recompute = vae, inner_model, recompute

    def __call__(self, x0: Tensor) -> Tensor:
        """Interrupts like the denoiser: decoding a window can take longer than denoising it."""
        comfy.model_management.throw_exception_if_processing_interrupted()
        latent = self._from_model(x0).to(self.vae.device, self.vae.vae_dtype)
        if self.vae.latent_dim == 2 and latent.ndim == 5:
            latent = latent[:, :, 0]
        module = self.vae.first_stage_model
        with recomputing(module, blocks=self.recompute):
            image = differentiable_call(module, module.decode, latent)
        if image.ndim == 5:
            image = image[:, :, 0]  # the frame of [R, 3, 1, H, W]
        # The copy is for process_output, which writes into what it is given: that may be x0 itself.
        return self.vae.process_output(image.to(torch.float32, copy=True)).to(x0.device)

    def _from_model(self, x0: Tensor) -> Tensor:
        """The VAE's scale; a latent format may hold tensors that were made in inference mode."""
        twin = copy.copy(self.inner_model)
        twin.latent_format = differentiable_copy(self.inner_model.latent_format)
        return twin.process_latent_out(x0)


def works_on_pixels(latent_format: object) -> bool:
    """Whether a model's latents are pictures, which need no decoder."""
    return latent_format.spacial_downscale_ratio == 1 and latent_format.latent_channels == 3


def pixel_space_vae() -> comfy.sd.VAE:
    """What the host itself takes for a decoder of such models: it changes the range of values and nothing else."""
    return comfy.sd.VAE(sd={"pixel_space_vae": torch.tensor(1.0)}, dtype=torch.float32)
