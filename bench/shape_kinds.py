"""The shapes of networks that people use, as the host's own classes take them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Shape:
    """One. family: a class of the host's supported_models. unet, vae: what its networks are made of.

    tokens: (how many, how wide); pooled: width of the pooled text. canvases: (width, height) in px, with windows as
    high as the canvas, in cells of 8 px. cfg: 1 for models whose guidance is distilled.
    """

    title: str
    family: str
    unet: Mapping[str, object]
    dtype: torch.dtype
    vae: Mapping[str, object]
    tokens: tuple[int, int]
    pooled: int
    canvases: tuple[tuple[int, int], ...] = ((3072, 512), (6144, 1024))
    cfg: float = 7.5


UNET = {
    "image_size": 32,
    "in_channels": 4,
    "out_channels": 4,
    "use_spatial_transformer": True,
    "legacy": False,
    "use_temporal_attention": False,
    "use_temporal_resblock": False,
}
SD15_UNET = {
    **UNET,
    "model_channels": 320,
    "num_res_blocks": [2, 2, 2, 2],
    "channel_mult": [1, 2, 4, 4],
    "transformer_depth": [1, 1, 1, 1, 1, 1, 0, 0],
    "transformer_depth_output": [1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0],
    "transformer_depth_middle": 1,
    "context_dim": 768,
    "num_heads": 8,
    "use_linear_in_transformer": False,
}
SDXL_UNET = {
    **UNET,
    "model_channels": 320,
    "num_res_blocks": [2, 2, 2],
    "channel_mult": [1, 2, 4],
    "transformer_depth": [0, 0, 2, 2, 10, 10],
    "transformer_depth_output": [0, 0, 0, 2, 2, 2, 10, 10, 10],
    "transformer_depth_middle": 10,
    "context_dim": 2048,
    "num_head_channels": 64,
    "num_classes": "sequential",
    "adm_in_channels": 2816,
    "use_linear_in_transformer": True,
}
TINY_UNET = {
    **UNET,
    "model_channels": 32,
    "num_res_blocks": [1, 1],
    "channel_mult": [1, 2],
    "transformer_depth": [1, 1],
    "transformer_depth_output": [1, 1, 1, 1],
    "transformer_depth_middle": 1,
    "context_dim": 32,
    "num_head_channels": 16,
}
FLUX = {
    "image_model": "flux",
    "in_channels": 16,
    "out_channels": 16,
    "vec_in_dim": 768,
    "context_in_dim": 4096,
    "hidden_size": 3072,
    "mlp_ratio": 4.0,
    "num_heads": 24,
    "depth": 19,
    "depth_single_blocks": 38,
    "axes_dim": [16, 56, 56],
    "theta": 10000,
    "patch_size": 2,
    "qkv_bias": True,
    "guidance_embed": True,
    "txt_ids_dims": [],
}
VAE = {
    "double_z": True,
    "z_channels": 4,
    "resolution": 256,
    "in_channels": 3,
    "out_ch": 3,
    "ch": 128,
    "ch_mult": [1, 2, 4, 4],
    "num_res_blocks": 2,
    "attn_resolutions": [],
    "dropout": 0.0,
}
TINY_VAE = {**VAE, "ch": 32, "ch_mult": [1, 1, 1, 1], "num_res_blocks": 1}

SHAPES = {
    "sd15": Shape("SD 1.5", "SD15", SD15_UNET, torch.float16, VAE, (77, 768), 768),
    "sdxl": Shape("SDXL", "SDXL", SDXL_UNET, torch.float16, VAE, (77, 2048), 1280),
    "flux": Shape("Flux", "Flux", FLUX, torch.bfloat16, {**VAE, "z_channels": 16}, (256, 4096), 768, cfg=1.0),
    "tiny": Shape("tiny", "SD15", TINY_UNET, torch.float32, TINY_VAE, (8, 32), 32, ((256, 64),)),
}
CUDA_SHAPES = ("sd15", "sdxl", "flux")
"""Those that ``--shapes`` measures unless told; the tiny one is for a processor, to see that the command works."""
