"""Mesh files: where the host keeps them, and the pictures inside of them."""

import os
from io import BytesIO
from pathlib import Path

import comfy.model_management
import folder_paths
import numpy as np
import torch
from comfy_api.latest import Types
from PIL import Image
from torch import Tensor

from ....syncdiffusion_core.mesh_files.read import KINDS, MOST_BYTES, MeshFile, read_mesh

FOLDER = "3d"
"""Inside of the host's input folder: where Load 3D puts what is dropped on it."""
NONE = "none"
PICTURES = ("PNG", "JPEG", "WEBP")
MOST_PX = 8192 * 8192


def choices() -> list[str]:
    """Mesh files of the input folder, as Load 3D names them, behind a word for none of them."""
    folder = Path(folder_paths.get_input_directory())
    files = (file for file in (folder / FOLDER).rglob("*") if file.suffix.lower().lstrip(".") in KINDS)
    return [NONE, *sorted(file.relative_to(folder).as_posix() for file in files)]


def found(model_file: str) -> Path:
    """The file of a choice. Raises ValueError for one that is not there, or outside of the host's folders."""
    known = isinstance(model_file, str) and "\0" not in model_file
    if known and folder_paths.exists_annotated_filepath(model_file):
        path = Path(folder_paths.get_annotated_filepath(model_file))
        if path.is_file():
            return path
    raise ValueError(
        f"model_file: there is no {str(model_file)[:200]!r} in ComfyUI's input folder; choose another, or put it into "
        f"input/{FOLDER} and press R"
    )


def load(source: object, name: str) -> MeshFile:
    """The mesh of a FILE_3D, or of a path. name: of the socket. Raises ValueError naming the file."""
    given = Types.File3D(str(source)) if isinstance(source, Path) else source
    if not isinstance(given, Types.File3D):
        raise ValueError(f"{name}: this is no 3D file; connect Load 3D, or a node that makes one")
    disk = given.get_source() if given.is_disk_backed else None
    called = f"{name}: {os.path.basename(disk)}" if disk else f"{name}: the file"
    return read_mesh(called, _bytes(called, given, disk), given.format or "", decode)


def decode(encoded: bytes, side: int) -> Tensor:
    """A picture in a file, shrunk where one of its sides is longer: [H, W, 3] uint8. Raises ValueError for none."""
    comfy.model_management.throw_exception_if_processing_interrupted()
    try:
        picture = Image.open(BytesIO(encoded), formats=PICTURES)
        if picture.width * picture.height > MOST_PX:
            raise ValueError(f"it is of {picture.width} x {picture.height} px, more than {MOST_PX}")
        picture.draft("RGB", (side, side))
        picture = picture.convert("RGB")
        picture.thumbnail((side, side), Image.Resampling.BOX)
        return torch.from_numpy(np.array(picture))
    except (OSError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise ValueError(f"it is no PNG, JPEG or WebP, or damaged ({error})") from error


def _bytes(called: str, given: Types.File3D, disk: str | None) -> bytes:
    try:
        if disk and os.path.getsize(disk) > MOST_BYTES:
            raise ValueError(f"{called}: it is larger than {MOST_BYTES >> 20} MB; export a simpler mesh")
        return given.get_bytes()
    except OSError as error:
        raise ValueError(f"{called}: it cannot be read ({error.strerror}); choose another file") from error
