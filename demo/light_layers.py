"""What the light stand-ins for the halves of the demo's VAE are made of, and how their files are read."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import torch
import torch.nn.functional as F
from torch import nn

if TYPE_CHECKING:
    from syncdiffusion_core.weights import WeightsFile

CELL_PX = 8
Network = TypeVar("Network", bound=nn.Module)


def conv(channels: int, out: int, stride: int = 1) -> nn.Conv2d:
    """Of 3 x 3."""
    return nn.Conv2d(channels, out, 3, stride, padding=1)


class Block(nn.Module):
    """Two convolutions around a shortcut."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv1, self.conv2 = conv(channels, channels), conv(channels, channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.conv2(F.silu(self.conv1(F.silu(x))))


class Everywhere(nn.Module):
    """Adds to each place what the picture's mean says: the VAE's norms and attention see all of it."""

    def __init__(self, channels: int):
        super().__init__()
        self.enter, self.leave = nn.Linear(channels, channels), nn.Linear(channels, channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.leave(F.silu(self.enter(x.mean(dim=(2, 3)))))[:, :, None, None]


def read(file: WeightsFile, make: Callable[[], Network], what: str) -> Network:
    """The network of an opened file, float32, frozen. Raises ValueError naming the file where it is damaged."""
    with torch.device("meta"):
        network = make()
    if file.json("config") != network.config:
        raise file.refusal("'config' of its metadata is not this version's")
    file.fill(network, what)
    return network.eval().requires_grad_(False)
