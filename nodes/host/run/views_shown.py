"""The canvas of a run over views, as a picture."""

import torch
from torch import Tensor

from ....syncdiffusion_core.views.schedule import ViewSpec
from ..gradient.decoder import HostDecoder, pixel_space_vae, works_on_pixels
from .memory import load_together


def canvas_image(inner_model: object, vae: object | None, spec: ViewSpec, canvas: Tensor, of_latents: bool) -> Tensor:
    """IMAGE [N, H, W, 3] of a canvas, of latents or a picture in [-1, 1]; black where there is no VAE to decode it."""
    shown = spec.shown(canvas)
    if not of_latents:
        pictures = (shown + 1) / 2
    elif vae is None and not works_on_pixels(inner_model.latent_format):
        pictures = torch.zeros(len(shown), 3, *spec.view_px)
    else:
        decoder = HostDecoder(vae or pixel_space_vae(), inner_model)
        load_together([decoder.patcher])
        pictures = torch.cat([decoder(row) for row in shown.split(1)])
    return pictures.movedim(1, -1).clamp(0, 1).cpu()
