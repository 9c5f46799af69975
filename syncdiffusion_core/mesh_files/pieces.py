"""A part of a mesh: what one primitive of a glTF or one OBJ holds, and how parts become one.

Convention: right-handed, Y up, faces counter-clockwise from outside; UV origin top left, v down; colours linear.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from .refusal import DAMAGED, Unreadable


def quiet() -> np.errstate:
    """No warnings of what grows beyond float32: it is infinite then, and ``Piece.checked`` says so."""
    return np.errstate(over="ignore", invalid="ignore")


@dataclass(frozen=True)
class Piece:
    """vertices [N, 3], uvs [N, 2], normals [N, 3], colours [N, 3 or 4], float32; faces [M, 3] int64, into vertices."""

    vertices: np.ndarray
    faces: np.ndarray
    uvs: np.ndarray | None = None
    normals: np.ndarray | None = None
    colours: np.ndarray | None = None

    def used(self) -> "Piece":
        """Without the vertices that no face has. Raises Unreadable for faces with vertices that do not exist."""
        count = len(self.vertices)
        if len(self.faces) and not 0 <= int(self.faces.min()) <= int(self.faces.max()) < count:
            raise Unreadable(f"a face has a corner that is none of its {count} vertices; {DAMAGED}")
        seen: np.ndarray = np.zeros(count, dtype=bool)
        seen[self.faces] = True
        if seen.all():
            return self
        kept = {name: value[seen] for name, value in self._by_vertex().items()}
        return Piece(faces=(np.cumsum(seen) - 1)[self.faces], **kept)

    def moved(self, matrix: np.ndarray) -> "Piece":
        """Seen through a matrix [4, 4] from its own frame to the world's; a mirror turns its faces round."""
        if np.array_equal(matrix, np.eye(4)):
            return self
        linear = matrix[:3, :3]
        with quiet():
            vertices = self.vertices.astype(np.float64) @ linear.T + matrix[:3, 3]
            normals = None if self.normals is None else units(self.normals @ _of_normals(linear).T)
            faces = self.faces[:, ::-1] if np.linalg.det(linear) < 0 else self.faces
            return replace(self, vertices=vertices.astype(np.float32), normals=normals, faces=faces)

    def checked(self) -> tuple["Piece", list[str]]:
        """The piece, without what is not finite among UVs, normals and colours, and a remark on each of those.

        Raises Unreadable for positions that are not finite.
        """
        if not np.isfinite(self.vertices).all():
            raise Unreadable(f"it holds NaN, infinite or too large positions; {DAMAGED}")
        bad = [name for name, value in self._by_vertex().items() if not np.isfinite(value).all()]
        remarks = [f"its {name} hold NaN or infinite values and are left out" for name in bad]
        return replace(self, **dict.fromkeys(bad)), remarks  # type: ignore[arg-type]

    def _by_vertex(self) -> dict[str, np.ndarray]:
        values = {name: getattr(self, name) for name in ("vertices", "uvs", "normals", "colours")}
        return {name: value for name, value in values.items() if value is not None}


def joined(pieces: Sequence[Piece]) -> Piece:
    """All in one. Where only some have it: UVs are 0 elsewhere, normals those of the faces, colours white."""
    starts = np.cumsum([0, *(len(piece.vertices) for piece in pieces)])
    return Piece(
        np.concatenate([piece.vertices for piece in pieces]),
        np.concatenate([piece.faces + start for piece, start in zip(pieces, starts, strict=False)]),
        _filled([piece.uvs for piece in pieces], [np.zeros((len(piece.vertices), 2)) for piece in pieces]),
        _normals(pieces),
        _colours(pieces),
    )


def face_normals(piece: Piece) -> np.ndarray:
    """Normals of the vertices by those of the faces around them, weighed by area: [N, 3]."""
    a, b, c = (piece.vertices[piece.faces[:, corner]].astype(np.float64) for corner in range(3))
    across = np.cross(b - a, c - a)
    count, corners = len(piece.vertices), piece.faces.ravel()
    sums = [np.bincount(corners, np.repeat(across[:, axis], 3), count) for axis in range(3)]
    return units(np.stack(sums, axis=-1))


def _normals(pieces: Sequence[Piece]) -> np.ndarray | None:
    given = [piece.normals for piece in pieces]
    if all(each is None for each in given):
        return None
    return np.concatenate([face_normals(piece) if piece.normals is None else piece.normals for piece in pieces])


def _colours(pieces: Sequence[Piece]) -> np.ndarray | None:
    width = max((piece.colours.shape[1] for piece in pieces if piece.colours is not None), default=3)
    white = [np.ones((len(piece.vertices), width), dtype=np.float32) for piece in pieces]
    given = [piece.colours for piece in pieces]
    padded = [
        None if one is None else np.hstack([one, ones[:, one.shape[1] :]])
        for one, ones in zip(given, white, strict=True)
    ]
    return _filled(padded, white)


def _filled(given: Sequence[np.ndarray | None], otherwise: Sequence[np.ndarray]) -> np.ndarray | None:
    if all(each is None for each in given):
        return None
    parts = [other if each is None else each for each, other in zip(given, otherwise, strict=True)]
    return np.concatenate(parts).astype(np.float32)


def _of_normals(linear: np.ndarray) -> np.ndarray:
    """[3, 3] that keeps normals upright on what a linear map makes of faces: its cofactors, so nothing is divided."""
    rows = [np.cross(linear[1], linear[2]), np.cross(linear[2], linear[0]), np.cross(linear[0], linear[1])]
    return np.stack(rows) * (-1.0 if np.linalg.det(linear) < 0 else 1.0)


def units(vectors: np.ndarray) -> np.ndarray:
    """Of length 1, float32; what has no length stays so."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return (vectors / np.where(lengths > 0, lengths, 1.0)).astype(np.float32)
