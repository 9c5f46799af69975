"""Text encoder of the demo model: a small pre-norm transformer over words."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from .captions import VOCABULARY
from .tokenizer import LENGTH, SPECIAL

TEXT_CONFIG = {
    "vocabulary_size": len(VOCABULARY) + len(SPECIAL),
    "width": 128,
    "layers": 2,
    "heads": 4,
    "length": LENGTH,
}


class Block(nn.Module):
    """Pre-norm self-attention and MLP, [N, L, D]."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.qkv(self.norm1(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        x = x + self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return x + self.mlp(self.norm2(x))


class TextEncoder(nn.Module):
    """ids [N, L <= length] -> [N, L, width]; padding is a word like any other, as in SD."""

    def __init__(self, config: dict = TEXT_CONFIG):
        super().__init__()
        width = config["width"]
        self.token_embedding = nn.Embedding(config["vocabulary_size"], width)
        self.position_embedding = nn.Parameter(0.02 * torch.randn(config["length"], width))
        self.blocks = nn.ModuleList(Block(width, config["heads"]) for _ in range(config["layers"]))
        self.final_norm = nn.LayerNorm(width)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.token_embedding(ids) + self.position_embedding[: ids.shape[1]]
        for block in self.blocks:
            x = block(x)
        return self.final_norm(x)
