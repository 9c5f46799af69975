"""PLY: tables of vertices and of faces, in text or binary."""

import numpy as np

from .pieces import Piece, quiet
from .ply_table import Lists, Table, read_tables
from .polygons import fans, linear, seamed
from .refusal import DAMAGED, Unreadable, check_count

UVS = (("s", "t"), ("u", "v"), ("texture_u", "texture_v"))
CORNERS = ("vertex_indices", "vertex_index")
OF_SPLATS = "f_dc_0"


def read_ply(data: bytes) -> tuple[Piece, list[str]]:
    """The mesh and remarks on it; UVs by vertex, or by corner (texcoord). Other files' textures are not opened."""
    tables = read_tables(data)
    vertices, faces = tables.get("vertex", {}), tables.get("face", {})
    lists = next((faces[name] for name in CORNERS if isinstance(faces.get(name), Lists)), None)
    if not isinstance(lists, Lists) or not len(lists.counts):
        remedy = "use Get Splat (File3DToSplat)" if OF_SPLATS in vertices else "export a mesh with faces"
        raise Unreadable(f"it holds no faces, only {'splats' if OF_SPLATS in vertices else 'points'}; {remedy}")
    triangles = fans(lists.counts)
    check_count(len(triangles), "faces")
    corners = _whole(lists.values)[triangles]
    positions = _columns(vertices, ("x", "y", "z"))
    if positions is None:
        raise Unreadable(f"its vertices have no x, y and z; {DAMAGED}")
    piece = Piece(positions, corners, _uvs(vertices), _columns(vertices, ("nx", "ny", "nz")), _colours(vertices))
    wedges = faces.get("texcoord")
    if isinstance(wedges, Lists) and np.array_equal(wedges.counts, 2 * lists.counts) and len(triangles):
        piece = _with_corner_uvs(piece.used(), wedges.values.reshape(-1, 2)[triangles])
    return piece, []


def _with_corner_uvs(piece: Piece, uvs: np.ndarray) -> Piece:
    """UVs [M, 3, 2] of the corners: a vertex for each that differs."""
    corners = np.concatenate([piece.faces.reshape(-1, 1), uvs.reshape(-1, 2).astype(np.float64)], axis=1)
    combined, numbers = seamed(corners)
    which: np.ndarray = combined[:, 0].astype(np.int64)
    with quiet():
        found: np.ndarray = _v_down(combined[:, 1:]).astype(np.float32)
    normals = None if piece.normals is None else piece.normals[which]
    colours = None if piece.colours is None else piece.colours[which]
    return Piece(piece.vertices[which], numbers.reshape(-1, 3), found, normals, colours)


def _whole(values: np.ndarray) -> np.ndarray:
    """Numbers of vertices, int64. Raises Unreadable for what are none."""
    if values.dtype.kind == "f" and len(values) and not (np.abs(values) < 2**53).all():
        raise Unreadable(f"a corner of a face is no number of a vertex; {DAMAGED}")
    return values.astype(np.int64)


def _columns(table: Table, names: tuple[str, ...]) -> np.ndarray | None:
    """[N, len(names)] float32; None where one of them is missing."""
    columns = [table.get(name) for name in names]
    if any(not isinstance(column, np.ndarray) for column in columns):
        return None
    with quiet():
        return np.stack(columns, axis=-1).astype(np.float32)


def _uvs(vertices: Table) -> np.ndarray | None:
    found = next((uvs for names in UVS if (uvs := _columns(vertices, names)) is not None), None)
    return None if found is None else _v_down(found)


def _v_down(uvs: np.ndarray) -> np.ndarray:
    return uvs * np.array([1, -1], uvs.dtype) + np.array([0, 1], uvs.dtype)


def _colours(vertices: Table) -> np.ndarray | None:
    """[N, 3 or 4]; bytes, or numbers in [0, 1] (bytes too in files of text)."""
    colours, alpha = _columns(vertices, ("red", "green", "blue")), _columns(vertices, ("alpha",))
    if colours is None:
        return None
    whole = vertices["red"].dtype.kind in "iu"  # type: ignore[union-attr]
    most = 255.0 if whole or colours.max(initial=0) > 1 else 1.0
    if alpha is None:
        return linear(colours / most)
    return np.hstack([linear(colours / most), np.clip(alpha / most, 0, 1)]).astype(np.float32)
