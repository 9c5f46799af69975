"""Downloads that the user asked for: fetched, checked, converted, and nothing left of one that broke off."""

import hashlib
import http.client
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import comfy.model_management
import comfy.utils
import torch
from torch import Tensor

from ....syncdiffusion_core.perceptual.files import STYLE, save_perceptual
from ....syncdiffusion_core.perceptual.lpips_net import LpipsNet, Trunk, lpips_package
from ....syncdiffusion_core.perceptual.style import PAPER_CONSTANT, StyleNet
from ....syncdiffusion_core.weights import PART

FOLDER = "perceptual"
CHUNK = 1 << 20
TIMEOUT_S = 30
STALE_S = 600.0
"""What has not been written to for so long belongs to no living process: reading gives up after TIMEOUT_S."""


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


def fetch(download: Download, folder: Path) -> Path:
    """Download a trunk with progress, check its hash, convert it to safetensors; nothing is left on failure.

    The download has no name in the folder: it goes with the process, however that ends.
    """
    target, heads = folder / download.file, _heads(download.net)
    with _told(download, folder):
        folder.mkdir(parents=True, exist_ok=True)
        sweep(folder)
        with tempfile.TemporaryFile(dir=folder) as pickled:
            _download(download, pickled)
            pickled.seek(0)
            # weights_only after the hash: the file is what its publisher made, and still nothing in it is executed.
            trunk = torch.load(pickled, map_location="cpu", weights_only=True)
            save_perceptual(target, download.net, *_converted(download.net, trunk, heads))
    return target


def sweep(folder: Path) -> None:
    """Remove what processes left in a folder when they were killed; what a living one writes is younger than STALE_S.

    That is a file half written, or version 0.1.0's folder of a download.
    """
    ours = {download.file for download in DOWNLOADS.values()} | {"trunk.pth"}
    for left in (*folder.glob("*" + PART), *folder.glob("tmp????????")):
        with suppress(OSError):  # another process sweeps too, or holds it open
            files = [*left.iterdir()] if left.suffix != PART else []
            fresh = max(entry.stat().st_mtime for entry in (left, *files)) > time.time() - STALE_S
            if fresh or not {file.name for file in files} <= ours:
                continue
            for file in files:
                file.unlink()
            left.rmdir() if left.is_dir() else left.unlink()


@contextmanager
def _told(download: Download, folder: Path) -> Iterator[None]:
    """Turns what a network or a disk raises into a ValueError with a remedy."""
    try:
        yield
    except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError) as error:
        raise ValueError(
            f"perceptual_name: {download.url} could not be fetched ({_words(error)}); check the connection, or put "
            f"{download.file} into models/{FOLDER}"
        ) from error
    except OSError as error:
        raise ValueError(
            f"perceptual_name: {download.file} could not be written into {folder} ({_words(error)}); it takes "
            f"{2 * download.megabytes} MB there while it is made, and a folder that may be written to. Nothing was kept"
        ) from error


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__


def _download(download: Download, target: BinaryIO) -> None:
    digest, bar, size = hashlib.sha256(), comfy.utils.ProgressBar(download.megabytes), 0
    with urllib.request.urlopen(download.url, timeout=TIMEOUT_S) as response:
        for chunk in _chunks(response.read):
            comfy.model_management.throw_exception_if_processing_interrupted()
            digest.update(chunk)
            target.write(chunk)
            size += len(chunk)
            bar.update_absolute(min(size // CHUNK, download.megabytes))
        left = response.length or 0  # of what the server announced
    if left:
        raise ConnectionError(f"it broke off after {size} of {size + left} bytes")
    if not digest.hexdigest().startswith(download.sha256):
        raise ValueError(
            f"perceptual_name: what came from {download.url} is not the published file (SHA-256 "
            f"{digest.hexdigest()}, expected {download.sha256}); nothing was kept, try again"
        )


def _chunks(read: Callable[[int], bytes]) -> Iterator[bytes]:
    while chunk := read(CHUNK):
        yield chunk


def _heads(net: str) -> dict[str, Tensor]:
    """LPIPS's own layers from its package, none for the style net; looked at before a trunk is fetched for them."""
    if net == STYLE:
        return {}
    path = Path(lpips_package().__file__).parent / "weights" / "v0.1" / f"{net}.pth"
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # unpickling what is damaged raises whatever its bytes lead to
        raise ValueError(f"{path}: not readable ({error}); install the Python package lpips again") from error


def _converted(net: str, trunk: dict[str, Tensor], heads: dict[str, Tensor]) -> tuple[dict[str, Tensor], float]:
    """(state dict, constant) of the perceptual network on torchvision's trunk."""
    if net == STYLE:
        wanted = StyleNet().features_.state_dict()
        return {f"features.{name}": trunk[f"features.{name}"] for name in wanted}, PAPER_CONSTANT
    network = LpipsNet(Trunk(net)).net
    network.load_state_dict(heads, strict=False)
    own = network.net.state_dict()  # "slice2.5.weight": the trunk's layer index is its second part
    network.net.load_state_dict({name: trunk["features." + name.split(".", 1)[1]] for name in own}, strict=True)
    return network.state_dict(), 1.0
