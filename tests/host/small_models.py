"""Small random models from the host's own classes: real networks, real sampling, no weights to download."""

import comfy.cldm.cldm
import comfy.controlnet
import comfy.gligen
import comfy.latent_formats
import comfy.model_base
import comfy.model_patcher
import comfy.ops
import comfy.sd
import comfy.supported_models
import comfy.t2i_adapter.adapter
import torch

CONTEXT = 32
UNET = {
    "image_size": 32,
    "in_channels": 4,
    "out_channels": 4,
    "model_channels": 32,
    "num_res_blocks": [1, 1],
    "channel_mult": [1, 2],
    "transformer_depth": [1, 1],
    "transformer_depth_output": [1, 1, 1, 1],
    "transformer_depth_middle": 1,
    "context_dim": CONTEXT,
    "use_spatial_transformer": True,
    "num_head_channels": 16,
    "legacy": False,
    "dtype": torch.float32,
}
FLUX = {
    "in_channels": 16,
    "out_channels": 16,
    "vec_in_dim": 768,
    "context_in_dim": 4096,
    "hidden_size": 128,
    "mlp_ratio": 4.0,
    "num_heads": 1,
    "depth": 1,
    "depth_single_blocks": 1,
    "axes_dim": [16, 56, 56],
    "theta": 10000,
    "patch_size": 2,
    "qkv_bias": True,
    "guidance_embed": True,
    "txt_ids_dims": [],
}
VAE_CONFIG = {
    "double_z": True,
    "z_channels": 4,
    "resolution": 32,
    "in_channels": 3,
    "out_ch": 3,
    "ch": 32,
    "ch_mult": [1, 1, 1, 1],
    "num_res_blocks": 1,
    "attn_resolutions": [],
    "dropout": 0.0,
}


def randomise(module: torch.nn.Module, seed: int) -> None:
    """Fill the weights that the host's operations leave uninitialised; scaled so that outputs stay near 1."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        values = torch.randn(parameter.shape, generator=generator)
        fan_in = parameter[0].numel() if parameter.ndim > 1 else 1
        parameter.data = values * 0.1 + 1 if parameter.ndim == 1 else values / fan_in**0.5
    for name, parameter in module.named_parameters():
        if name.endswith("bias"):
            parameter.data = parameter.data * 0


@torch.inference_mode()
def unet_model(model_type: comfy.model_base.ModelType, seed: int = 0, **unet) -> comfy.model_patcher.ModelPatcher:
    """A UNet of the SD family; weights are inference tensors, as the host's loaders leave them."""

    class Config(comfy.supported_models.SD15):
        unet_extra_config: dict = {}

    base = comfy.model_base.BaseModel(Config({**UNET, **unet}), model_type)
    randomise(base.diffusion_model, seed)
    return patcher(base)


@torch.inference_mode()
def configured(supported: type, unet_config: dict, seed: int) -> comfy.model_patcher.ModelPatcher:
    """A small network in the host's own model class, by a config of its own."""

    class Config(supported):
        unet_extra_config: dict = {}

    config = Config({"dtype": torch.float32, **unet_config})
    base = config.get_model({})
    randomise(base.diffusion_model, seed)
    return patcher(base)


def sdxl_model(seed: int = 0) -> comfy.model_patcher.ModelPatcher:
    """A small SDXL: its size conditioning (y) is the real one."""
    sizes = {"adm_in_channels": 1280 + 6 * 256, "num_classes": "sequential"}
    return configured(comfy.supported_models.SDXL, {**UNET, **sizes}, seed)


@torch.inference_mode()
def unclip_model(seed: int = 0) -> comfy.model_patcher.ModelPatcher:
    """A small unCLIP model: it is told a picture's embedding of 32 numbers, with noise, beside the text."""

    class Config(comfy.supported_models.SD21UnclipL):
        unet_extra_config: dict = {}

    noise = {**Config.noise_aug_config, "timestep_dim": CONTEXT}
    config = Config({**UNET, "adm_in_channels": 2 * CONTEXT, "num_classes": "sequential"})
    base = comfy.model_base.SD21UNCLIP(config, noise, comfy.model_base.ModelType.EPS)
    randomise(base.diffusion_model, seed)
    return patcher(base)


def flux_model(seed: int = 0) -> comfy.model_patcher.ModelPatcher:
    """A small Flux: a transformer of text and patches of 2x2 cells."""
    config = {"image_model": "flux", **FLUX, "vec_in_dim": 1280, "context_in_dim": CONTEXT}
    return configured(comfy.supported_models.Flux, config, seed)


def wan_model(seed: int = 0, in_dim: int = 16) -> comfy.model_patcher.ModelPatcher:
    """A small Wan: latents with a time axis; with 36 input channels, one that is given a picture and its mask."""
    sizes = {"dim": 128, "ffn_dim": 128, "num_heads": 1, "num_layers": 1, "text_dim": CONTEXT}
    config = {"image_model": "wan2.1", "model_type": "t2v", "in_dim": in_dim, "out_dim": 16}
    return configured(comfy.supported_models.WAN21_T2V, {**config, **sizes}, seed)


def patcher(base: torch.nn.Module) -> comfy.model_patcher.ModelPatcher:
    """As the host wraps a loaded model."""
    cpu = torch.device("cpu")
    return comfy.model_patcher.ModelPatcher(base, load_device=cpu, offload_device=cpu)


@torch.inference_mode()
def small_vae(seed: int = 1) -> comfy.sd.VAE:
    """A small AutoencoderKL of SD's kind, with random weights."""
    source = comfy.ldm.models.autoencoder.AutoencoderKL(ddconfig=VAE_CONFIG, embed_dim=4)
    randomise(source, seed)
    params = {"ddconfig": VAE_CONFIG, "embed_dim": 4}
    return comfy.sd.VAE(sd=source.state_dict(), config={"params": params}, dtype=torch.float32)


