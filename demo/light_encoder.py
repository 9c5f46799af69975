"""A light stand-in for the demo's VAE encoder: views that agree in pictures are encoded twice a step, all of them.

The light decoder the other way round: a pixel unshuffle, then all of the work on grids of an eighth and a fourth of
the picture's side.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from .export import REMEDY, WEIGHTS
from .light_layers import CELL_PX, Block, Everywhere, conv, read

if TYPE_CHECKING:
    from syncdiffusion_core.weights import WeightsFile

FILE = WEIGHTS / "light_encoder.safetensors"


class LightEncoder(nn.Module):
    """Images [N, 3, H, W] in [0, 1] -> latents of unit variance [N, 4, H/8, W/8], the mean of the VAE's posterior.

    Convention: like the host's TAESD, it gives latents in the model's scale.
    """

    def __init__(self, widths: Sequence[int] = (32, 64), blocks: Sequence[int] = (1, 4)):
        super().__init__()
        self.config = {"widths": list(widths), "blocks": list(blocks)}
        shuffle = CELL_PX // 2 ** (len(widths) - 1)
        layers: list[nn.Module] = [nn.PixelUnshuffle(shuffle), conv(3 * shuffle**2, widths[0])]
        for level, (width, count) in enumerate(zip(widths, blocks, strict=True)):
            layers += [Block(width) for _ in range(count)]
            if level + 1 < len(widths):
                layers.append(conv(width, widths[level + 1], stride=2))
        layers += [Everywhere(widths[-1]), nn.SiLU(), conv(widths[-1], 4)]
        self.layers = nn.Sequential(*layers)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.layers(2 * image - 1)

    def encode(self, image: torch.Tensor) -> torch.Tensor:
        """The same: the contract of the core's Encoder."""
        return self(image)


def light_encoder_of(file: WeightsFile) -> LightEncoder:
    """The light encoder of an opened file. Raises ValueError naming the file where it is damaged."""
    return read(file, LightEncoder, "the demo's light encoder")


def load_light_encoder(path: str | Path = FILE) -> LightEncoder:
    """The shipped light encoder, without a host."""
    from syncdiffusion_core.weights import open_weights  # another name where the host has loaded the pack

    return light_encoder_of(open_weights(Path(path), "safetensors file", REMEDY))
