"""Stage `vae`: the autoencoder, first on crops, then on whole windows; then the scale of its latents."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F

from .dataset import Windows
from .loop import CACHE, Plan, Trainer, compiled, in_half, load_average, save_pictures
from .vae import AutoencoderKL
from .vae_start import start_linear

KL_WEIGHT = 3e-7


def blended(images: torch.Tensor, share: float = 0.25) -> torch.Tensor:
    """Blend some neighbours of the batch left to right: a montage holds two lights, and so must its codes."""
    count = int(share * len(images))
    at = torch.rand(count, 1, 1, 1) * 2 - 0.5
    ramp = ((torch.linspace(0, 1, images.shape[-1]) - at) * 4 + 0.5).clamp(0, 1)
    mixed = images[:count] * (1 - ramp) + images.roll(1, 0)[:count] * ramp
    return torch.cat([mixed, images[count:]])


def pyramid_loss(image: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """L1 on pixels, on their differences and on two coarser scales."""
    error = image - target
    loss = error.abs().mean()
    loss = loss + 0.5 * (error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean())
    for scale in (4, 16):
        loss = loss + 0.5 * F.avg_pool2d(error, scale).abs().mean()
    return loss


def _vae_loss(vae: AutoencoderKL, image: torch.Tensor) -> torch.Tensor:
    with in_half():
        mean, logvar = vae.moments(image)
        z = mean + torch.randn_like(mean) * (0.5 * logvar).exp()
        decoded = vae.decode(z)
    mean, logvar = mean.float(), logvar.float()
    kl = 0.5 * (mean**2 + logvar.exp() - 1 - logvar).sum(dim=(1, 2, 3)).mean()
    return pyramid_loss(decoded.float(), image) + KL_WEIGHT * kl


def train_vae(minutes: float = 12.0, directory: Path = CACHE) -> None:
    """Crops of 64 px while it learns to see (they are cheaper by the pixel), whole windows at the end."""
    vae = start_linear(AutoencoderKL()).to(memory_format=torch.channels_last)
    trainer = Trainer(Plan("vae", minutes, lr=1e-3, ema=0.996), vae, directory)
    windows = Windows(directory / "scenes.npy", seed=1 + trainer.step)
    held_out = Windows(directory / "held_out.npy", seed=0).sample(10)[0]
    loss_of_batch = compiled(_vae_loss)

    def loss_of(progress: float) -> torch.Tensor:
        size, batch = (64, 32) if progress < 0.75 else (128, 8)
        return loss_of_batch(vae, blended(windows.sample(batch, size)[0]))

    def look() -> None:
        with torch.no_grad(), in_half():
            decoded = trainer.ema.decode(trainer.ema.encode(held_out))
        print(f"vae held-out L1 {(decoded.float() - held_out).abs().mean():.4f}", flush=True)
        save_pictures(directory / "vae.png", [held_out, decoded])

    trainer.run(loss_of, look)


def scaled_vae(directory: Path = CACHE) -> AutoencoderKL:
    """The trained autoencoder; its latents times SCALE_FACTOR have zero mean and unit variance per channel."""
    vae = load_average(AutoencoderKL(), "vae", directory)
    image = Windows(directory / "scenes.npy", seed=5).sample(500)[0]
    with torch.no_grad():
        z = torch.cat([vae.encode(part) for part in image.split(50)])
    vae.rescale(z.mean(dim=(0, 2, 3)), z.std(dim=(0, 2, 3)))
    return vae
