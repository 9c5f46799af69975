"""A small convolutional scene net and its perceptual distance: LPIPS in form, smooth in gradient.

It names the time of day and the biome of a landscape; what it learnt for that, stage by stage, is the distance.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from .distance import Features
from .unit_features import lpips_distance, unit_normalise

CLASSES = (5, 5)
"""Times of day and biomes."""
STAGES, WIDEST, DEEPEST, LONGEST_STRIDE, MOST_CLASSES = 8, 2048, 16, 16, 1000
"""Bounds of a net that a file may ask for; the shipped ones have up to 5 stages, 192 channels, depth 1, stride 2."""


class ConvStage(nn.Module):
    """A strided convolution, then `depth` residual ones."""

    def __init__(self, channels: int, out: int, stride: int, depth: int):
        super().__init__()
        self.enter = nn.Conv2d(channels, out, 3, stride, padding=1)
        self.deepen = nn.ModuleList(nn.Conv2d(out, out, 3, padding=1) for _ in range(depth))

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # [N, C, h, w] -> [N, out, h/stride, w/stride]
        x = F.silu(self.enter(x))
        for conv in self.deepen:
            x = x + F.silu(conv(x))
        return x


class SceneNet(nn.Module):
    """PerceptualDistance of the demo's world, and its judges: one class, several sets of weights.

    Convention: images are [N, 3, H, W] in [0, 1], H and W divisible by 16. Nothing in the net normalises over the
    picture, so a feature depends on its neighbourhood only. `constant` is the C of a perceptual file's metadata.
    `classes` are those that each of its two heads tells apart: times of day and biomes, unless a judge has others.
    """

    constant: float = 1.0

    def __init__(
        self,
        widths: Sequence[int] = (32, 64, 96, 128),
        depth: int = 1,
        first_stride: int = 2,
        classes: Sequence[int] = CLASSES,
    ):
        _check_config(widths, depth, first_stride, classes)
        super().__init__()
        self.config = {"widths": list(widths), "depth": depth, "first_stride": first_stride, "classes": list(classes)}
        strides = (first_stride, *(2 for _ in widths[1:]))
        channels = (3, *widths[:-1])
        stages = zip(channels, widths, strides, strict=True)
        self.stages = nn.ModuleList(ConvStage(c, w, s, depth) for c, w, s in stages)
        for i, width in enumerate(widths):
            self.register_buffer(f"lin_{i}", torch.full((width,), 1.0))
        self.time_head, self.biome_head = (nn.Linear(widths[-1], count) for count in classes)

    @property
    def lin(self) -> Features:
        """Non-negative weight of each channel of each stage, [C_i]; set after training, not by it."""
        return tuple(getattr(self, f"lin_{i}") for i in range(len(self.stages)))

    def taps(self, image: torch.Tensor) -> Features:
        """Activations after each stage, [N, C_i, h_i, w_i]."""
        x, taps = 2 * image - 1, []
        for stage in self.stages:
            x = stage(x)
            taps.append(x)
        return tuple(taps)

    def features(self, image: torch.Tensor) -> Features:
        """Activations of unit length over channels at each place."""
        return tuple(unit_normalise(tap) for tap in self.taps(image))

    def distance(self, features: Features, anchor: Features) -> torch.Tensor:
        """Sum over stages of the spatial mean of the weighted squared difference; [N], the anchor's batch N or 1."""
        return lpips_distance(features, anchor, self.lin)

    def embedding(self, image: torch.Tensor) -> torch.Tensor:
        """Last stage averaged over the picture, [N, D]."""
        return self.taps(image)[-1].mean(dim=(2, 3))

    def logits(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Time of day [N, 5] (dawn, noon, sunset, dusk, night), biome [N, 5] (mountains .. meadow); or its classes."""
        pooled = self.embedding(image)
        return self.time_head(pooled), self.biome_head(pooled)

    @torch.no_grad()
    def weigh(self, image: torch.Tensor, alike: torch.Tensor, unlike: torch.Tensor, total: float) -> None:
        """Set lin from triples [N, 3, H, W]: channels that tell unlike from alike count, the others do not.

        Each stage then gives total / stages between `image` and `unlike` on average.
        """
        triples = zip(self.lin, *(self.features(x) for x in (image, alike, unlike)), strict=True)
        for lin, f, a, u in triples:
            same, other = ((f - g).square().mean(dim=(0, 2, 3)) for g in (a, u))  # [C]
            telling = (other / (same + 1e-8) - 1).clamp(0, 8)
            lin.copy_(telling * total / len(self.stages) / (telling * other).sum())


def _check_config(widths: object, depth: object, first_stride: object, classes: object) -> None:
    """Raise ValueError for what no scene net has; a file's metadata may say anything."""
    if not isinstance(widths, Sequence) or not 1 <= len(widths) <= STAGES:
        raise ValueError(f"widths must be a list of 1 to {STAGES} numbers of channels, got {widths!r}")
    if not isinstance(classes, Sequence) or len(classes) != len(CLASSES):
        raise ValueError(f"classes must be a list of {len(CLASSES)} numbers, got {classes!r}")
    bounds = [("each of widths", width, 1, WIDEST) for width in widths]
    bounds += [("each of classes", count, 1, MOST_CLASSES) for count in classes]
    bounds += [("depth", depth, 0, DEEPEST), ("first_stride", first_stride, 1, LONGEST_STRIDE)]
    for name, value, least, most in bounds:
        if type(value) is not int or not least <= value <= most:  # a bool is an int by birth only
            raise ValueError(f"{name} must be a whole number from {least} to {most}, got {value!r}")
