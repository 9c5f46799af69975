"""The skyline detector: reads from a picture how many rows of sky stand above the land of each column.

For tests and benchmarks; the runtime of the pack never imports this file.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from syncdiffusion_core.weights import open_weights

from .export import REMEDY, WEIGHTS

FILE = WEIGHTS / "skyline_detector.safetensors"
WIDTH = 32


class SkylineNet(nn.Module):
    """Land or sky, pixel by pixel: a stem to a quarter of the size, dilated blocks, and back beside fine features."""

    def __init__(self) -> None:
        super().__init__()
        self.fine = nn.Conv2d(3, 12, 5, padding=2)
        self.stem = nn.Sequential(
            nn.Conv2d(3, 16, 5, 2, 2), nn.SiLU(), nn.Conv2d(16, WIDTH, 3, 2, 1), nn.GroupNorm(8, WIDTH)
        )
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.SiLU(), nn.Conv2d(WIDTH, WIDTH, 3, padding=d, dilation=d), nn.GroupNorm(8, WIDTH))
            for d in (1, 2, 4, 8, 4, 2, 1)
        )
        self.up = nn.Conv2d(WIDTH, 12 * 16, 1)
        self.head = nn.Sequential(nn.SiLU(), nn.Conv2d(24, 16, 3, padding=1), nn.SiLU(), nn.Conv2d(16, 1, 3, padding=1))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """image [N, 3, H, W] in [0, 1], sides multiples of 4 -> logit of land [N, H, W]."""
        image = image * 2 - 1
        h = self.stem(image)
        for block in self.blocks:
            h = h + block(h)
        both = torch.cat([self.fine(image), F.pixel_shuffle(self.up(F.silu(h)), 4)], dim=1)
        return self.head(both)[:, 0]


def load_detector() -> SkylineNet:
    """The shipped detector, float32, frozen."""
    net = SkylineNet()
    open_weights(FILE, "safetensors file", REMEDY).fill(net, "the skyline detector")
    return net.eval().requires_grad_(False)


def sky_rows(logits: torch.Tensor) -> torch.Tensor:
    """Land logits [N, H, W] to skylines [N, W]: expected rows of sky above the topmost land, in px."""
    land = logits.sigmoid().cummax(dim=-2).values
    return (1 - land).sum(dim=-2)


@torch.no_grad()
def detect(net: SkylineNet, images: torch.Tensor) -> torch.Tensor:
    """Skylines [N, W] of pictures [N, 3, H, W] in [0, 1]."""
    return sky_rows(net(images))
