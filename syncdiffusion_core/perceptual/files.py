"""Perceptual networks in safetensors files.

A file says what it holds in its metadata: ``format`` syncdiffusion-perceptual, ``net`` (vgg, alex, squeeze:
LPIPS; vgg19-style; scene), ``constant`` C, and for scene nets ``config`` as JSON. A file without metadata is
taken for LPIPS when its tensors have the names and shapes of one of the three trunks.
"""

import json
import math
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from ..weights import WeightsFile, open_weights, write_weights
from .lpips_net import LpipsNet, Trunk
from .scene_net import SceneNet
from .style import PAPER_CONSTANT, StyleNet, own_name

FORMAT = "syncdiffusion-perceptual"
STYLE = "vgg19-style"
SCENE = "scene"
Network = LpipsNet | StyleNet | SceneNet
TRUNKS = tuple(trunk.value for trunk in Trunk)
LEAST, MOST = 1e-9, 1e9
"""Bounds of C. The files that there are have 1 to 5000; far outside, guidance would move nothing or everything."""
PROBE_PX = 32
REMEDY = (
    "pickled .pth files are not loaded: convert them; of a damaged file get a new copy, or delete it and let Load "
    "Perceptual Model fetch the network"
)


def load_perceptual(path: Path, remedy: str = REMEDY) -> nn.Module:
    """The network of a file, in float32 and evaluation mode.

    Raises ValueError naming the file, with the remedy, when it is not safetensors, not a known network, does not fit
    it, or compares no pictures.
    """
    file = _open(path, remedy)
    name = _name(file)
    network = _made(file, name)
    module, rename = _holder(network)
    file.fill(module, f"a '{name}' network", rename)
    network.eval().requires_grad_(False)
    _check_distance(file, network)
    return network


def check_perceptual(path: Path, remedy: str = REMEDY) -> None:
    """Raise the ValueError of ``load_perceptual`` where the header alone tells: some milliseconds, no weights read."""
    file = _open(path, remedy)
    name = _name(file)
    file.number("constant", 1.0, LEAST, MOST)
    if name not in TRUNKS:  # theirs would import torchvision: seconds
        module, rename = _holder(_made(file, name))
        file.check_fit(module, f"a '{name}' network", rename)


def save_perceptual(
    path: Path, net: str, weights: dict[str, Tensor], constant: float, config: dict | None = None
) -> None:
    """Write weights with the metadata that ``load_perceptual`` reads; a scene net needs its config."""
    if (net == SCENE) != (config is not None):
        raise ValueError(f"config goes with a '{SCENE}' network and with no other, got {config} for '{net}'")
    metadata = {"format": FORMAT, "net": net, "constant": repr(constant)}
    if config is not None:
        metadata["config"] = json.dumps(config)
    write_weights(path, weights, metadata)


def _open(path: Path, remedy: str) -> WeightsFile:
    return open_weights(path, "safetensors file", remedy)


def _name(file: WeightsFile) -> str:
    """The network that a file says it is, or that its tensors are."""
    name = file.metadata.get("net") or _recognise(file)
    if name not in (*TRUNKS, STYLE, SCENE):
        raise file.refusal(f"unknown network '{name}'; known are {', '.join(TRUNKS)}, {STYLE} and {SCENE}")
    return name


def _made(file: WeightsFile, name: str) -> Network:
    """The network without its weights: no memory and no time before they are known to fit."""
    constant = file.number("constant", PAPER_CONSTANT if name == STYLE else 1.0, LEAST, MOST)
    with torch.device("meta"):
        if name == STYLE:
            return StyleNet(constant)
        if name in TRUNKS:
            return LpipsNet(Trunk(name), constant)
        network = _scene(file)
    network.constant = constant
    return network


def _scene(file: WeightsFile) -> SceneNet:
    config = file.json("config")
    try:
        return SceneNet(**config)  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        raise file.refusal(f"its metadata makes no sense for a '{SCENE}' network: {error}") from error


def _holder(network: Network) -> tuple[nn.Module, Callable[[str], str]]:
    """The part of a network that files hold, and from their names to its."""
    if isinstance(network, LpipsNet):
        return network.net, str
    return (network.features_, own_name) if isinstance(network, StyleNet) else (network, str)


def _recognise(file: WeightsFile) -> str:
    """The trunk of an LPIPS state dict without metadata."""
    first = file.shapes.get("net.slice1.0.weight")
    if "net.slice2.3.squeeze.weight" in file.shapes:
        return Trunk.SQUEEZE.value
    kinds: dict[tuple[int, ...] | None, Trunk] = {(64, 3, 3, 3): Trunk.VGG, (64, 3, 11, 11): Trunk.ALEX}
    if "lin0.model.1.weight" in file.shapes and first in kinds:
        return kinds[first].value
    raise file.refusal(
        "not a perceptual network this pack knows; it needs the tensors of an LPIPS model (vgg, alex, squeeze) or "
        "metadata that names the network"
    )


@torch.no_grad()
def _check_distance(file: WeightsFile, network: Network) -> None:
    """Raise ValueError for weights that fit and compare nothing: zeros, negative ones, or too large for floats."""
    layers = network.layer_weights if isinstance(network, LpipsNet) else getattr(network, "lin", ())
    if any(bool((layer < 0).any()) for layer in layers):
        raise file.refusal("its weights are damaged: those of the layers must not be negative")
    ramp = torch.linspace(0, 1, PROBE_PX).expand(1, 3, PROBE_PX, PROBE_PX)
    other = torch.rand(1, 3, PROBE_PX, PROBE_PX, generator=torch.Generator().manual_seed(0))
    distance = float(network.distance(network.features(ramp), network.features(other)))
    if not 0 < distance < math.inf:
        raise file.refusal(f"its weights are damaged: two unlike pictures have a distance of {distance:g}")
