"""Small random models of many families, from the host's own classes.

SD 1.5, SD 2.1, SD3, Flux, Flux.2 and Wan go through the host's own loader, which reads their widths off the weights;
the others are config subclasses of the host's supported model, because their widths are fixed in its detection.
"""

import comfy.ldm.flux.model
import comfy.ldm.modules.diffusionmodules.mmdit
import comfy.ldm.modules.diffusionmodules.openaimodel
import comfy.ldm.wan.model
import comfy.model_patcher
import comfy.ops
import comfy.sd
import comfy.supported_models
import torch
from small_models import FLUX, configured, randomise

OPS = comfy.ops.disable_weight_init
TEXT = 32
"""Width of the random text tokens, where the host does not fix it."""
V_MARK = "output_blocks.11.1.transformer_blocks.0.norm1.bias"
"""The weight by whose spread the host tells SD 2's v-prediction models."""


@torch.inference_mode()
def loaded(network: torch.nn.Module, seed: int, **marks: torch.Tensor) -> comfy.model_patcher.ModelPatcher:
    """Random weights for the network's shapes, through the host's loader of diffusion models."""
    randomise(network, seed)
    weights = {**network.state_dict(), **marks}
    cpu = torch.device("cpu")
    options = {"dtype": torch.float32, "load_device": cpu, "offload_device": cpu}
    return comfy.sd.load_diffusion_model_state_dict(weights, model_options=options)


UNET = {
    "image_size": 32,
    "in_channels": 4,
    "out_channels": 4,
    "model_channels": 320,
    "num_res_blocks": [1],
    "channel_mult": [1],
    "transformer_depth": [1],
    "transformer_depth_output": [1, 1],
    "transformer_depth_middle": 1,
    "use_spatial_transformer": True,
    "legacy": False,
}


def _unet(seed: int, marks: dict, **config) -> comfy.model_patcher.ModelPatcher:
    network = comfy.ldm.modules.diffusionmodules.openaimodel.UNetModel
    return loaded(network(**UNET, **config, operations=OPS), seed, **marks)


def sd15() -> comfy.model_patcher.ModelPatcher:
    return _unet(10, {}, context_dim=768, num_heads=8)


def sd21() -> comfy.model_patcher.ModelPatcher:
    """A v-prediction model."""
    spread = torch.tensor([-1.0, 1.0])
    return _unet(11, {V_MARK: spread}, context_dim=1024, num_head_channels=64, use_linear_in_transformer=True)


def sdxl() -> comfy.model_patcher.ModelPatcher:
    """Its size conditioning (y) is the real one."""
    widths = {"model_channels": 64, "adm_in_channels": 1280 + 6 * 256, "num_classes": "sequential"}
    config = {**UNET, **widths, "context_dim": TEXT, "num_head_channels": 16}
    return configured(comfy.supported_models.SDXL, config, 23)


def sd3() -> comfy.model_patcher.ModelPatcher:
    network = comfy.ldm.modules.diffusionmodules.mmdit.OpenAISignatureMMDITWrapper(
        input_size=None,
        patch_size=2,
        in_channels=16,
        depth=2,
        adm_in_channels=2048,
        context_embedder_config={"target": "torch.nn.Linear", "params": {"in_features": 4096, "out_features": 128}},
        num_patches=32 * 32,
        pos_embed_max_size=32,
        pos_embed_scaling_factor=None,
        qk_norm="rms",
        operations=OPS,
    )
    network.pos_embed = torch.randn(network.pos_embed.shape, generator=torch.Generator().manual_seed(12))
    return loaded(network, 12)


FLUX2 = {
    **FLUX,
    "in_channels": 128,
    "out_channels": 128,
    "vec_in_dim": None,
    "context_in_dim": TEXT,
    "mlp_ratio": 3.0,
    "axes_dim": [32, 32, 32, 32],
    "theta": 2000,
    "patch_size": 1,
    "qkv_bias": False,
    "txt_ids_dims": [3],
    "global_modulation": True,
    "mlp_silu_act": True,
    "ops_bias": False,
}


def flux() -> comfy.model_patcher.ModelPatcher:
    return loaded(comfy.ldm.flux.model.Flux(**FLUX, operations=OPS), 13)


def flux2() -> comfy.model_patcher.ModelPatcher:
    return loaded(comfy.ldm.flux.model.Flux(**FLUX2, operations=OPS), 14)


