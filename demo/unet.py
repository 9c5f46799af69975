"""Text-conditioned UNet of the Stable Diffusion family: the host's UNetModel loads the same state dict."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import nn

UNET_CONFIG = {
    "image_size": 32,
    "in_channels": 4,
    "out_channels": 4,
    "model_channels": 64,
    "channel_mult": [1, 2, 3],
    "num_res_blocks": [1, 1, 1],
    "num_head_channels": 32,
    "context_dim": 128,
    "use_spatial_transformer": True,
    "transformer_depth": [1, 1, 1],
    "transformer_depth_middle": 1,
    "transformer_depth_output": [1, 1, 1, 1, 1, 1],
    "use_linear_in_transformer": True,
    "legacy": False,
    "use_checkpoint": False,
}


def timestep_embedding(timesteps: torch.Tensor, width: int) -> torch.Tensor:
    """Cosines then sines of t [N] (may be fractional); [N, width]."""
    half = torch.arange(width // 2, dtype=torch.float32, device=timesteps.device) / (width // 2)
    angles = timesteps[:, None].float() * torch.exp(-math.log(10000) * half)
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


class ResBlock(nn.Module):
    """Two convolutions, the timestep added between them."""

    def __init__(self, channels: int, emb_channels: int, out: int):
        super().__init__()
        self.in_layers = nn.Sequential(nn.GroupNorm(32, channels), nn.SiLU(), nn.Conv2d(channels, out, 3, padding=1))
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(emb_channels, out))
        self.out_layers = nn.Sequential(
            nn.GroupNorm(32, out), nn.SiLU(), nn.Dropout(0), nn.Conv2d(out, out, 3, padding=1)
        )
        self.skip_connection = nn.Identity() if channels == out else nn.Conv2d(channels, out, 1)

    def forward(self, x: torch.Tensor, emb: torch.Tensor) -> torch.Tensor:
        h = self.in_layers(x) + self.emb_layers(emb)[:, :, None, None]
        return self.skip_connection(x) + self.out_layers(h)


class CrossAttention(nn.Module):
    """Tokens [N, T, C] look at context [N, L, D]."""

    def __init__(self, width: int, context_width: int, head: int):
        super().__init__()
        self.heads = width // head
        self.to_q = nn.Linear(width, width, bias=False)
        self.to_k, self.to_v = (nn.Linear(context_width, width, bias=False) for _ in range(2))
        self.to_out = nn.Sequential(nn.Linear(width, width), nn.Dropout(0))

    def forward(self, x: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        q, k, v = (
            t.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for t in (self.to_q(x), self.to_k(context), self.to_v(context))
        )  # [N, heads, tokens, head]
        # Written out: on CPUs the fused kernel's backward costs more than all convolutions together.
        weights = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(dim=-1)
        return self.to_out((weights @ v).transpose(1, 2).flatten(2))


class GEGLU(nn.Module):
    """Linear layer gated by GELU of another."""

    def __init__(self, width: int, inner: int):
        super().__init__()
        self.proj = nn.Linear(width, 2 * inner)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        value, gate = self.proj(x).chunk(2, dim=-1)
        return value * F.gelu(gate)


class FeedForward(nn.Module):
    """GEGLU to four times the width and back."""

    def __init__(self, width: int):
        super().__init__()
        self.net = nn.Sequential(GEGLU(width, 4 * width), nn.Dropout(0), nn.Linear(4 * width, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x)


class BasicTransformerBlock(nn.Module):
    """Self-attention, attention to the text, feed-forward."""

    def __init__(self, width: int, context_width: int, head: int):
        super().__init__()
        self.attn1 = CrossAttention(width, width, head)
        self.ff = FeedForward(width)
        self.attn2 = CrossAttention(width, context_width, head)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))

    def forward(self, x: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        n = self.norm1(x)
        x = x + self.attn1(n, n)
        x = x + self.attn2(self.norm2(x), context)
        return x + self.ff(self.norm3(x))


class SpatialTransformer(nn.Module):
    """A transformer block over the places of a feature map."""

    def __init__(self, channels: int, context_width: int, head: int):
        super().__init__()
        self.norm = nn.GroupNorm(32, channels, eps=1e-6)
        self.proj_in, self.proj_out = nn.Linear(channels, channels), nn.Linear(channels, channels)
        self.transformer_blocks = nn.ModuleList([BasicTransformerBlock(channels, context_width, head)])

    def forward(self, x: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        tokens = self.proj_in(self.norm(x).flatten(2).transpose(1, 2))  # [N, h*w, C]
        tokens = self.proj_out(self.transformer_blocks[0](tokens, context))
        return x + tokens.transpose(1, 2).reshape(x.shape)


class Downsample(nn.Module):
    """Strided convolution."""

    def __init__(self, channels: int):
        super().__init__()
        self.op = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.op(x)


class Upsample(nn.Module):
    """Nearest neighbour to a given size, then a convolution."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: torch.Tensor, size: torch.Size) -> torch.Tensor:
        return self.conv(F.interpolate(x, size=tuple(size), mode="nearest"))


