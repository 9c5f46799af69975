"""What is wrong with a run, said before any model is loaded."""

import math
from collections.abc import Iterable, Sequence

import torch

from ....syncdiffusion_core.canvases.window_layout import WindowLayout
from ....syncdiffusion_core.guidance.pullbacks import Gradient
from ....syncdiffusion_core.guidance.targets import Picture
from ....syncdiffusion_core.perceptual.resized import SMALLEST_PX
from ..gradient.decoder import POOLED, Look, resolved_look, works_on_pixels
from ..inputs import check_mask_values, check_vae, latent
from .layout import tiled_windows
from .settings import GuidanceSettings


def check_latent(given: dict, model: object | None = None) -> None:
    """Raise ValueError for a LATENT that no window can be cut from, or, where it is known, that is no model's own."""
    samples = latent("latent_image", given)
    if model is not None:
        _check_format(samples, model.get_model_object("latent_format"))
    if given.get("noise_mask") is not None:
        _check_noise_mask(given["noise_mask"], samples)
    numbers = given.get("batch_index")
    if numbers is not None and len(numbers) != len(samples):
        raise ValueError(
            f"latent_image: its batch_index numbers {len(numbers)} latents and there are {len(samples)}; batch them "
            "with the host's nodes, or make the latent anew"
        )


def _check_format(samples: torch.Tensor, latent_format: object) -> None:
    """Empty latents are the host's to adapt, those of pictures are not."""
    wanted = latent_format.latent_channels
    if samples.shape[1] != wanted and samples.any():
        raise ValueError(
            f"latent_image: it has {samples.shape[1]} channels and the model's latents have {wanted}, so it was made "
            "with another model's VAE; encode the picture with this model's own"
        )
    if samples.ndim == 5 and latent_format.latent_dimensions == 2:
        raise ValueError(
            f"latent_image: it has {samples.shape[2]} frames in time and the model makes single pictures; give a "
            "latent of pictures, such as one from Empty Latent Image"
        )


def check_shape(shape: Sequence[int], latent_format: object) -> None:
    """Raise ValueError for a canvas that a stock sampler has passed on and that is no latent of the model's."""
    channels, frames = latent_format.latent_channels, latent_format.latent_dimensions == 3
    if len(shape) != 4 + frames or 0 in shape or shape[1] != channels:
        raise ValueError(
            f"latent_image: the model's are [N, {channels}, {'frames, ' * frames}H, W] and not empty, got shape "
            f"{tuple(shape)}; connect a latent image of this model, such as one from an Empty Latent node of its kind"
        )


def check_levels(sigmas: torch.Tensor) -> None:
    """Raise ValueError for noise levels that are no numbers."""
    if not sigmas.isfinite().all():
        raise ValueError(
            "sigmas: the noise levels hold NaN or infinite values, as the scheduler kl_optimal gives for one step; "
            "take 2 steps or more, or another scheduler"
        )


def check_masks(entries: Iterable[dict], shape: Sequence[int]) -> None:
    """Raise ValueError for masks of other frames than a canvas [N, C, T, H, W] has: the host takes a batch for them."""
    masks = (entry["mask"] for entry in entries if entry.get("mask") is not None)
    for mask in masks if len(shape) == 5 else ():
        if mask.ndim == 4 and mask.shape[1] not in (1, shape[2]):
            raise ValueError(
                f"conditioning: a mask in it is a batch of {mask.shape[1]} for a latent of {shape[2]} frames in time; "
                "give one mask, or one for each frame"
            )


def _check_noise_mask(mask: torch.Tensor, samples: torch.Tensor) -> None:
    """The host makes frames of masks for a latent with a time axis, unless they have one too."""
    name, ranks = "latent_image: its noise mask", (2, 3, 4) if samples.ndim == 4 else (2, 3, 4, 5)
    shape = tuple(getattr(mask, "shape", ()))
    if len(shape) not in ranks or 0 in shape:
        raise ValueError(f"{name} should be [B, H, W], got shape {shape}; use Set Latent Noise Mask to set it")
    check_mask_values(name, mask)
    frames = samples.ndim == 5 and len(shape) < 5
    count = 1 if frames else shape[0] if len(shape) == 5 else math.prod(shape[:-2])
    if count not in (1, len(samples)):
        raise ValueError(f"{name} is a batch of {count} for {len(samples)} latents; give one mask, or one for each")


def check_guidance(settings: GuidanceSettings, model: object, layout: WindowLayout, canvas: torch.Tensor) -> None:
    """Raise ValueError for guidance that does not fit the model, the windows or the canvas [N, C, …, H, W]."""
    if canvas.ndim == 5 and canvas.shape[2] != 1:
        raise ValueError(
            f"guidance: it compares pictures, and this latent holds {canvas.shape[2]} frames in time; make a latent of "
            "one frame, or disconnect guidance to sample through windows without it"
        )
    batch = canvas.shape[0]
    latent_format = model.get_model_object("latent_format")
    if settings.vae is not None or not works_on_pixels(latent_format):
        check_vae("vae", settings.vae, latent_format.latent_channels)
    _check_shrink(settings, latent_format, layout)
    if settings.spectrum is not None and settings.gradient is Gradient.IMAGE_PRIOR:
        settings.spectrum.check_channels(latent_format.latent_channels)
    target = settings.target
    target.stays(tiled_windows(layout, model.model, canvas.shape))
    if isinstance(target, Picture) and target.image.shape[0] not in (1, batch):
        count = target.image.shape[0]
        raise ValueError(f"anchor_image: a batch of {count} pictures for {batch} panoramas; give one, or one for each")
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
