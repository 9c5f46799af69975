"""A mesh from the bytes of a file of any kind."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .gltf import read_gltf
from .obj import read_obj
from .pieces import Piece
from .ply import read_ply
from .refusal import Unreadable, brief, check_count
from .sheet import SLACK, Decode
from .stl import read_stl

KINDS = ("glb", "gltf", "obj", "ply", "stl")
MOST_BYTES = 1 << 30
MOST_REMARKS = 6
REMEDIES = {
    **dict.fromkeys(("splat", "spz", "ksplat"), "it holds splats; use Get Splat (File3DToSplat)"),
    **dict.fromkeys(("fbx", "usdz", "blend", "dae", "3ds"), "convert it to GLB, in Blender for instance"),
}


@dataclass(frozen=True)
class MeshFile:
    """What a file holds: right-handed, Y up, as it stands in the file's scene.

    vertices [N, 3], float32; faces [M, 3] int64, counter-clockwise; uvs [N, 2], origin top left; normals [N, 3];
    colours [N, 3 or 4], linear; texture [H, W, 3], sRGB in [0, 1]; None for what it does not hold. remarks: what of
    the file is left out or looks different, in words.
    """

    vertices: Tensor
    faces: Tensor
    uvs: Tensor | None
    normals: Tensor | None
    colours: Tensor | None
    texture: Tensor | None
    remarks: tuple[str, ...]


def read_mesh(name: str, data: bytes, kind: str, decode: Decode) -> MeshFile:
    """The mesh of a file. name: for errors. kind: how its name ends; what its first bytes say goes before.

    Raises ValueError naming the file for what is no mesh, or damaged, or larger than MOST_BYTES.
    """
    try:
        if len(data) > MOST_BYTES:
            raise Unreadable(f"it has {len(data) >> 20} MB, more than {MOST_BYTES >> 20}; export a simpler mesh")
        piece, texture, remarks = _read(data, kind.lower().lstrip("."), decode)
        piece, more = piece.used().checked()
        if not len(piece.faces):
            raise Unreadable("it holds no faces of three corners or more; export a mesh")
    except Unreadable as error:
        raise ValueError(f"{name}: {error}") from error
    remarks = list(dict.fromkeys([*remarks, *more, *_outside(piece, texture)]))
    if len(remarks) > MOST_REMARKS:
        remarks = [*remarks[:MOST_REMARKS], f"and {len(remarks) - MOST_REMARKS} more"]
    uvs, normals, colours = (None if x is None else _tensor(x) for x in (piece.uvs, piece.normals, piece.colours))
    return MeshFile(_tensor(piece.vertices), _tensor(piece.faces), uvs, normals, colours, texture, tuple(remarks))


def _read(data: bytes, kind: str, decode: Decode) -> tuple[Piece, Tensor | None, list[str]]:
    if data.startswith(b"glTF") or (kind == "gltf" and data.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{")):
        return read_gltf(data, decode)
    readers = {"obj": read_obj, "ply": read_ply, "stl": read_stl}
    kind = "ply" if data.startswith((b"ply\n", b"ply\r")) else kind
    if kind in readers:
        piece, remarks = readers[kind](data)
        check_count(len(piece.vertices), "vertices")
        return piece, None, remarks
    if kind in KINDS:
        raise Unreadable(f"it does not begin like a {kind.upper()} file; download or export it again")
    raise Unreadable(
        f"files of the kind {brief(kind)} are not read, only {', '.join(KINDS)}; "
        f"{REMEDIES.get(kind, 'convert it to GLB, in Blender for instance')}"
    )


def _outside(piece: Piece, texture: Tensor | None) -> list[str]:
    """A remark on UVs beyond the square of a texture that there is not."""
    if piece.uvs is None or texture is not None or (np.abs(piece.uvs - 0.5) <= 0.5 + SLACK).all():
        return []
    return ["its UVs leave the square from 0 to 1, as those of repeated pictures do; use UnwrapMesh to paint it"]


def _tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, np.int64 if array.dtype.kind == "i" else np.float32).copy())