class Stage(nn.Sequential):
    """Layers in a row, each given what it takes."""

    def forward(self, x, emb, context, size=None):
        for layer in self:
            if isinstance(layer, ResBlock):
                x = layer(x, emb)
            elif isinstance(layer, SpatialTransformer):
                x = layer(x, context)
            else:
                x = layer(x, size) if isinstance(layer, Upsample) else layer(x)
        return x


def zero(layers: Iterable[nn.Module]) -> None:
    """What these layers give is 0 until they are trained."""
    for layer in layers:
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)


class Encoder(nn.Module):
    """The half of the UNet that a ControlNet copies: down to the middle, inclusive."""

    def __init__(self, config: dict):
        super().__init__()
        base, mults = config["model_channels"], config["channel_mult"]
        self.base, emb = base, 4 * base
        shape = (config["context_dim"], config["num_head_channels"])
        self.time_embed = nn.Sequential(nn.Linear(base, emb), nn.SiLU(), nn.Linear(emb, emb))
        self.input_blocks = nn.ModuleList([Stage(nn.Conv2d(config["in_channels"], base, 3, padding=1))])
        self.skips = [base]
        for level, mult in enumerate(mults):
            for _ in range(config["num_res_blocks"][level]):
                out = base * mult
                self.input_blocks.append(Stage(ResBlock(self.skips[-1], emb, out), SpatialTransformer(out, *shape)))
                self.skips.append(out)
            if level + 1 < len(mults):
                self.input_blocks.append(Stage(Downsample(out)))
                self.skips.append(out)
        self.middle_block = Stage(ResBlock(out, emb, out), SpatialTransformer(out, *shape), ResBlock(out, emb, out))

    def embed(self, x: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        """What the blocks hear of the timestep: [N, 4 * base] in the type of x."""
        return self.time_embed(timestep_embedding(timesteps, self.base).to(x.dtype))


class UNet(Encoder):
    """eps(x [N, 4, h, w] scaled to unit variance, timesteps [N], context [N, L, D]) -> [N, 4, h, w]."""

    def __init__(self, config: dict = UNET_CONFIG):
        super().__init__(config)
        base, mults, emb = self.base, config["channel_mult"], 4 * self.base
        shape = (config["context_dim"], config["num_head_channels"])
        skips, width = list(self.skips), self.skips[-1]
        self.output_blocks = nn.ModuleList()
        for level in reversed(range(len(mults))):
            blocks = config["num_res_blocks"][level]
            for i in range(blocks + 1):
                out = base * mults[level]
                layers = [ResBlock(width + skips.pop(), emb, out), SpatialTransformer(out, *shape)]
                width = out
                if level and i == blocks:
                    layers.append(Upsample(width))
                self.output_blocks.append(Stage(*layers))
        self.out = nn.Sequential(
            nn.GroupNorm(32, width), nn.SiLU(), nn.Conv2d(width, config["out_channels"], 3, padding=1)
        )
        self._start_as_identity()

    def _start_as_identity(self) -> None:
        """Zero the last layer of every residual branch and of the output, as SD's training does."""
        residual = [m.out_layers[-1] for m in self.modules() if isinstance(m, ResBlock)]
        attention = [m.proj_out for m in self.modules() if isinstance(m, SpatialTransformer)]
        zero([self.out[-1], *residual, *attention])

    def forward(
        self,
        x: torch.Tensor,
        timesteps: torch.Tensor,
        context: torch.Tensor,
        residuals: Sequence[torch.Tensor] | None = None,
    ) -> torch.Tensor:
        """residuals: a ControlNet's, added to each skip connection and, the last one, to the middle."""
        emb = self.embed(x, timesteps)
        h, skips = x, []
        for block in self.input_blocks:
            h = block(h, emb, context)
            skips.append(h)
        h = self.middle_block(h, emb, context)
        if residuals is not None:
            *to_skips, to_middle = residuals
            skips, h = [skip + r for skip, r in zip(skips, to_skips, strict=True)], h + to_middle
        for block in self.output_blocks:
            h = torch.cat([h, skips.pop()], dim=1)
            h = block(h, emb, context, skips[-1].shape[-2:] if skips else None)
        return self.out(h)
