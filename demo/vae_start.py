"""A linear start for the autoencoder: each latent begins as a cell's mean colour and its vertical contrast.

From random weights most of a short training would go into finding that. The residual branches start at zero, the
trunk carries four features, and the norms at both ends let them pass: a group that holds f, -f and constants much
larger than f scales f by a constant, and silu(f) - silu(-f) = f.
"""

from __future__ import annotations

import torch
from torch import nn

from .vae import AttnBlock, AutoencoderKL, ResnetBlock

FEATURES = 4  # red, green, blue, lower minus upper half
LARGE = 4.0
LATENT_GAIN = 2.5


def _only(layer: nn.Conv2d, row: int, entries: dict[int, torch.Tensor | float], bias: float = 0.0) -> None:
    """Row `row` of a convolution takes from these input channels only; numbers mean the centre tap."""
    layer.weight[row] = 0
    layer.bias[row] = bias
    middle = layer.kernel_size[0] // 2
    for channel, kernel in entries.items():
        if isinstance(kernel, torch.Tensor):
            layer.weight[row, channel] = kernel
        else:
            layer.weight[row, channel, middle, middle] = kernel


def _pass(layer: nn.Conv2d, gain: float = 1.0, count: int = FEATURES) -> None:
    for row in range(count):
        _only(layer, row, {row: gain})


def _quarter(upper: float, lower: float) -> torch.Tensor:
    kernel = torch.zeros(3, 3)
    kernel[0, :2], kernel[1, :2] = upper / 4, lower / 4
    return kernel


def _halve(layer: nn.Conv2d, first: bool) -> None:
    """Average 2x2 places; the vertical contrast grows by this scale's."""
    contrast = {channel: _quarter(-1 / 3, 1 / 3) for channel in range(3)}
    for row in range(3):
        _only(layer, row, {row: _quarter(1, 1)})
    _only(layer, 3, contrast if first else {**contrast, 3: _quarter(1, 1)})


def _start_encoder(vae: AutoencoderKL) -> None:
    encoder = vae.encoder
    _pass(encoder.conv_in, count=3)
    _only(encoder.conv_in, 3, {})
    for level, down in enumerate(encoder.down[:3]):
        _halve(down.downsample.conv, first=level == 0)
    _pass(encoder.down[2].block[0].nin_shortcut)
    spread = encoder.down[3].block[0].nin_shortcut  # 128 channels: groups of f, -f, large, -large
    encoder.conv_out.weight.zero_()
    encoder.conv_out.bias.zero_()
    for k in range(FEATURES):
        _only(spread, 4 * k, {k: 1.0})
        _only(spread, 4 * k + 1, {k: -1.0})
        _only(spread, 4 * k + 2, {}, LARGE)
        _only(spread, 4 * k + 3, {}, -LARGE)
        gain = LATENT_GAIN * LARGE / 2**0.5
        _only(encoder.conv_out, k, {4 * k: gain, 4 * k + 1: -gain})
    vae.quant_conv.weight.copy_(torch.eye(2 * FEATURES)[:, :, None, None])
    vae.quant_conv.bias[:FEATURES] = 0


def _start_decoder(vae: AutoencoderKL) -> None:
    decoder = vae.decoder
    vae.post_quant_conv.weight.copy_(torch.eye(FEATURES)[:, :, None, None])
    vae.post_quant_conv.bias.zero_()
    _pass(decoder.conv_in, 1 / LATENT_GAIN)
    for up in decoder.up[1:]:
        _pass(up.upsample.conv)
    for level in (2, 1):
        _pass(decoder.up[level].block[0].nin_shortcut)
    spread = decoder.up[0].block[0].nin_shortcut  # 96 channels: groups of f, -f, large
    std = LARGE * 2**0.5 / 3
    decoder.conv_out.weight.mul_(0.02)
    for k in range(3):
        _only(spread, 3 * k, {k: 1.0})
        _only(spread, 3 * k + 1, {k: -1.0})
        _only(spread, 3 * k + 2, {}, LARGE)
        decoder.norm_out.bias[3 * k : 3 * k + 2] = LARGE / 3 / std
        _only(decoder.conv_out, k, {3 * k: std, 3 * k + 1: -std})


@torch.no_grad()
def start_linear(vae: AutoencoderKL) -> AutoencoderKL:
    """Set the weights of a fresh autoencoder of the default configurations."""
    for module in vae.modules():
        last = {ResnetBlock: "conv2", AttnBlock: "proj_out"}.get(type(module))
        if last:
            nn.init.zeros_(getattr(module, last).weight)
            nn.init.zeros_(getattr(module, last).bias)
    _start_encoder(vae)
    _start_decoder(vae)
    return vae