def conditioning(seed: int, **options) -> list:
    """CONDITIONING of random tokens."""
    generator = torch.Generator().manual_seed(seed)
    pooled = torch.randn(1, 1280, generator=generator)
    return [[torch.randn(1, 8, CONTEXT, generator=generator), {"pooled_output": pooled, **options}]]


class Clip:
    """In the place of a text encoder: random tokens, the same for texts of one length; keeps what it was asked for."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def tokenize(self, text: str) -> str:
        self.texts.append(text)
        return text

    def encode_from_tokens_scheduled(self, tokens: str) -> list:
        return conditioning(len(tokens))

    def encode_from_tokens(self, tokens: str, return_pooled: object = False) -> tuple[torch.Tensor, torch.Tensor]:
        embeds = conditioning(len(tokens))[0][0]
        return embeds, embeds.mean(dim=1)


def empty_latent(width_px: int, height_px: int, batch: int = 1) -> dict:
    """As EmptyLatentImage makes it."""
    return {"samples": torch.zeros(batch, 4, height_px // 8, width_px // 8), "downscale_ratio_spacial": 8}


@torch.inference_mode()
def gligen(seed: int = 6) -> comfy.model_patcher.ModelPatcher:
    """A GLIGEN with random weights for the small UNet: a fuser for each of its transformer blocks, in their order."""
    width, heads = UNET["model_channels"], UNET["num_head_channels"]
    dims = [width * factor for factor in (1, 2, 2, 2, 2, 1, 1)]  # input, middle, output blocks
    fusers = [comfy.gligen.GatedSelfAttentionDense(dim, CONTEXT, dim // heads, heads) for dim in dims]
    network = comfy.gligen.Gligen(fusers, comfy.gligen.PositionNet(CONTEXT, CONTEXT), CONTEXT)
    randomise(network, seed)
    return patcher(network)


class SeesHint(torch.nn.Module):
    """A control network of few lines: its hint, pooled and convolved, is added in the middle of the UNet."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(channels, 64, 3, padding=1)
        self.dtype = torch.float32

    def forward(self, x, hint, timesteps, context, **kwargs):
        size = (x.shape[-2] // 2, x.shape[-1] // 2)
        return {
            "middle": [
                self.conv(torch.nn.functional.adaptive_avg_pool2d(hint, size)) + x.mean(dim=(1, 2, 3), keepdim=True)
            ]
        }


@torch.inference_mode()
def control_net(kind: str = "plain", seed: int = 4) -> comfy.controlnet.ControlBase:
    """A CONTROL_NET with random weights; kind: plain (SD's own network), light, vae, concat or t2i."""
    cpu = torch.device("cpu")
    if kind == "t2i":
        adapter = comfy.t2i_adapter.adapter.Adapter(
            cin=3 * 64, channels=[32, 64, 64, 64], nums_rb=1, ksize=1, sk=True, use_conv=False, xl=False
        )
        randomise(adapter, seed)
        return comfy.controlnet.T2IAdapter(adapter, 3, 8, "nearest-exact", device=cpu)
    if kind == "plain":
        network = _control_network(hint_channels=3)
    else:
        network = SeesHint({"light": 3, "vae": 4, "concat": 5}[kind])
    randomise(network, seed)
    options = (
        {"latent_format": comfy.latent_formats.SD15(), "compression_ratio": 1} if kind in ("vae", "concat") else {}
    )
    return comfy.controlnet.ControlNet(network, load_device=cpu, concat_mask=kind == "concat", **options)


@torch.inference_mode()
def control_lora(seed: int = 4) -> comfy.controlnet.ControlLora:
    """A Control-LoRA for the small UNet: hint network and zero convolutions of its own, a low rank on one weight."""
    network = _control_network(hint_channels=3)
    randomise(network, seed)
    own = ("input_hint_block.", "zero_convs.", "middle_block_out.")
    weights = {name: weight for name, weight in network.state_dict().items() if name.startswith(own)}
    generator = torch.Generator().manual_seed(seed)
    name = "middle_block.1.proj_in"
    channels = network.state_dict()[f"{name}.weight"].shape[0]
    weights |= {
        f"{name}.up": 0.1 * torch.randn(channels, 4, 1, 1, generator=generator),
        f"{name}.down": 0.1 * torch.randn(4, channels, 1, 1, generator=generator),
    }
    return comfy.controlnet.ControlLora(weights)


@torch.inference_mode()
def union_model(seed: int = 4) -> tuple[comfy.model_patcher.ModelPatcher, comfy.controlnet.ControlNet]:
    """A flat UNet of the width that the host's union networks are made for, and such a network for it."""
    flat = {
        "model_channels": 320,
        "num_res_blocks": [1],
        "channel_mult": [1],
        "transformer_depth": [0],
        "transformer_depth_output": [0, 0],
        "transformer_depth_middle": -1,
    }
    model = unet_model(comfy.model_base.ModelType.EPS, seed, **flat)
    network = _control_network(hint_channels=3, union_controlnet_num_control_type=6, **flat)
    randomise(network, seed)
    return model, comfy.controlnet.ControlNet(network, load_device=torch.device("cpu"))


def _control_network(**config) -> comfy.cldm.cldm.ControlNet:
    """SD's own control network over the small UNet."""
    config = {
        key: value
        for key, value in {**UNET, **config}.items()
        if key not in ("out_channels", "transformer_depth_output")
    }
    return comfy.cldm.cldm.ControlNet(operations=comfy.ops.disable_weight_init, **config)
