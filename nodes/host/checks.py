"""What is wrong with a run, said before any model is loaded."""

from dataclasses import replace

import torch

from ...syncdiffusion_core.anchors import AnchorKind
from ...syncdiffusion_core.perceptual.resized import SMALLEST_PX
from ...syncdiffusion_core.pullbacks import Gradient
from ...syncdiffusion_core.views.windows import Grid, WindowLayout
from .decoder import POOLED, Look, resolved_look, works_on_pixels
from .guidance import GuidanceSettings
from .layout import resolve_windows


def check_latent(latent: dict) -> None:
    """Raise ValueError for a LATENT that no window can be cut from."""
    samples = latent["samples"]
    if getattr(samples, "is_nested", False):
        raise ValueError(
            "latent_image: nested latents (several media in one) have no single canvas; give one image latent"
        )
    if samples.ndim not in (4, 5):
        raise ValueError(f"latent_image: expected [N, C, H, W] or [N, C, T, H, W], got shape {tuple(samples.shape)}")
    if not torch.isfinite(samples).all():
        raise ValueError("latent_image: it holds NaN or infinite values; the step that made it has failed")
    mask = latent.get("noise_mask")
    if mask is not None:
        _check_mask_batch(mask, samples.shape[0])


def _check_mask_batch(mask: torch.Tensor, batch: int) -> None:
    count = mask.shape[0] if mask.ndim > 2 else 1
    if count not in (1, batch):
        raise ValueError(
            f"latent_image: its noise mask is a batch of {count} for {batch} latents; give one mask, or one for each"
        )


def check_guidance(settings: GuidanceSettings, model: object, layout: WindowLayout, canvas: torch.Tensor) -> None:
    """Raise ValueError for guidance that does not fit the model, the windows or the canvas [N, C, …, H, W]."""
    if canvas.ndim == 5 and canvas.shape[2] != 1:
        raise ValueError(
            f"guidance: it compares pictures, and this latent holds {canvas.shape[2]} frames in time; make a latent of "
            "one frame, or disconnect guidance to sample through windows without it"
        )
    batch = canvas.shape[0]
    latent_format = model.get_model_object("latent_format")
    _check_vae(settings.vae, latent_format)
    _check_shrink(settings, latent_format, layout)
    if settings.spectrum is not None and settings.gradient is Gradient.IMAGE_PRIOR:
        settings.spectrum.check_channels(latent_format.latent_channels)
    settings.anchor.window(resolve_windows(replace(layout, grid=Grid.TILED), model.model, canvas))
    image = settings.anchor.image
    if settings.anchor.kind is AnchorKind.IMAGE and image.shape[0] not in (1, batch):
        raise ValueError(
            f"anchor_image: a batch of {image.shape[0]} pictures for {batch} panoramas; give one, or one for each"
        )
    if settings.mask is not None and settings.mask.shape[0] not in (1, batch):
        raise ValueError(
            f"guidance: its mask is a batch of {settings.mask.shape[0]} for {batch} panoramas; give one mask, or one "
            "for each"
        )


def _check_shrink(settings: GuidanceSettings, latent_format: object, layout: WindowLayout) -> None:
    savings = settings.savings
    pooled = POOLED if resolved_look(savings.look, latent_format) is Look.POOLED else 1
    side = min(layout.window_width_px, layout.window_height_px) // pooled
    if savings.shrink > 1 and side // savings.shrink < SMALLEST_PX:
        raise ValueError(
            f"shrink: {savings.shrink} leaves {side // savings.shrink} px of the {side} px of a window that guidance "
            f"looks at, and perceptual networks need {SMALLEST_PX}; choose {max(side // SMALLEST_PX, 1)} at most, or "
            "larger windows"
        )


def _check_vae(vae: object | None, latent_format: object) -> None:
    if vae is None and not works_on_pixels(latent_format):
        raise ValueError(
            "vae: nothing is connected, or the checkpoint holds none, and guidance has to decode this model's latents; "
            "load the model's VAE with Load VAE and connect it"
        )
    wanted = latent_format.latent_channels
    if vae is not None and wanted != vae.latent_channels:
        raise ValueError(
            f"vae: it decodes latents of {vae.latent_channels} channels and the model makes {wanted}; connect the "
            "model's own VAE"
        )
