"""Single-file checkpoint of the demo model: fp16 safetensors with SD's prefixes and JSON metadata."""

from __future__ import annotations

import json
import os
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from .captions import VOCABULARY
from .text_encoder import TEXT_CONFIG
from .unet import UNET_CONFIG
from .vae import DDCONFIG, DECODER_DDCONFIG

WEIGHTS = Path(__file__).parent / "weights"
REMEDY = "it belongs to the pack's demo/weights folder: install the pack again"
"""For a file of that folder that is not there, or damaged."""
PREFIXES = {"unet": "model.diffusion_model.", "vae": "first_stage_model.", "text": "cond_stage_model."}


def save_atomically(tensors: dict[str, torch.Tensor], path: Path, metadata: dict[str, str]) -> None:
    """Readers of path see the old file or the new one, never half of one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    save_file(tensors, part, metadata)
    part.chmod(0o644)
    os.replace(part, path)


def half(module: nn.Module, prefix: str = "") -> dict[str, torch.Tensor]:
    """State dict in fp16 under a prefix."""
    return {prefix + name: value.half().contiguous() for name, value in module.state_dict().items()}


def export_demo_model(
    unet: nn.Module, text: nn.Module, vae: nn.Module, factors: list, training: str, path: Path | None = None
) -> Path:
    """Write demo_model.safetensors; factors: four rows and a bias row of latent_rgb_factors."""
    path = path or WEIGHTS / "demo_model.safetensors"
    parts = {"unet": unet, "vae": vae, "text": text}
    tensors = {key: value for name, prefix in PREFIXES.items() for key, value in half(parts[name], prefix).items()}
    metadata = {
        "format": "syncdiffusion-demo",
        "prediction": "v",
        "unet_config": json.dumps(UNET_CONFIG),
        "ddconfig": json.dumps(DDCONFIG),
        "decoder_ddconfig": json.dumps(DECODER_DDCONFIG),
        "text_config": json.dumps(TEXT_CONFIG),
        "vocab": json.dumps(VOCABULARY),
        "latent_rgb_factors": json.dumps(factors[:4]),
        "latent_rgb_factors_bias": json.dumps(factors[4]),
        "training": training,
    }
    save_atomically(tensors, path, metadata)
    return path
