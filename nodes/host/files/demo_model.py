"""The embedded demo model as the host's own MODEL, CLIP, VAE and CONTROL_NET."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import comfy.cldm.cldm
import comfy.controlnet
import comfy.latent_formats
import comfy.model_base
import comfy.model_management
import comfy.model_patcher
import comfy.sd
import comfy.supported_models
import torch
from torch import Tensor

from ....demo.around import AROUND
from ....demo.checkpoint import check_checkpoint
from ....demo.controlnet import CONTROL_CONFIG
from ....demo.export import PREFIXES, REMEDY, WEIGHTS
from ....demo.light_decoder import FILE as LIGHT_FILE
from ....demo.light_encoder import FILE as LIGHT_ENCODER_FILE
from ....demo.low_rank import World
from ....demo.vae import SCALE_FACTOR
from ....syncdiffusion_core.weights import WeightsFile, open_weights
from .demo_text import DemoTextModel, DemoTokenizer

FILE = WEIGHTS / "demo_model.safetensors"
CONTROL_FILE = WEIGHTS / "horizon_control.safetensors"
AROUND_FILE = AROUND.file
NATIVE_PX = 128
"""Side of the pictures that the model was trained on."""
PREDICTIONS = {"eps": comfy.model_base.ModelType.EPS, "v": comfy.model_base.ModelType.V_PREDICTION}


@dataclass(frozen=True)
class _Checkpoint:
    """The file: its JSON metadata, and its tensors in float32 by part."""

    metadata: dict[str, str]
    unet: dict[str, Tensor]
    vae: dict[str, Tensor]
    text: dict[str, Tensor]

    def config(self, name: str) -> Any:
        return json.loads(self.metadata[name])


Loaded = tuple[object, object, object]
"""(MODEL, CLIP, VAE) built from the host's UNetModel, CLIP interface, AutoencoderKL."""


def load_demo_model() -> Loaded:
    """The model of landscapes. Raises ValueError naming the pack's file where one is missing or damaged."""
    return _made(_read())


def load_demo_around() -> Loaded:
    """The model that looks up and down, too. Raises ValueError as ``load_demo_model`` does."""
    return _made(_changed(_read(), AROUND, AROUND_FILE))


def open_demo_file(file: Path) -> WeightsFile:
    """The header of one of the pack's files."""
    return open_weights(file, "safetensors file", REMEDY)


def _read() -> _Checkpoint:
    file = open_demo_file(FILE)
    check_checkpoint(file)
    tensors = file.tensors()
    parts = {
        part: {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
        for part, prefix in PREFIXES.items()
    }
    return _Checkpoint(file.metadata, **parts)


def _changed(landscapes: _Checkpoint, world: World, file: Path) -> _Checkpoint:
    unet, text = world.changed(landscapes.unet, open_demo_file(file))
    metadata = {"vocab": json.dumps(list(world.vocabulary)), "text_config": json.dumps(world.text_config)}
    return replace(landscapes, metadata={**landscapes.metadata, **metadata}, unet=unet, text=text)


def _made(checkpoint: _Checkpoint) -> Loaded:
    return _model(checkpoint), _clip(checkpoint), _vae(checkpoint)


def _model(checkpoint: _Checkpoint) -> object:
    class DemoLatent(comfy.latent_formats.SD15):
        light_decoder_file, light_encoder_file = LIGHT_FILE, LIGHT_ENCODER_FILE

        def __init__(self) -> None:
            super().__init__(SCALE_FACTOR)  # which sets what is SD 1.5's on the instance: ours has to come after it
            self.latent_rgb_factors = checkpoint.config("latent_rgb_factors")
            self.latent_rgb_factors_bias = checkpoint.config("latent_rgb_factors_bias")
            self.native_px = NATIVE_PX
            self.taesd_decoder_name = None  # the host then previews by the factors, whatever method is chosen

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


def load_demo_control() -> object:
    """The CONTROL_NET of the skyline. Raises ValueError naming the file where it is missing or damaged."""
    return _control(CONTROL_FILE)


def _control(file: Path) -> object:
    """What the host's loader makes of a file, without the complaint about widths unknown to it."""
    device = comfy.model_management.get_torch_device()
    network = comfy.cldm.cldm.ControlNet(**CONTROL_CONFIG, dtype=torch.float32)
    open_demo_file(file).fill(network, "the demo's ControlNet")
    return comfy.controlnet.ControlNet(network, load_device=device)
