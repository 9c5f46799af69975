"""The host's VAE as the core's differentiable decoder."""

import comfy.model_management
from torch import Tensor

from .gradients import differentiable_call


class HostDecoder:
    """decode(x0 [R, C, h, w] in the model's latent scale) -> image [R, 3, H, W] in [0, 1], float32."""

    def __init__(self, vae: object, inner_model: object) -> None:
        self.vae, self.inner_model = vae, inner_model

    def __call__(self, x0: Tensor) -> Tensor:
        """Interrupts like the denoiser: decoding a window can take longer than denoising it."""
        comfy.model_management.throw_exception_if_processing_interrupted()
        latent = self.inner_model.process_latent_out(x0).to(self.vae.device, self.vae.vae_dtype)
        module = self.vae.first_stage_model
        image = differentiable_call(module, module.decode, latent)
        return self.vae.process_output(image.float()).to(x0.device)
