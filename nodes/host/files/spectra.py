"""Spectra of a model's latents: measured from the user's pictures, kept beside the perceptual networks."""

from pathlib import Path

import comfy.model_management
import folder_paths
import torch
from torch import Tensor

from ....syncdiffusion_core.canvases.window_layout import WindowLayout
from ....syncdiffusion_core.guidance.spectrum import Spectrum, fit_spectrum, load_spectrum, save_spectrum
from ....syncdiffusion_core.views.schedule import CellGrid
from ..gradient.decoder import pixel_space_vae, works_on_pixels
from ..inputs import picture
from .perceptual_files import FOLDER, SPECTRA

SUFFIX = ".safetensors"
LONGEST_NAME = 200
"""Bytes: file systems take 255, suffixes included."""


def measure_spectrum(model: object, vae: object | None, images: Tensor, window_px: int) -> Spectrum:
    """The spectrum of IMAGE [N, H, W, 3 or 4] as the model sees it: encoded window by window, in its own scale.

    Raises ValueError for pictures smaller than a window, and for a VAE of another model.
    """
    images = picture("images", images)
    _check_size(images, window_px)
    latent_format = model.model.latent_format
    if vae is None:
        if not works_on_pixels(latent_format):
            raise ValueError("vae: nothing is connected; give the VAE of the model, whose latents are to be measured")
        vae = pixel_space_vae()
    layout = WindowLayout(window_px, window_px, window_px, window_px).tiled(tuple(images.shape[1:3]), CellGrid(1))
    latents = []
    for window in layout.project(images.movedim(-1, 1)):  # [3, h, w], one at a time: a batch may be a video
        comfy.model_management.throw_exception_if_processing_interrupted()
        latents.append(vae.encode(window.movedim(0, -1)[None]))
    made, wanted = latents[0].shape[1], latent_format.latent_channels
    if made != wanted:
        raise ValueError(f"vae: it makes latents of {made} channels and the model's have {wanted}; connect its own VAE")
    return fit_spectrum(model.model.process_latent_in(torch.cat(latents)))


def keep_spectrum(name: str, spectrum: Spectrum) -> Path:
    """Store a spectrum under a name, whole or not at all. Raises ValueError where the folder takes no file."""
    path = Path(folder_paths.get_folder_paths(FOLDER)[0]) / SPECTRA / file_of(name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_spectrum(path, spectrum)
    except OSError as error:
        raise ValueError(
            f"name: '{name}' could not be written into {path.parent} ({error}); make room there or let ComfyUI write "
            "to it, or empty the name to keep nothing"
        ) from error
    return path


def stored_spectrum(name: str) -> Path:
    """The file of a name. Raises ValueError listing the names that there are."""
    path = folder_paths.get_full_path(FOLDER, f"{SPECTRA}/{file_of(name)}")
    if path is None:
        raise ValueError(
            f"name: there is no spectrum '{name}' in models/{FOLDER}/{SPECTRA} ({_known()}); connect images to measure "
            "one, or choose another name"
        )
    return Path(path)


def kept_spectrum(name: str) -> Spectrum:
    """The spectrum that was stored under a name."""
    return load_spectrum(stored_spectrum(name))


def _check_size(images: Tensor, window_px: int) -> None:
    height, width = images.shape[1:3]
    if min(height, width) < window_px:
        raise ValueError(
            f"images: they are {width} x {height} px and a window is {window_px} px; scale them up to it, or lower "
            f"window_size to {min(height, width)} at most"
        )


def file_of(name: str) -> str:
    """The file's name; one folder, no way out of it."""
    plain = name.strip()
    marks = any(mark in plain for mark in '/\\:*?"<>|') or not plain.isprintable()
    if marks or not 1 <= len(plain.encode()) <= LONGEST_NAME or plain.startswith("."):
        raise ValueError(
            f"name: '{name[:LONGEST_NAME]}' cannot be the name of a file; use letters, digits, spaces and - _ ., "
            f"{LONGEST_NAME} of them at most"
        )
    return plain + SUFFIX


def _known() -> str:
    """The stored names, in words."""
    folders = [Path(folder) / SPECTRA for folder in folder_paths.get_folder_paths(FOLDER)]
    names = sorted({file.stem for folder in folders for file in folder.glob("*" + SUFFIX)})
    return "there are: " + ", ".join(names) if names else "there are none"
