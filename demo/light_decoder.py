"""A light stand-in for the demo's VAE decoder: what guidance looks through when it need not see every blade of grass.

Nearly all of its work is done on the latent's grid and at twice that; a pixel shuffle does the rest. The full decoder
spends nine tenths of its time on convolutions at the picture's size.
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

FILE = WEIGHTS / "light_decoder.safetensors"


class LightDecoder(nn.Module):
    """Latents of unit variance [N, 4, h, w], as the denoiser gives them -> images [N, 3, 8h, 8w].

    Convention: like the host's TAESD, it takes latents in the model's scale, and `forward` gives [-1, 1], unclamped.
    """

    def __init__(self, widths: Sequence[int] = (64, 48), blocks: Sequence[int] = (4, 2)):
        super().__init__()
        self.config = {"widths": list(widths), "blocks": list(blocks)}
        shuffle = CELL_PX // 2 ** (len(widths) - 1)
        layers: list[nn.Module] = [conv(4, widths[0]), Everywhere(widths[0])]
        for level, (width, count) in enumerate(zip(widths, blocks, strict=True)):
            layers += [Block(width) for _ in range(count)]
            if level + 1 < len(widths):
                layers += [nn.Upsample(scale_factor=2), conv(width, widths[level + 1])]
        layers += [nn.SiLU(), conv(widths[-1], 3 * shuffle**2), nn.PixelShuffle(shuffle)]
        self.layers = nn.Sequential(*layers)

    def forward(self, x0: torch.Tensor) -> torch.Tensor:
        return self.layers(x0)

    def decode(self, x0: torch.Tensor) -> torch.Tensor:
        """Images in [0, 1]: the contract of the core's Decoder."""
        return ((self(x0) + 1) / 2).clamp(0, 1)


def light_decoder_of(file: WeightsFile) -> LightDecoder:
    """The light decoder of an opened file, float32, frozen. Raises ValueError naming the file where it is damaged."""
    return read(file, LightDecoder, "the demo's light decoder")


def load_light_decoder(path: str | Path = FILE) -> LightDecoder:
    """The shipped light decoder, without a host."""
    from syncdiffusion_core.weights import open_weights  # another name where the host has loaded the pack

    return light_decoder_of(open_weights(Path(path), "safetensors file", REMEDY))
