"""Colours as they are stored and as light: what is shown in front of each other adds up in light (IEC 61966-2-1)."""

import torch
from torch import Tensor


def to_light(colour: Tensor) -> Tensor:
    """sRGB in [0, 1] -> linear light in [0, 1]."""
    return torch.where(colour <= 0.04045, colour / 12.92, ((colour.clamp(min=0.04045) + 0.055) / 1.055) ** 2.4)


def from_light(light: Tensor) -> Tensor:
    """Linear light in [0, 1] -> sRGB in [0, 1]."""
    return torch.where(light <= 0.0031308, light * 12.92, 1.055 * light.clamp(min=0.0031308) ** (1 / 2.4) - 0.055)


def slope(light: Tensor) -> Tensor:
    """By how much sRGB rises with light, in (0.0031308, 1]."""
    return 1.055 / 2.4 * light ** (1 / 2.4 - 1)
