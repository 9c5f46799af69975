"""Where perceptual networks come from: the pack, ComfyUI's models/perceptual, or a download the user asked for."""

import hashlib
import os
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import comfy.model_management
import comfy.utils
import folder_paths
import torch
from torch import Tensor, nn

from ...syncdiffusion_core.perceptual.files import STYLE, load_perceptual, save_perceptual
from ...syncdiffusion_core.perceptual.lpips_net import LpipsNet, Trunk
from ...syncdiffusion_core.perceptual.style import PAPER_CONSTANT, SceneStyle, StyleNet

FOLDER = "perceptual"
SPECTRA = "spectra"
"""The folder inside it whose files are spectra, no networks."""
BUILT_IN = "scene (built in)"
BUILT_IN_STYLE = "scene style (built in)"
BUILT_IN_FILE = Path(__file__).parents[2] / "demo" / "weights" / "scene_perceptual.safetensors"
BUILT_IN_STYLE_CONSTANT = 500.0
"""C of the same network's Gram matrices: over the guided steps its gradients are then as large as the distance's."""
CHUNK = 1 << 20
TIMEOUT_S = 30


@dataclass(frozen=True)
class Download:
    """A network that can be fetched. sha256: the trunk file's digest, or as much of it as its publisher states."""

    file: str
    net: str
    url: str
    sha256: str
    megabytes: int


_TORCHVISION = "https://download.pytorch.org/models/"
DOWNLOADS = {
    "download LPIPS vgg (528 MB)": Download(
        "lpips_vgg.safetensors",
        Trunk.VGG.value,
        _TORCHVISION + "vgg16-397923af.pth",
        "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
        528,
    ),
    "download LPIPS alex (233 MB)": Download(
        "lpips_alex.safetensors",
        Trunk.ALEX.value,
        _TORCHVISION + "alexnet-owt-7be5be79.pth",
        "7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02",
        233,
    ),
    "download LPIPS squeeze (5 MB)": Download(
        "lpips_squeeze.safetensors",
        Trunk.SQUEEZE.value,
        _TORCHVISION + "squeezenet1_1-b8a52dc0.pth",
        "b8a52dc049b60e4b6ab68ad0df457362afab8b6304b2febdc1650a5dab4d7e7b",
        5,
    ),
    "download style VGG19 (548 MB)": Download(
        "style_vgg19.safetensors", STYLE, _TORCHVISION + "vgg19-dcbb9e9d.pth", "dcbb9e9d", 548
    ),
}


def choices() -> list[str]:
    """What the loader offers: the built-in network in both forms, the user's files, and every download.

    A download that was made stays in the list, and stands for its file: workflows saved with it remain valid.
    """
    files = [name for name in folder_paths.get_filename_list(FOLDER) if Path(name).parts[0] != SPECTRA]
    return [BUILT_IN, BUILT_IN_STYLE, *files, *DOWNLOADS]


def load(choice: str) -> nn.Module:
    """The network of a choice, fetched first if it is a download."""
    network = load_perceptual(resolve(choice))
    return SceneStyle(network, BUILT_IN_STYLE_CONSTANT) if choice == BUILT_IN_STYLE else network


def resolve(choice: str) -> Path:
    """The safetensors file of a choice, fetched first if it is a download."""
    if choice in (BUILT_IN, BUILT_IN_STYLE):
        return BUILT_IN_FILE
    if choice in DOWNLOADS:
        download = DOWNLOADS[choice]
        present = folder_paths.get_full_path(FOLDER, download.file)
        return Path(present) if present else fetch(download, Path(folder_paths.get_folder_paths(FOLDER)[0]))
    path = folder_paths.get_full_path(FOLDER, choice)
    if path is None:
        raise ValueError(
            f"perceptual_name: '{choice}' is not in models/{FOLDER} any more; choose another, or '{BUILT_IN}'"
        )
    return Path(path)


def fetch(download: Download, folder: Path) -> Path:
    """Download a trunk with progress, check its hash, convert it to safetensors; nothing is left on failure."""
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / download.file
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        pickled = Path(scratch) / "trunk.pth"
        _download(download, pickled)
        # weights_only after the hash: the file is what its publisher made, and still nothing in it is executed.
        trunk = torch.load(pickled, map_location="cpu", weights_only=True)
        converted = Path(scratch) / download.file
        save_perceptual(converted, download.net, *_converted(download.net, trunk))
        os.replace(converted, target)
    return target


def _download(download: Download, target: Path) -> None:
    digest, bar = hashlib.sha256(), comfy.utils.ProgressBar(download.megabytes)
    try:
        with urllib.request.urlopen(download.url, timeout=TIMEOUT_S) as response, target.open("wb") as file:
            for count, chunk in enumerate(_chunks(response.read), start=1):
                comfy.model_management.throw_exception_if_processing_interrupted()
                digest.update(chunk)
                file.write(chunk)
                bar.update_absolute(min(count, download.megabytes))
    except (urllib.error.URLError, TimeoutError) as error:
        raise ValueError(
            f"perceptual_name: {download.url} could not be fetched ({error}); check the connection, or put "
            f"{download.file} into models/{FOLDER}"
        ) from error
    if not digest.hexdigest().startswith(download.sha256):
        raise ValueError(
            f"perceptual_name: what came from {download.url} is not the published file (SHA-256 "
            f"{digest.hexdigest()}, expected {download.sha256}); nothing was kept, try again"
        )


def _chunks(read: Callable[[int], bytes]) -> Iterator[bytes]:
    while chunk := read(CHUNK):
        yield chunk


def _converted(net: str, trunk: dict[str, Tensor]) -> tuple[dict[str, Tensor], float]:
    """(state dict, constant) of the perceptual network on torchvision's trunk."""
    if net == STYLE:
        wanted = StyleNet().features_.state_dict()
        return {f"features.{name}": trunk[f"features.{name}"] for name in wanted}, PAPER_CONSTANT
    import lpips

    network = LpipsNet(Trunk(net)).net
    heads = Path(lpips.__file__).parent / "weights" / "v0.1" / f"{net}.pth"
    network.load_state_dict(torch.load(heads, map_location="cpu", weights_only=True), strict=False)
    own = network.net.state_dict()  # "slice2.5.weight": the trunk's layer index is its second part
    network.net.load_state_dict({name: trunk["features." + name.split(".", 1)[1]] for name in own}, strict=True)
    return network.state_dict(), 1.0
