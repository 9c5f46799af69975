"""The embedded demo model as the host's own MODEL, CLIP, VAE and CONTROL_NET."""

import json
from dataclasses import dataclass
from pathlib import Path

import comfy.cldm.cldm
import comfy.controlnet
import comfy.latent_formats
import comfy.model_base
import comfy.model_management
import comfy.model_patcher
import comfy.sd
import comfy.supported_models
import comfy.utils
import torch
from torch import Tensor

from ...demo.controlnet import CONTROL_CONFIG
from ...demo.export import PREFIXES, WEIGHTS
from ...demo.light_decoder import FILE as LIGHT_FILE
from .demo_text import DemoTextModel, DemoTokenizer

FILE = WEIGHTS / "demo_model.safetensors"
CONTROL_FILE = WEIGHTS / "horizon_control.safetensors"
PREDICTIONS = {"eps": comfy.model_base.ModelType.EPS, "v": comfy.model_base.ModelType.V_PREDICTION}


@dataclass(frozen=True)
class _Checkpoint:
    """The file: its JSON metadata, and its tensors in float32 by part."""

    metadata: dict[str, str]
    unet: dict[str, Tensor]
    vae: dict[str, Tensor]
    text: dict[str, Tensor]

    def config(self, name: str) -> dict:
        return json.loads(self.metadata[name])


def load_demo_model() -> tuple[object, object, object, object]:
    """(MODEL, CLIP, VAE, CONTROL_NET) built from the host's UNetModel, CLIP interface, AutoencoderKL, ControlNet."""
    checkpoint = _read()
    return _model(checkpoint), _clip(checkpoint), _vae(checkpoint), _control()


def _load(file: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of one of the pack's files."""
    if not file.exists():
        raise ValueError(f"{file.name} is missing from the pack's demo/weights folder; install the pack again")
    return comfy.utils.load_torch_file(str(file), return_metadata=True)


def _read() -> _Checkpoint:
    tensors, metadata = _load(FILE)
    parts = {
        part: {k.removeprefix(prefix): v.float() for k, v in tensors.items() if k.startswith(prefix)}
        for part, prefix in PREFIXES.items()
    }
    return _Checkpoint(metadata, **parts)


def _model(checkpoint: _Checkpoint) -> object:
    class DemoLatent(comfy.latent_formats.SD15):
        latent_rgb_factors = json.loads(checkpoint.metadata["latent_rgb_factors"])
        latent_rgb_factors_bias = json.loads(checkpoint.metadata["latent_rgb_factors_bias"])
        taesd_decoder_name = None
        light_decoder_file = LIGHT_FILE

    class DemoConfig(comfy.supported_models.SD15):
        latent_format = DemoLatent
        unet_extra_config: dict = {}

    config = DemoConfig({**checkpoint.config("unet_config"), "dtype": torch.float32})
    base = comfy.model_base.BaseModel(config, PREDICTIONS[checkpoint.metadata["prediction"]])
    base.diffusion_model.load_state_dict(checkpoint.unet, strict=True)
    return comfy.model_patcher.ModelPatcher(
        base,
        load_device=comfy.model_management.get_torch_device(),
        offload_device=comfy.model_management.unet_offload_device(),
    )


def _vae(checkpoint: _Checkpoint) -> object:
    params = {
        "ddconfig": checkpoint.config("ddconfig"),
        "decoder_ddconfig": checkpoint.config("decoder_ddconfig"),
        "embed_dim": 4,
    }
    return comfy.sd.VAE(sd=checkpoint.vae, config={"params": params}, dtype=torch.float32)


def _clip(checkpoint: _Checkpoint) -> object:
    vocabulary, text_config = json.loads(checkpoint.metadata["vocab"]), checkpoint.config("text_config")

    class Target:
        params = {"text_config": text_config}
        clip = DemoTextModel

        @staticmethod
        def tokenizer(embedding_directory=None, tokenizer_data=None):
            return DemoTokenizer(vocabulary, text_config["length"])

    return comfy.sd.CLIP(Target, state_dict=[checkpoint.text], model_options={"dtype": torch.float32})


def _control() -> object:
    """What the host's loader makes of the file, without its complaint about widths that it does not know."""
    tensors, _ = _load(CONTROL_FILE)
    device = comfy.model_management.get_torch_device()
    network = comfy.cldm.cldm.ControlNet(**CONTROL_CONFIG, dtype=torch.float32)
    network.load_state_dict(tensors, strict=True)
    return comfy.controlnet.ControlNet(network, load_device=device)
