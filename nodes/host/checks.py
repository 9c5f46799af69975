"""What is wrong with a run, said before any model is loaded."""

import torch

from ...syncdiffusion_core.anchors import AnchorKind
from ...syncdiffusion_core.views.windows import Windows
from .guidance import GuidanceSettings


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


def check_guidance(settings: GuidanceSettings, model: object, windows: Windows, canvas: torch.Tensor) -> None:
    """Raise ValueError for guidance that does not fit the model, the windows or the canvas [N, C, …, H, W]."""
    if canvas.ndim == 5:
        raise ValueError(
            "guidance: this model's latents have a time axis, which guidance cannot decode yet; disconnect guidance "
            "to sample through windows without it"
        )
    batch = canvas.shape[0]
    wanted, got = model.get_model_object("latent_format").latent_channels, settings.vae.latent_channels
    if wanted != got:
        raise ValueError(
            f"vae: it decodes latents of {got} channels and the model makes {wanted}; connect the model's own VAE"
        )
    settings.anchor.window(len(windows))
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
