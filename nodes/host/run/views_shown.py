"""The canvas of a run over views, as a picture."""

import torch
from torch import Tensor

from ....syncdiffusion_core.batching import WindowBatches
from ....syncdiffusion_core.sampling import Sampled
from ....syncdiffusion_core.views.schedule import Space
from ..gradient.codec import Agreeing
from ..gradient.decoder import HostDecoder, pixel_space_vae, works_on_pixels
from .memory import load_together
from .view_plan import ViewPlan


def canvas_image(inner_model: object, plan: ViewPlan, made: Sampled, of_latents: bool) -> Tensor:
    """IMAGE [N, H, W, 3] of what a run has made, of latents or in pictures; black where no VAE decodes it."""
    vae, spec, on_pixels = plan.agreeing.vae, plan.spec, works_on_pixels(inner_model.latent_format)
    canvas = made.canvas
    if of_latents and spec.by_views and vae is not None and not on_pixels:
        load_together([vae.patcher])
        by_views = Agreeing(Space.RGB, vae).make(inner_model, plan.resolved, WindowBatches(1))
        canvas, of_latents = by_views.result(plan.resolved.latent.every, made.views), False
    shown = spec.shown(canvas)
    if not of_latents:
        pictures = (shown + 1) / 2
    elif vae is None and not on_pixels:
        pictures = torch.zeros(len(shown), 3, *spec.view_px)
    else:
        decoder = HostDecoder(vae or pixel_space_vae(), inner_model)
        load_together([decoder.patcher])
        pictures = torch.cat([decoder(row) for row in shown.split(1)])
    return pictures.movedim(1, -1).clamp(0, 1).cpu()
