"""Stages `latents` and `unet`: encode windows once, then train the UNet and the text encoder together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from .captions import captions_of
from .dataset import Windows, labels_of
from .export import export_demo_model
from .loop import CACHE, Plan, Trainer, in_half, save_pictures
from .pipeline import DemoModel
from .schedule import STEPS, alphas_cumprod, ddim_sigmas
from .text_encoder import TextEncoder
from .tokenizer import Tokenizer
from .train_vae import scaled_vae
from .unet import UNet
from .vae import SCALE_FACTOR, AutoencoderKL

EMPTY_PROMPTS = 0.12
BATCH = 32
PREVIEW_PROMPTS = (
    "mountains at dawn",
    "forest at noon",
    "desert at sunset",
    "lake at dusk",
    "meadow at night",
    "mountains",
    "forest",
    "desert",
    "lake",
    "meadow",
)


def latent_rgb_factors(latents: torch.Tensor, images: torch.Tensor) -> list[list[float]]:
    """Least squares from scaled latents [N, 4, h, w] to pixels in [-1, 1]: four rows and a bias row of 3."""
    pixels = F.avg_pool2d(images, 8).permute(0, 2, 3, 1).reshape(-1, 3)
    codes = latents.permute(0, 2, 3, 1).reshape(-1, 4)
    codes = torch.cat([codes, torch.ones(len(codes), 1)], dim=1)
    return torch.linalg.lstsq(codes, pixels).solution.tolist()


@torch.no_grad()
def cache_latents(per_strip: int = 2, directory: Path = CACHE) -> None:
    """Write the scaled autoencoder with preview factors, and latents [M, 4, 16, 16] fp16 with strip indices."""
    vae = scaled_vae(directory)
    windows = Windows(directory / "scenes.npy", seed=11)
    images = windows.sample(200)[0]
    factors = latent_rgb_factors(vae.encode(images) * SCALE_FACTOR, images)
    torch.save({"vae": vae.state_dict(), "factors": factors}, directory / "vae_scaled.pt")
    vae = vae.to(memory_format=torch.channels_last)
    latents, indices = [], []
    with in_half():
        for _ in range(per_strip * len(windows.strips) // 100):
            images, index = windows.sample(100)
            latents.append((vae.encode(images).float() * SCALE_FACTOR).half())
            indices.append(torch.from_numpy(index))
    torch.save({"latents": torch.cat(latents), "index": torch.cat(indices)}, directory / "latents.pt")


class LatentBatches:
    """Random cached latents with fresh captions."""

    def __init__(self, directory: Path, seed: int):
        cached = torch.load(directory / "latents.pt", weights_only=True)
        self.latents, self.index = cached["latents"], cached["index"].numpy()
        self.cover = Windows(directory / "scenes.npy", 0).cover
        self.rng, self.tokenizer = np.random.default_rng(seed), Tokenizer()

    def sample(self, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        """x0 [count, 4, 16, 16] float32 and token ids [count, length]; some prompts are empty."""
        rows = self.rng.integers(0, len(self.latents), count)
        strips = self.index[rows]
        texts = captions_of(self.rng, *labels_of(strips), self.cover[strips])
        texts = ["" if self.rng.random() < EMPTY_PROMPTS else text for text in texts]
        return self.latents[torch.from_numpy(rows)].float(), self.tokenizer.batch(texts)


def noised(x0: torch.Tensor, t: torch.Tensor, eps: torch.Tensor) -> torch.Tensor:
    """VP state sqrt(alpha_bar) x0 + sqrt(1 - alpha_bar) eps at timesteps t [N]; of (eps, -x0) it is v."""
    alpha = alphas_cumprod().to(t.device)[t].float()[:, None, None, None]
    return alpha.sqrt() * x0 + (1 - alpha).sqrt() * eps


def _v_loss(model: nn.ModuleDict, x_t, t, ids, v) -> torch.Tensor:
    with in_half():
        predicted = model["unet"](x_t, t, model["text"](ids))
    return F.mse_loss(predicted.float(), v)


@torch.no_grad()
def preview(
    model: DemoModel, prompts: Sequence[str] = PREVIEW_PROMPTS, steps: int = 25, cfg: float = 5.0
) -> torch.Tensor:
    """One window per prompt, deterministic DDIM; images in [-1, 1]."""
    levels = ddim_sigmas(steps)
    denoise = model.denoiser(model.encode(prompts), model.encode([""]), cfg)
    noise = torch.randn(len(prompts), 4, 16, 16, generator=torch.Generator().manual_seed(3))
    x = noise * levels[0]
    for sigma, lower in zip(levels[:-1], levels[1:], strict=True):
        x0 = denoise(x, sigma, range(len(x)))
        x = x0 + (x - x0) * (lower / sigma)
    return model.decode(x) * 2 - 1


def scaled_parts(directory: Path = CACHE) -> tuple[AutoencoderKL, list]:
    """The scaled autoencoder and its preview factors, as `cache_latents` left them."""
    cached = torch.load(directory / "vae_scaled.pt", weights_only=True)
    vae = AutoencoderKL()
    vae.load_state_dict(cached["vae"])
    return vae.eval().requires_grad_(False), cached["factors"]


def _trainer(minutes: float, directory: Path) -> Trainer:
    torch.manual_seed(0)
    model = nn.ModuleDict({"unet": UNet(), "text": TextEncoder()})
    plan = Plan("unet", minutes, lr=8e-4, ema=0.9985, weight_decay=0.01, checkpoint_seconds=150)
    return Trainer(plan, model, directory)


def _export(trainer: Trainer, directory: Path) -> None:
    """Write the averaged weights as they are now, and pictures to look at."""
    vae, factors = scaled_parts(directory)
    unet, text = trainer.ema["unet"], trainer.ema["text"]
    export_demo_model(unet, text, vae, factors, trainer.account(BATCH))
    save_pictures(directory / "unet.png", list(preview(DemoModel(unet, vae, text)).split(5)))


def finish_unet(directory: Path = CACHE) -> None:
    """Export what the last checkpoint holds."""
    _export(_trainer(1, directory), directory)


def train_unet(minutes: float = 40.0, directory: Path = CACHE) -> None:
    """Uniform timesteps, plain v loss; a usable checkpoint is exported all along."""
    trainer = _trainer(minutes, directory)
    batches = LatentBatches(directory, 20 + trainer.step)

    def loss_of(progress: float) -> torch.Tensor:
        x0, ids = batches.sample(BATCH)
        t, eps = torch.randint(0, STEPS, (BATCH,)), torch.randn_like(x0)
        return _v_loss(trainer.model, noised(x0, t, eps), t, ids, noised(eps, t, -x0))

    trainer.run(loss_of, lambda: _export(trainer, directory))
