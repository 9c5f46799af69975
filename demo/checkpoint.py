"""What the demo model's file must hold: the tensors of this code's networks, and metadata that describes them."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

import torch

from .captions import VOCABULARY
from .export import PREFIXES
from .text_encoder import TEXT_CONFIG, TextEncoder
from .unet import UNET_CONFIG, UNet
from .vae import DDCONFIG, DECODER_DDCONFIG, AutoencoderKL

if TYPE_CHECKING:
    from syncdiffusion_core.weights import WeightsFile

CONFIGS = {
    "unet_config": UNET_CONFIG,
    "ddconfig": DDCONFIG,
    "decoder_ddconfig": DECODER_DDCONFIG,
    "text_config": TEXT_CONFIG,
    "vocab": VOCABULARY,
}
PREDICTIONS = ("eps", "v")
FACTORS = {"latent_rgb_factors": (4, 3), "latent_rgb_factors_bias": (3,)}
"""What previews are made with, and its shapes."""


def check_checkpoint(file: WeightsFile) -> None:
    """Raise ValueError where a file's header is not that of this version's demo model."""
    for name, wanted in CONFIGS.items():
        if file.json(name) != json.loads(json.dumps(wanted)):
            raise file.refusal(f"'{name}' of its metadata is not this version's")
    for name, shape in FACTORS.items():
        if not _is_array(file.json(name), shape):
            raise file.refusal(f"'{name}' of its metadata must be numbers of shape {list(shape)}")
    if file.metadata.get("prediction") not in PREDICTIONS:
        raise file.refusal(f"'prediction' of its metadata must be one of {', '.join(PREDICTIONS)}")
    file.check_shapes(_shapes(), "the demo model")


def _shapes() -> dict[str, tuple[int, ...]]:
    """Of all tensors, by name."""
    with torch.device("meta"):
        parts = {"unet": UNet(), "vae": AutoencoderKL(), "text": TextEncoder()}
    states = {prefix: parts[part].state_dict() for part, prefix in PREFIXES.items()}
    return {prefix + name: tuple(value.shape) for prefix, state in states.items() for name, value in state.items()}


def _is_array(values: object, shape: tuple[int, ...]) -> bool:
    """Whether JSON is nested lists of that shape of finite numbers."""
    if not shape:
        return isinstance(values, int | float) and math.isfinite(values)
    return isinstance(values, list) and len(values) == shape[0] and all(_is_array(v, shape[1:]) for v in values)