LUMINA = {
    "image_model": "lumina2",
    "patch_size": 2,
    "in_channels": 16,
    "dim": 96,
    "cap_feat_dim": TEXT,
    "n_layers": 1,
    "n_refiner_layers": 1,
    "n_heads": 2,
    "n_kv_heads": 1,
    "qk_norm": True,
    "axes_dims": [16, 16, 16],
    "axes_lens": [300, 512, 512],
    "rope_theta": 10000.0,
    "ffn_dim_multiplier": 4.0,
}
Z_IMAGE = {
    **LUMINA,
    "dim": 256,
    "n_heads": 4,
    "n_kv_heads": 4,
    "axes_dims": [16, 24, 24],
    "rope_theta": 256.0,
    "ffn_dim_multiplier": 8.0 / 3.0,
    "z_image_modulation": True,
    "time_scale": 1000.0,
    "pad_tokens_multiple": 32,
}


def lumina2() -> comfy.model_patcher.ModelPatcher:
    return configured(comfy.supported_models.Lumina2, LUMINA, 15)


def z_image() -> comfy.model_patcher.ModelPatcher:
    return configured(comfy.supported_models.ZImage, Z_IMAGE, 16)


def qwen_image() -> comfy.model_patcher.ModelPatcher:
    config = {
        "image_model": "qwen_image",
        "in_channels": 64,
        "num_layers": 1,
        "attention_head_dim": 32,
        "num_attention_heads": 2,
        "joint_attention_dim": TEXT,
        "axes_dims_rope": (8, 12, 12),
    }
    return configured(comfy.supported_models.QwenImage, config, 17)


def wan() -> comfy.model_patcher.ModelPatcher:
    network = comfy.ldm.wan.model.WanModel(
        dim=128, ffn_dim=256, num_heads=1, num_layers=1, in_dim=16, out_dim=16, text_dim=4096, operations=OPS
    )
    return loaded(network, 18)


def hidream_o1() -> comfy.model_patcher.ModelPatcher:
    """A model of pixels, whose noise is eight times as large as usual."""
    text = {
        "hidden_size": 64,
        "intermediate_size": 64,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 32,
        "rope_dims": [6, 5, 5],
    }
    vision = {"hidden_size": 32, "num_heads": 2, "intermediate_size": 32, "depth": 1, "num_position_embeddings": 16}
    config = {"image_model": "hidream_o1", "text_config_overrides": text, "vision_config_overrides": vision}
    return configured(comfy.supported_models.HiDreamO1, config, 19)


def pixeldit() -> comfy.model_patcher.ModelPatcher:
    """A model of pixels whose network changes its activations in place."""
    config = {
        "image_model": "pixeldit_t2i",
        "num_groups": 2,
        "hidden_size": 64,
        "pixel_attn_hidden_size": 64,
        "pixel_num_groups": 2,
        "patch_depth": 1,
        "pixel_depth": 1,
        "txt_embed_dim": TEXT,
    }
    return configured(comfy.supported_models.PixelDiTT2I, config, 20)


def krea2() -> comfy.model_patcher.ModelPatcher:
    """Its text comes as the layers of its encoder, side by side."""
    config = {
        "image_model": "krea2",
        "features": 64,
        "heads": 4,
        "kvheads": 2,
        "layers": 1,
        "txtlayers": 2,
        "txtdim": TEXT // 2,
        "txtheads": 2,
        "txtkvheads": 2,
    }
    return configured(comfy.supported_models.Krea2, config, 25)


def chroma_radiance() -> comfy.model_patcher.ModelPatcher:
    """A model of pixels of Flux's kind."""
    config = {
        **{name: FLUX[name] for name in ("mlp_ratio", "depth", "depth_single_blocks", "theta", "qkv_bias")},
        "image_model": "chroma_radiance",
        "in_channels": 3,
        "out_channels": 3,
        "context_in_dim": TEXT,
        "hidden_size": 64,
        "num_heads": 2,
        "axes_dim": [8, 12, 12],
        "patch_size": 16,
        "in_dim": 64,
        "out_dim": 64,
        "hidden_dim": 64,
        "n_layers": 1,
        "txt_ids_dims": [],
        "vec_in_dim": None,
        "nerf_hidden_size": 16,
        "nerf_mlp_ratio": 2,
        "nerf_depth": 1,
        "nerf_max_freqs": 4,
        "nerf_tile_size": 512,
        "nerf_final_head_type": "conv",
        "nerf_embedder_dtype": torch.float32,
        "use_x0": True,
        "use_sequential_txt_ids": False,
    }
    return configured(comfy.supported_models.ChromaRadiance, config, 26)
