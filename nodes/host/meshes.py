"""The host's MESH as the core's: one item of it, checked."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

import comfy.model_management
from torch import Tensor

from ...syncdiffusion_core.canvases.mesh import Mesh, is_tiled, make_mesh
from .inputs import check_connected
from .progress import warn

T = TypeVar("T")


def mesh_of(name: str, given: object) -> Mesh:
    """The first mesh of MESH; of several it is said. Raises ValueError for what is none, or has no UVs."""
    check_connected(name, given, "connect a MESH, from UnwrapMesh for instance")
    vertices, faces = (_tensor(name, given, part) for part in ("vertices", "faces"))
    if vertices is None or faces is None:
        raise ValueError(f"{name}: it holds no vertices and faces; connect a MESH, from UnwrapMesh for instance")
    if len(vertices) > 1:
        warn(f"{name}: a batch of {len(vertices)} meshes, and a texture is of one: only the first is used")
    count, many = (_first(name, given, part) for part in ("vertex_counts", "face_counts"))
    uvs, normals = (_tensor(name, given, part) for part in ("uvs", "normals"))
    parts = [None if part is None else part[0, :count] for part in (vertices, uvs, normals)]
    if parts[1] is not None and parts[1].numel() and is_tiled(parts[1]):
        warn(f"{name}: its UVs are tiles beyond the texture, which will lie on each other; connect UnwrapMesh in front")
    return make_mesh(parts[0], faces[0, :many], parts[1], parts[2])


def interruptible(steps: Iterable[T]) -> Iterator[T]:
    """The same, one after the other, until the user stops them."""
    for step in steps:
        comfy.model_management.throw_exception_if_processing_interrupted()
        yield step


def _tensor(name: str, given: object, part: str) -> Tensor | None:
    """A part of a mesh with a batch of at least one in front, on the CPU; None where it has none."""
    value = getattr(given, part, None)
    if value is None:
        return None
    if isinstance(value, list | tuple):  # items of a batch that differ
        value = value[0][None] if value and isinstance(value[0], Tensor) else value
    if not isinstance(value, Tensor) or value.ndim not in (2, 3) or not len(value):
        raise ValueError(f"{name}: its {part} are no tensor [meshes, …, …]; the node that made it has to give one")
    return (value[None] if value.ndim == 2 else value).cpu()


def _first(name: str, given: object, part: str) -> int | None:
    """How many of the padded rows are the first mesh's; None for all."""
    counts = getattr(given, part, None)
    if counts is None:
        return None
    if not isinstance(counts, Tensor) or not counts.numel() or int(counts.flatten()[0]) < 1:
        raise ValueError(f"{name}: its {part} are no numbers of at least 1; the node that made it has to give them")
    return int(counts.flatten()[0])
