"""glTF and GLB: the meshes of a scene where its nodes put them, as one."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor

from .entries import Entry
from .gltf_document import Document
from .gltf_materials import Material, left_out, material_of, picture_of
from .gltf_nodes import IDENTITY, Shown, shown, worlds
from .gltf_skins import bent
from .pieces import Piece, joined
from .refusal import DAMAGED, Unreadable, brief, check_count
from .sheet import MOST_PX, MOST_SINGLE_PX, MOST_TILES, Decode, Paint, columns_of, painted

TRIANGLES, STRIP, FAN = 4, 5, 6
MODES = range(7)
MOST_PARTS = 20_000
"""Primitives that are shown: each takes its time."""
MOST_PICTURES = 256


@dataclass(frozen=True)
class _Found:
    """A primitive where it is shown, what it is painted with, and remarks on it."""

    piece: Piece
    paint: Paint
    remarks: list[str]


def read_gltf(data: bytes, decode: Decode) -> tuple[Piece, Tensor | None, list[str]]:
    """(the mesh, its texture [H, W, 3] in sRGB, remarks). Animations are left out: the pose is the one of the nodes."""
    document = Document(data)
    matrices = worlds(document)
    primitives = [(place, one) for place in shown(document, matrices) for one in _primitives(document, place)]
    triangles = [(place, one) for place, one in primitives if one.whole("mode", TRIANGLES) >= TRIANGLES]
    _check_counts(document, [one for _, one in triangles])
    materials = {number: material_of(document, number) for number in {one.maybe("material") for _, one in triangles}}
    found = [_found(document, matrices, place, one, materials[one.maybe("material")]) for place, one in triangles]
    found = [each for each in found if len(each.piece.faces)]
    if not found:
        raise Unreadable("its scene shows no faces; export a mesh, as GLB")
    pieces, paints = [each.piece for each in found], [each.paint for each in found]
    pictures, untold = _pictures(document, paints, decode)
    remarks = ["points and lines in it are left out"] if len(triangles) < len(primitives) else []
    remarks += [remark for each in found for remark in each.remarks]
    remarks += [*_without_uvs(pieces), *untold, *left_out(document, materials)]
    if not pictures:
        return joined(_tinted(pieces, paints)), None, remarks
    remarks += _told(pieces, paints)
    pieces, texture = painted(pieces, paints, pictures)
    return joined(pieces), texture, remarks


def _primitives(document: Document, place: Shown) -> list[Entry]:
    return document.one("meshes", place.mesh).entries("primitives")


def _check_counts(document: Document, primitives: Sequence[Entry]) -> None:
    """Raise Unreadable for more than there may be, before any of it is read."""
    if len(primitives) > MOST_PARTS:
        raise Unreadable(f"it shows {len(primitives)} parts, more than {MOST_PARTS}; join them and export it again")
    check_count(sum(document.count(_position(one)) for one in primitives), "vertices")
    check_count(sum(_faces_at_most(document, one) for one in primitives), "faces")


def _faces_at_most(document: Document, primitive: Entry) -> int:
    corners = document.count(primitive.whole("indices", _position(primitive)))
    return corners // 3 if primitive.whole("mode", TRIANGLES) == TRIANGLES else corners


def _position(primitive: Entry) -> int:
    return primitive.entry("attributes").whole("POSITION")


def _found(
    document: Document, matrices: Sequence[np.ndarray], place: Shown, primitive: Entry, material: Material
) -> _Found:
    attributes = primitive.entry("attributes")
    vertices = document.floats(_position(primitive), 3)

    def given(name: str, *widths: int, shares: bool = False) -> np.ndarray | None:
        number = attributes.maybe(name)
        values = None if number is None else document.floats(number, *widths, shares=shares)
        if values is not None and len(values) != len(vertices):
            raise Unreadable(f"{name} of {primitive.where} is not one for each vertex; {DAMAGED}")
        return values

    uvs = given(f"TEXCOORD_{material.uv_set}", 2, shares=True)
    piece = Piece(
        vertices,
        _faces(document, primitive, len(vertices)),
        None if uvs is None else material.uvs(uvs),
        given("NORMAL", 3),
        given("COLOR_0", 3, 4, shares=True),
    )
    matrix = place.matrix
    if place.skin is not None and "JOINTS_0" in attributes:
        piece, matrix = bent(document, matrices, place.skin, attributes, piece), IDENTITY
    piece, remarks = piece.used().checked()
    paint = material.paint if piece.uvs is not None else replace(material.paint, image=None)
    return _Found(piece.moved(matrix), paint, remarks)


def _faces(document: Document, primitive: Entry, count: int) -> np.ndarray:
    """[M, 3] of the vertices in their order, or the order of indices."""
    number = primitive.maybe("indices")
    order = np.arange(count) if number is None else document.wholes(number)[:, 0]
    mode = primitive.whole("mode", TRIANGLES)
    if mode not in MODES:
        raise Unreadable(f"'mode' of {primitive.where} is {brief(mode)}, which is none; {DAMAGED}")
    if mode == TRIANGLES:
        return order[: len(order) // 3 * 3].reshape(-1, 3)
    if len(order) < 3:
        return np.zeros((0, 3), dtype=np.int64)
    if mode == FAN:
        faces = np.stack([np.broadcast_to(order[0], len(order) - 2), order[1:-1], order[2:]], axis=-1)
    else:
        faces = np.stack([order[:-2], order[1:-1], order[2:]], axis=-1)
        faces[1::2, :2] = faces[1::2, 1::-1]  # every other one lies the other way round
    a, b, c = faces.T
    return faces[(a != b) & (b != c) & (c != a)]  # those without area join two strips


def _pictures(
    document: Document, paints: Sequence[Paint], decode: Decode
) -> tuple[dict[int | None, Tensor], list[str]]:
    """The pictures of the paints by number, no larger than their place on the sheet, and remarks on what is none."""
    numbers = sorted({paint.image for paint in paints if paint.image is not None})
    cells = len(set(paints))
    most = MOST_SINGLE_PX if cells == 1 else MOST_PX // columns_of(cells)
    pictures: dict[int | None, Tensor] = {}
    remarks: list[str] = []
    if len(numbers) > MOST_PICTURES:
        remarks.append(f"of its {len(numbers)} textures only {MOST_PICTURES} are read")
    for number in numbers[:MOST_PICTURES]:
        try:
            pictures[number] = decode(picture_of(document, number), most)
        except ValueError as error:
            remarks.append(f"its texture {number} is left out: {error}")
    return pictures, remarks


def _tinted(pieces: Sequence[Piece], paints: Sequence[Paint]) -> list[Piece]:
    """With the colours of materials as those of vertices, where there are several or vertices have some already."""
    several = len({paint.colour for paint in paints}) > 1
    if not several and all(piece.colours is None for piece in pieces):
        return list(pieces)
    return [_with_colour(piece, paint.colour) for piece, paint in zip(pieces, paints, strict=True)]


def _with_colour(piece: Piece, colour: tuple[float, float, float]) -> Piece:
    colours = np.ones((len(piece.vertices), 3), np.float32) if piece.colours is None else piece.colours.copy()
    colours[:, :3] *= np.array(colour, np.float32)
    return replace(piece, colours=colours)


def _told(pieces: Sequence[Piece], paints: Sequence[Paint]) -> list[str]:
    """What becomes of several materials, and of pictures that are repeated without end."""
    told, count = [], len(set(paints))
    if count > 1:
        told.append(f"its {count} materials lie side by side on one texture, and its UVs with them")
    if max(np.ptp(piece.uvs, axis=0).max() for piece in pieces if piece.uvs is not None) > MOST_TILES:
        told.append(f"its UVs reach over more than {MOST_TILES} pictures, and are cut off there")
    return told


def _without_uvs(pieces: Sequence[Piece]) -> list[str]:
    """A remark where only some of it can be painted."""
    count = sum(len(piece.vertices) for piece in pieces if piece.uvs is None)
    some = any(piece.uvs is not None for piece in pieces)
    return [f"{count} of its vertices have no UVs"] if count and some else []
