"""Random models of given shapes as nodes of the host; import it where the host is loaded already."""

from __future__ import annotations

import comfy.ldm.models.autoencoder
import comfy.memory_management
import comfy.model_management
import comfy.model_patcher
import comfy.sd
import comfy.supported_models
import torch

import nodes
from bench.shape_kinds import SHAPES, Shape

SOURCE, SINK = "SyncDiffusionBenchShape", "SyncDiffusionBenchSink"


def register() -> None:
    """Make the two nodes known to this process's host."""
    nodes.NODE_CLASS_MAPPINGS.update({SOURCE: ShapeSource, SINK: ShapeSink})


class ShapeSource:
    """A shape's name -> MODEL, two CONDITIONINGs of random tokens, VAE, all of random weights."""

    RETURN_TYPES = ("MODEL", "CONDITIONING", "CONDITIONING", "VAE")
    FUNCTION = "make"
    CATEGORY = "bench"

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {"required": {"name": (list(SHAPES),)}}

    def make(self, name: str) -> tuple:
        shape = SHAPES[name]
        return model_of(shape), tokens_of(shape, 1), tokens_of(shape, 2), vae_of(shape)


class ShapeSink:
    """Takes a LATENT and shows nothing: a graph's end that costs nothing."""

    RETURN_TYPES = ()
    FUNCTION = "take"
    CATEGORY = "bench"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {"required": {"latent": ("LATENT",)}}

    def take(self, latent: dict) -> dict:
        if not torch.isfinite(latent["samples"]).all():
            raise RuntimeError("the shape's random weights overflow; its times would be those of nothing")
        return {"ui": {}}


def model_of(shape: Shape) -> object:
    """A MODEL of the host's own class, its weights where the host would put them: streamed ones start on the CPU."""

    class Config(getattr(comfy.supported_models, shape.family)):
        unet_extra_config: dict = {}

    device = comfy.model_management.get_torch_device()
    offload = comfy.model_management.unet_offload_device()
    config = Config({**shape.unet, "dtype": shape.dtype})
    base = config.get_model({}, device=offload if comfy.memory_management.aimdo_enabled else device)
    randomise(base.diffusion_model)
    return comfy.model_patcher.CoreModelPatcher(base, load_device=device, offload_device=offload)


def vae_of(shape: Shape) -> object:
    """A VAE of the host's own AutoencoderKL, in the type that the host chooses."""
    params = {"ddconfig": shape.vae, "embed_dim": shape.vae["z_channels"]}
    source = comfy.ldm.models.autoencoder.AutoencoderKL(**params)
    randomise(source)
    vae = comfy.sd.VAE(sd=source.state_dict(), config={"params": params})
    vae.latent_channels = shape.vae["z_channels"]
    return vae


def tokens_of(shape: Shape, seed: int) -> list:
    """CONDITIONING of random tokens."""
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randn(1, *shape.tokens, generator=generator)
    return [[tokens, {"pooled_output": torch.randn(1, shape.pooled, generator=generator)}]]


@torch.no_grad()
def randomise(module: torch.nn.Module) -> None:
    """Fill what the host's operations leave uninitialised, scaled so that half precision does not overflow."""
    for name, weight in module.named_parameters():
        if weight.ndim > 1:
            weight.normal_(0, 0.5 / weight[0].numel() ** 0.5)
        else:
            weight.fill_(0.0 if name.endswith("bias") else 1.0)
