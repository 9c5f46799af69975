"""Where perceptual networks come from: the pack, ComfyUI's models/perceptual, or a download the user asked for."""

from pathlib import Path

import folder_paths
from torch import nn

from ....demo.export import REMEDY as PACK_REMEDY
from ....syncdiffusion_core.perceptual.files import REMEDY, check_perceptual, load_perceptual
from ....syncdiffusion_core.perceptual.style import SceneStyle
from .downloads import DOWNLOADS, FOLDER, Download, fetch, sweep

SPECTRA = "spectra"
"""The folder inside it whose files are spectra, no networks."""
BUILT_IN = "scene (built in)"
BUILT_IN_STYLE = "scene style (built in)"
BUILT_IN_FILE = Path(__file__).parents[3] / "demo" / "weights" / "scene_perceptual.safetensors"
BUILT_IN_STYLE_CONSTANT = 500.0
"""C of the same network's Gram matrices: over the guided steps its gradients are then as large as the distance's."""


def choices() -> list[str]:
    """What the loader offers: the built-in network in both forms, the user's files, and every download.

    A download that was made stays in the list, and stands for its file: workflows saved with it remain valid.
    """
    files = [name for name in folder_paths.get_filename_list(FOLDER) if Path(name).parts[0] != SPECTRA]
    return [BUILT_IN, BUILT_IN_STYLE, *files, *DOWNLOADS]


def load(choice: str) -> nn.Module:
    """The network of a choice, fetched first if it is a download. Raises ValueError naming what is wrong."""
    for folder in folder_paths.get_folder_paths(FOLDER):
        sweep(Path(folder))
        sweep(Path(folder, SPECTRA))
    network = load_perceptual(resolve(choice), _remedy(choice))
    return SceneStyle(network, BUILT_IN_STYLE_CONSTANT) if choice == BUILT_IN_STYLE else network


def check(choice: str) -> None:
    """Raise the ValueError of ``load`` as far as a look at the file's header tells; fetches nothing."""
    if choice not in choices():
        raise _gone(choice)
    if choice not in DOWNLOADS or _present(DOWNLOADS[choice]):
        check_perceptual(resolve(choice), _remedy(choice))


def state(choice: str) -> tuple:
    """What changes when the file of a choice does."""
    if choice in DOWNLOADS and not _present(DOWNLOADS[choice]):
        return (choice,)
    try:
        path = resolve(choice)
        return choice, str(path), path.stat().st_size, path.stat().st_mtime_ns
    except (ValueError, OSError):  # it has gone, which ``load`` says better
        return (choice,)


def resolve(choice: str) -> Path:
    """The safetensors file of a choice, fetched first if it is a download."""
    if choice in (BUILT_IN, BUILT_IN_STYLE):
        return BUILT_IN_FILE
    if choice in DOWNLOADS:
        present = _present(DOWNLOADS[choice])
        return present or fetch(DOWNLOADS[choice], Path(folder_paths.get_folder_paths(FOLDER)[0]))
    path = folder_paths.get_full_path(FOLDER, choice)
    if path is None:
        raise _gone(choice)
    return Path(path)


def _gone(choice: str) -> ValueError:
    return ValueError(
        f"perceptual_name: '{choice}' is not in models/{FOLDER} any more; choose another, or '{BUILT_IN}'"
    )


def _present(download: Download) -> Path | None:
    """The file of a download that was made."""
    path = folder_paths.get_full_path(FOLDER, download.file)
    return Path(path) if path else None


def _remedy(choice: str) -> str:
    return PACK_REMEDY if choice in (BUILT_IN, BUILT_IN_STYLE) else REMEDY
