"""ControlNet of the demo world in the ldm format: the host's own ControlNet loads the same state dict.

The format's hint encoder costs more than the whole of this UNet. Here it only sorts the pixels of each latent cell
into channels (`start_as_patches`), which training does for nothing (`patches`); its last layer learns.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from .unet import UNET_CONFIG, Encoder, Stage, zero

CONTROL_CONFIG = {**UNET_CONFIG, "num_head_channels": 64, "hint_channels": 3}
"""Heads of 64 channels, unlike the UNet's: what the host's loader takes for widths that it does not know."""

HINT_WIDTHS = (16, 32, 96, 256)
LIFT, STEEP = 16.0, 8.0
"""SiLU is the identity far above zero and, up to scale, for steep inputs in [0, 1]; the last one must keep 0 at 0,
as its convolution pads with zeros."""


def patches(hint: torch.Tensor) -> torch.Tensor:
    """Pictures [N, 3, 8h, 8w] to the grey pixels of each cell [N, 64, h, w], as the encoder's last layer gets them."""
    cells = hint.mean(dim=1, keepdim=True)
    for _ in HINT_WIDTHS[1:]:  # not by 8 at once: that is another order
        cells = F.pixel_unshuffle(cells, 2)
    return F.silu(STEEP * cells)


def _hint_block(channels: int, out: int) -> Stage:
    """Picture [N, channels, 8h, 8w] to features [N, out, h, w]: two convolutions at each size, halving between."""
    first, *wider = HINT_WIDTHS
    plan = [(channels, first, 1), (first, first, 1)]
    for narrow, wide in zip(HINT_WIDTHS, wider, strict=False):
        plan += [(narrow, wide, 2), (wide, wide, 1)]
    plan[-1] = (wide, out, 1)
    layers = [nn.Conv2d(a, b, 3, stride, padding=1) for a, b, stride in plan]
    return Stage(*[part for layer in layers for part in (layer, nn.SiLU())][:-1])


class ControlNet(Encoder):
    """A copy of the UNet's encoder that sees a hint and speaks through 1x1 convolutions that start at zero."""

    def __init__(self, config: dict = CONTROL_CONFIG):
        super().__init__(config)
        self.input_hint_block = _hint_block(config["hint_channels"], self.base)
        self.zero_convs = nn.ModuleList(Stage(nn.Conv2d(width, width, 1)) for width in self.skips)
        self.middle_block_out = Stage(nn.Conv2d(self.skips[-1], self.skips[-1], 1))
        zero(stage[0] for stage in (*self.zero_convs, self.middle_block_out))

    def forward(
        self, x: torch.Tensor, hint: torch.Tensor, timesteps: torch.Tensor, context: torch.Tensor
    ) -> list[torch.Tensor]:
        """x, timesteps, context as the UNet's, hint [N, 3, 8h, 8w] in [0, 1]; the residuals for `UNet.forward`."""
        return self.residuals(x, self.input_hint_block(hint, None, None), timesteps, context)

    def features(self, cells: torch.Tensor) -> torch.Tensor:
        """The hint encoder's [N, C, h, w] from `patches` of the hint, once `start_as_patches` has been called."""
        last = self.input_hint_block[-1]
        return F.conv2d(cells, last.weight[:, : cells.shape[1]], last.bias, padding=1)

    def residuals(
        self, x: torch.Tensor, features: torch.Tensor, timesteps: torch.Tensor, context: torch.Tensor
    ) -> list[torch.Tensor]:
        """What goes to each skip connection and, the last one, to the middle; features [N, C, h, w] of the hint."""
        emb = self.embed(x, timesteps)
        h, residuals = x, []
        for i, (block, out) in enumerate(zip(self.input_blocks, self.zero_convs, strict=True)):
            h = block(h, emb, context)
            if i == 0:
                h = h + features
            residuals.append(out(h, emb, context))
        return [*residuals, self.middle_block_out(self.middle_block(h, emb, context), emb, context)]

    @torch.no_grad()
    def start_as_patches(self) -> None:
        """Let every layer of the hint encoder but the last sort pixels into channels, for good."""
        *sorting, last = [layer for layer in self.input_hint_block if isinstance(layer, nn.Conv2d)]
        zero(sorting)
        sorting[0].weight[0, :, 1, 1] = 1 / sorting[0].in_channels
        known = 1
        for i, layer in enumerate(sorting):
            if layer.stride[0] == 2:
                for channel in range(4 * known):  # pixel_unshuffle's order: the old channel, then row, then column
                    layer.weight[channel, channel // 4, 1 + channel % 4 // 2, 1 + channel % 2] = 1
                known *= 4
            elif i:
                layer.weight[range(known), range(known), 1, 1] = 1
            layer.bias[:known] = LIFT if i == 0 else 0
        sorting[-1].weight *= STEEP
        sorting[-1].bias[:known] = -STEEP * LIFT
        for layer in sorting:
            layer.requires_grad_(False)
        last.weight[:, known:] = 0
