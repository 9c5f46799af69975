"""Small random models and VAEs of several families; import it where the host is loaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import comfy.ldm.models.autoencoder
import comfy.ldm.wan.vae
import comfy.model_base
import comfy.model_patcher
import comfy.sd
import comfy.supported_models
import torch

from bench.shape_kinds import FLUX, TINY_UNET, TINY_VAE
from bench.shape_nodes import randomise

TOKENS = 32
"""Width of the random texts."""
POOLED = 1280
SEED = 7


@dataclass(frozen=True)
class Family:
    """make: its model. channels, frames (whether latents have a time axis), cell_px: of its latents. vae: its own."""

    make: Callable[[], comfy.model_patcher.ModelPatcher]
    channels: int = 4
    frames: bool = False
    cell_px: int = 8
    vae: str = "kl4"


def _unet(kind: str) -> Callable[[], comfy.model_patcher.ModelPatcher]:
    def make() -> comfy.model_patcher.ModelPatcher:
        class Config(comfy.supported_models.SD15):
            unet_extra_config: dict = {}

        config = Config({**TINY_UNET, "dtype": torch.float32})
        return _patcher(comfy.model_base.BaseModel(config, comfy.model_base.ModelType[kind]))

    return make


def _configured(supported: str, unet: Mapping[str, object]) -> Callable[[], comfy.model_patcher.ModelPatcher]:
    def make() -> comfy.model_patcher.ModelPatcher:
        class Config(getattr(comfy.supported_models, supported)):
            unet_extra_config: dict = {}

        return _patcher(Config({**unet, "dtype": torch.float32}).get_model({}))

    return make


def _patcher(base: comfy.model_base.BaseModel) -> comfy.model_patcher.ModelPatcher:
    randomise(base.diffusion_model)
    cpu = torch.device("cpu")
    return comfy.model_patcher.ModelPatcher(base, load_device=cpu, offload_device=cpu)


SDXL = {**TINY_UNET, "adm_in_channels": POOLED + 6 * 256, "num_classes": "sequential"}
SMALL_FLUX = {
    **FLUX,
    "vec_in_dim": POOLED,
    "context_in_dim": TOKENS,
    "hidden_size": 128,
    "num_heads": 1,
    "depth": 1,
    "depth_single_blocks": 1,
}
WAN = {
    "image_model": "wan2.1",
    "model_type": "t2v",
    "in_dim": 16,
    "out_dim": 16,
    "dim": 128,
    "ffn_dim": 128,
    "num_heads": 1,
    "num_layers": 1,
    "text_dim": TOKENS,
}
RADIANCE = {
    **{name: SMALL_FLUX[name] for name in ("mlp_ratio", "depth", "depth_single_blocks", "theta", "qkv_bias")},
    "image_model": "chroma_radiance",
    "in_channels": 3,
    "out_channels": 3,
    "context_in_dim": TOKENS,
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
FAMILIES = {
    "eps": Family(_unet("EPS")),
    "v": Family(_unet("V_PREDICTION")),
    "flow": Family(_unet("FLOW")),
    "SDXL": Family(_configured("SDXL", SDXL)),
    "Flux": Family(_configured("Flux", SMALL_FLUX), channels=16, vae="kl16"),
    "Wan": Family(_configured("WAN21_T2V", WAN), channels=16, frames=True, vae="wan"),
    "pixels": Family(_configured("ChromaRadiance", RADIANCE), channels=3, cell_px=1, vae="pixels"),
}
VAES = ("kl4", "kl16", "wan", "pixels", "none")
"""What vae_of makes; none is what a checkpoint without a VAE gives."""


def model_of(name: str) -> comfy.model_patcher.ModelPatcher:
    """The small model of a family, its weights inference tensors as the host's loaders leave them."""
    with torch.inference_mode(), torch.random.fork_rng():
        torch.manual_seed(SEED)
        return FAMILIES[name].make()


def vae_of(name: str) -> comfy.sd.VAE | None:
    """One of VAES."""
    if name == "none":
        return None
    if name == "pixels":
        return comfy.sd.VAE(sd={"pixel_space_vae": torch.tensor(1.0)}, dtype=torch.float32)
    if name == "wan":
        return _moving_pictures()
    channels = int(name.removeprefix("kl"))
    params = {"ddconfig": {**TINY_VAE, "z_channels": channels}, "embed_dim": channels}
    with torch.inference_mode(), torch.random.fork_rng():
        torch.manual_seed(SEED)
        network = comfy.ldm.models.autoencoder.AutoencoderKL(**params)
        randomise(network)
        vae = comfy.sd.VAE(sd=network.state_dict(), config={"params": params}, dtype=torch.float32)
    vae.latent_channels = channels  # the host reads it off weights' names that so small a network lacks
    return vae


def _moving_pictures() -> comfy.sd.VAE:
    """A VAE of frames in time."""
    with torch.inference_mode(), torch.random.fork_rng():
        torch.manual_seed(SEED)
        sizes = {"dim": 8, "z_dim": 16, "dim_mult": [1, 2, 4, 4], "num_res_blocks": 2}
        network = comfy.ldm.wan.vae.WanVAE(**sizes, temperal_downsample=[False, True, True])
        randomise(network)
        return comfy.sd.VAE(sd=network.state_dict(), dtype=torch.float32)
