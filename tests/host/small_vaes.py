"""Small random VAEs of many families, through the host's own detection."""

from pathlib import Path

import comfy.ldm.modules.diffusionmodules.model
import comfy.ldm.wan.vae
import comfy.sd
import torch
from comfy.taesd.taesd import TAESD
from safetensors.torch import save_file
from small_models import randomise

DECODER = {
    "double_z": True,
    "resolution": 256,
    "in_channels": 3,
    "out_ch": 3,
    "ch": 32,
    "ch_mult": [1, 2, 4, 4],
    "num_res_blocks": 2,
    "attn_resolutions": [],
    "dropout": 0.0,
}


@torch.inference_mode()
def kl_vae(channels: int, batch_norm: bool = False) -> comfy.sd.VAE:
    """An AutoencoderKL of the host's detection, with a small decoder; batch_norm: as Flux.2's."""
    decoder = comfy.ldm.modules.diffusionmodules.model.Decoder(**DECODER, z_channels=channels)
    randomise(decoder, 21)
    weights = {f"decoder.{name}": tensor for name, tensor in decoder.state_dict().items()}
    if batch_norm:
        weights |= {"bn.running_mean": torch.zeros(4 * channels), "bn.running_var": torch.ones(4 * channels)}
        weights["post_quant_conv.weight"] = torch.eye(channels)[:, :, None, None]
        weights["post_quant_conv.bias"] = torch.zeros(channels)
    return comfy.sd.VAE(sd=weights, dtype=torch.float32)


@torch.inference_mode()
def wan_vae() -> comfy.sd.VAE:
    """A VAE of moving pictures, which decodes one frame of them too."""
    network = comfy.ldm.wan.vae.WanVAE(
        dim=8, z_dim=16, dim_mult=[1, 2, 4, 4], num_res_blocks=2, temperal_downsample=[False, True, True]
    )
    randomise(network, 22)
    return comfy.sd.VAE(sd=network.state_dict(), dtype=torch.float32)


def pixel_vae() -> comfy.sd.VAE:
    """What the host gives models of pixels in the place of a VAE."""
    return comfy.sd.VAE(sd={"pixel_space_vae": torch.tensor(1.0)}, dtype=torch.float32)


def flux2_vae() -> comfy.sd.VAE:
    return kl_vae(32, batch_norm=True)


def kl_vae_4() -> comfy.sd.VAE:
    return kl_vae(4)


def kl_vae_16() -> comfy.sd.VAE:
    return kl_vae(16)


@torch.inference_mode()
def put_taesd(folder: Path, name: str, channels: int) -> Path:
    """A random TAESD encoder or decoder, by its name, as its authors' files are: that half's own names."""
    network = TAESD(latent_channels=channels)
    randomise(network, 31)
    half = network.taesd_encoder if name.endswith("encoder") else network.taesd_decoder
    save_file({k: v.clone().contiguous() for k, v in half.state_dict().items()}, folder / f"{name}.safetensors")
    return folder / f"{name}.safetensors"
