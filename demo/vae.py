"""KL autoencoder of the Stable Diffusion family: the host's AutoencoderKL loads the same state dict.

GroupNorm always has 32 groups in the host. With one or two channels a group the decoder's last norm would erase the
mean colour of a picture (two numbers normalise to +-1), so its first level has three: hence two configurations.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

SCALE_FACTOR = 0.18215
_SHARED = {
    "double_z": True,
    "z_channels": 4,
    "resolution": 128,
    "in_channels": 3,
    "out_ch": 3,
    "ch": 32,
    "attn_resolutions": [],
    "dropout": 0.0,
}
DDCONFIG = {**_SHARED, "ch_mult": [1, 1, 2, 4], "num_res_blocks": 1}
DECODER_DDCONFIG = {**_SHARED, "ch_mult": [3, 1, 2, 4], "num_res_blocks": 0}


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(32, channels, eps=1e-6)


def _conv(channels: int, out: int, stride: int = 1, padding: int = 1) -> nn.Conv2d:
    return nn.Conv2d(channels, out, 3, stride, padding)


class ResnetBlock(nn.Module):
    """Two convolutions around a shortcut."""

    def __init__(self, channels: int, out: int):
        super().__init__()
        self.norm1, self.conv1 = _norm(channels), _conv(channels, out)
        self.norm2, self.conv2 = _norm(out), _conv(out, out)
        if channels != out:
            self.nin_shortcut = nn.Conv2d(channels, out, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        h = self.conv2(F.silu(self.norm2(h)))
        return h + (self.nin_shortcut(x) if hasattr(self, "nin_shortcut") else x)


class AttnBlock(nn.Module):
    """Single-head self-attention over places."""

    def __init__(self, channels: int):
        super().__init__()
        self.norm = _norm(channels)
        self.q, self.k, self.v, self.proj_out = (nn.Conv2d(channels, channels, 1) for _ in range(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.norm(x)
        q, k, v = (f(h).flatten(2).transpose(1, 2)[:, None] for f in (self.q, self.k, self.v))  # [N, 1, hw, C]
        h = F.scaled_dot_product_attention(q, k, v)[:, 0].transpose(1, 2).reshape(x.shape)
        return x + self.proj_out(h)


class Downsample(nn.Module):
    """Strided convolution with SD's one-sided padding."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = _conv(channels, channels, stride=2, padding=0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(F.pad(x, (0, 1, 0, 1)))


class Upsample(nn.Module):
    """Nearest neighbour, then a convolution."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = _conv(channels, channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


def _middle(channels: int) -> nn.Module:
    mid = nn.Module()
    mid.block_1, mid.attn_1 = ResnetBlock(channels, channels), AttnBlock(channels)
    mid.block_2 = ResnetBlock(channels, channels)
    return mid


def _through_middle(mid: nn.Module, h: torch.Tensor) -> torch.Tensor:
    return mid.block_2(mid.attn_1(mid.block_1(h)))


class Encoder(nn.Module):
    """Image to the moments of the posterior before `quant_conv`."""

    def __init__(self, ch: int, ch_mult: list[int], num_res_blocks: int, in_channels: int, z_channels: int, **_):
        super().__init__()
        self.conv_in = _conv(in_channels, ch)
        self.down = nn.ModuleList()
        width = ch
        for level, mult in enumerate(ch_mult):
            down = nn.Module()
            down.block = nn.ModuleList()
            for _ in range(num_res_blocks):
                down.block.append(ResnetBlock(width, ch * mult))
                width = ch * mult
            if level + 1 < len(ch_mult):
                down.downsample = Downsample(width)
            self.down.append(down)
        self.mid = _middle(width)
        self.norm_out, self.conv_out = _norm(width), _conv(width, 2 * z_channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.conv_in(x)
        for down in self.down:
            for block in down.block:
                h = block(h)
            if hasattr(down, "downsample"):
                h = down.downsample(h)
        return self.conv_out(F.silu(self.norm_out(_through_middle(self.mid, h))))


class Decoder(nn.Module):
    """Latent after `post_quant_conv` to image."""

    def __init__(self, ch: int, ch_mult: list[int], num_res_blocks: int, out_ch: int, z_channels: int, **_):
        super().__init__()
        width = ch * ch_mult[-1]
        self.conv_in, self.mid = _conv(z_channels, width), _middle(width)
        levels = []
        for level in reversed(range(len(ch_mult))):
            up = nn.Module()
            up.block = nn.ModuleList()
            for _ in range(num_res_blocks + 1):
                up.block.append(ResnetBlock(width, ch * ch_mult[level]))
                width = ch * ch_mult[level]
            if level:
                up.upsample = Upsample(width)
            levels.append(up)
        self.up = nn.ModuleList(reversed(levels))
        self.norm_out, self.conv_out = _norm(width), _conv(width, out_ch)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        h = _through_middle(self.mid, self.conv_in(z))
        for up in reversed(self.up):
            for block in up.block:
                h = block(h)
            if hasattr(up, "upsample"):
                h = up.upsample(h)
        return self.conv_out(F.silu(self.norm_out(h)))


class AutoencoderKL(nn.Module):
    """images [N, 3, H, W] in [-1, 1] <-> latents [N, 4, H/8, W/8], not yet multiplied by SCALE_FACTOR."""

    def __init__(self, ddconfig: dict = DDCONFIG, decoder_ddconfig: dict = DECODER_DDCONFIG):
        super().__init__()
        z = ddconfig["z_channels"]
        self.encoder, self.decoder = Encoder(**ddconfig), Decoder(**decoder_ddconfig)
        self.quant_conv, self.post_quant_conv = nn.Conv2d(2 * z, 2 * z, 1), nn.Conv2d(z, z, 1)
        nn.init.constant_(self.quant_conv.bias[z:], -6.0)  # a posterior as wide as the prior would hide all detail

    def moments(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and log variance of the posterior, [N, 4, h, w] each."""
        mean, logvar = self.quant_conv(self.encoder(image)).chunk(2, dim=1)
        return mean, logvar.clamp(-30, 20)

    def encode(self, image: torch.Tensor) -> torch.Tensor:
        return self.moments(image)[0]

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        return self.decoder(self.post_quant_conv(z))

    @torch.no_grad()
    def rescale(self, mean: torch.Tensor, std: torch.Tensor) -> None:
        """Fold latent statistics [4] into the 1x1 convolutions: SCALE_FACTOR * encode gets mean 0 and std 1."""
        gain = 1 / (std * SCALE_FACTOR)
        quant, post = self.quant_conv, self.post_quant_conv
        z = len(mean)
        post.bias += post.weight[:, :, 0, 0] @ mean
        post.weight /= gain[None, :, None, None]
        quant.bias[:z] = (quant.bias[:z] - mean) * gain
        quant.weight[:z] *= gain[:, None, None, None]
        quant.bias[z:] += 2 * gain.log()
