"""Perceptual networks in safetensors files.

A file says what it holds in its metadata: ``format`` syncdiffusion-perceptual, ``net`` (vgg, alex, squeeze:
LPIPS; vgg19-style; scene), ``constant`` C, and for scene nets ``config`` as JSON. A file without metadata is
taken for LPIPS when its tensors have the names and shapes of one of the three trunks.
"""

import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from .lpips_net import LpipsNet, Trunk
from .scene_net import SceneNet
from .style import PAPER_CONSTANT, StyleNet

FORMAT = "syncdiffusion-perceptual"
STYLE = "vgg19-style"
SCENE = "scene"


def load_perceptual(path: Path) -> nn.Module:
    """The network of a file, in float32 and evaluation mode.

    Raises ValueError naming the file when it is not safetensors, not a known network, or does not fit it.
    """
    metadata, weights = _read(path)
    name = metadata.get("net") or _recognise(path, weights)
    network = _build(path, name, metadata)
    try:
        _fill(network, weights)
    except RuntimeError as error:
        raise ValueError(f"{path.name}: its weights do not fit a '{name}' network: {error}") from error
    return network.float().eval().requires_grad_(False)


def save_perceptual(
    path: Path, net: str, weights: dict[str, Tensor], constant: float, config: dict | None = None
) -> None:
    """Write weights with the metadata that ``load_perceptual`` reads; a scene net needs its config."""
    if (net == SCENE) != (config is not None):
        raise ValueError(f"config goes with a '{SCENE}' network and with no other, got {config} for '{net}'")
    metadata = {"format": FORMAT, "net": net, "constant": repr(constant)}
    if config is not None:
        metadata["config"] = json.dumps(config)
    save_file({name: tensor.contiguous().clone() for name, tensor in weights.items()}, path, metadata=metadata)


def _read(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    try:
        with safe_open(path, framework="pt") as file:
            return file.metadata() or {}, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ValueError(
            f"{path.name}: not a readable safetensors file ({error}); pickled .pth files are not loaded, convert "
            "them or let Load Perceptual Model fetch the network"
        ) from error


def _fill(network: nn.Module, weights: dict[str, Tensor]) -> None:
    if isinstance(network, LpipsNet | StyleNet):
        network.load(weights)
    else:
        network.load_state_dict(weights, strict=True)


def _build(path: Path, name: str, metadata: dict[str, str]) -> nn.Module:
    try:
        constant = float(metadata.get("constant", PAPER_CONSTANT if name == STYLE else 1.0))
        if name == STYLE:
            return StyleNet(constant)
        if name == SCENE:
            network = SceneNet(**json.loads(metadata["config"]))
            network.constant = constant
            return network
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path.name}: its metadata makes no sense for a '{name}' network: {error!r}") from error
    if name not in [trunk.value for trunk in Trunk]:
        raise ValueError(f"{path.name}: unknown network '{name}'; known are vgg, alex, squeeze, {STYLE} and {SCENE}")
    return LpipsNet(Trunk(name), constant)


def _recognise(path: Path, weights: dict[str, Tensor]) -> str:
    """The trunk of an LPIPS state dict without metadata."""
    first = tuple(weights.get("net.slice1.0.weight", torch.empty(0)).shape)
    if "net.slice2.3.squeeze.weight" in weights:
        return Trunk.SQUEEZE.value
    kinds: dict[tuple[int, ...], Trunk] = {(64, 3, 3, 3): Trunk.VGG, (64, 3, 11, 11): Trunk.ALEX}
    if "lin0.model.1.weight" in weights and first in kinds:
        return kinds[first].value
    raise ValueError(
        f"{path.name}: not a perceptual network this pack knows; it needs the tensors of an LPIPS model (vgg, alex, "
        f"squeeze) or metadata that names the network"
    )
