"""The canvas of a run over views, as a picture."""

import torch
from torch import Tensor

from ....syncdiffusion_core.sampling import Sampled
from ..gradient.decoder import HostDecoder, pixel_space_vae, works_on_pixels
from .memory import load_together
from .view_plan import ViewPlan


def canvas_image(inner_model: object, vae: object | None, plan: ViewPlan, made: Sampled) -> Tensor:
    """IMAGE [N, H, W, 3] of what was made; black where there is no VAE to decode latents with."""
    if made.canvas.shape[1] == 3 and not plan.agrees_in_latents(inner_model):
        picture = (made.canvas + 1) / 2
    else:
        if vae is None and not works_on_pixels(inner_model.latent_format):
            return torch.zeros(len(made.canvas), *plan.spec.view_px, 3)
        decoder = HostDecoder(vae or pixel_space_vae(), inner_model)
        load_together([decoder.patcher])
        latents = plan.spec.shown(made.canvas)
        return torch.cat([decoder(row) for row in latents.split(1)]).movedim(1, -1).clamp(0, 1).cpu()
    return plan.spec.shown(picture).movedim(1, -1).clamp(0, 1).cpu()
