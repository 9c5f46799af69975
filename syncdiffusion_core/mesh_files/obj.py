"""Wavefront OBJ: positions, texture coordinates and normals numbered apart, faces of any number of corners."""

from collections.abc import Sequence

import numpy as np

from .pieces import Piece, quiet
from .polygons import fans, linear, seamed
from .refusal import DAMAGED, Unreadable, brief, check_count

MISSING = -1
"""The number of a texture coordinate or normal that a corner does not have."""


def read_obj(data: bytes) -> tuple[Piece, list[str]]:
    """The mesh and remarks on it. Materials lie in other files, which are not opened; lines and points are left out."""
    lines = [line.split() for line in _whole(data).splitlines()]
    rows = _Rows(lines)
    numbers, corners, counts = rows.faces()
    if not len(counts):
        raise Unreadable("it holds no faces; export a mesh, and as triangles or polygons")
    combined, names = seamed(numbers)
    faces = names[corners][fans(counts)]
    check_count(len(faces), "faces")
    positions = rows.table(b"v", 3)
    piece = Piece(positions[_numbers(combined[:, 0], len(positions), "position")], faces)
    piece = Piece(piece.vertices, faces, _uvs(rows, combined[:, 1]), _normals(rows, combined[:, 2]))
    colours = rows.colours()
    if colours is not None:
        piece = Piece(piece.vertices, faces, piece.uvs, piece.normals, colours[combined[:, 0]])
    return piece, rows.remarks(combined)


def _whole(data: bytes) -> bytes:
    """With lines that go on after a backslash as one."""
    return data.replace(b"\\\r\n", b" ").replace(b"\\\n", b" ") if b"\\" in data else data


def _uvs(rows: "_Rows", which: np.ndarray) -> np.ndarray | None:
    """[N, 2] with v down; 0 where a corner has none."""
    if (which == MISSING).all():
        return None
    table = rows.table(b"vt", 2) * (1, -1) + (0, 1)
    table = np.concatenate([table, np.zeros((1, 2))]).astype(np.float32)  # what MISSING points to
    return table[_numbers(which, len(table) - 1, "texture coordinate", MISSING)]


def _normals(rows: "_Rows", which: np.ndarray) -> np.ndarray | None:
    if (which == MISSING).any():
        return None
    table = rows.table(b"vn", 3)
    return table[_numbers(which, len(table), "normal")]


def _numbers(which: np.ndarray, count: int, what: str, least: int = 0) -> np.ndarray:
    """The numbers of a table's rows, once they are known to be."""
    if len(which) and not least <= int(which.min()) <= int(which.max()) < count:
        raise Unreadable(f"a face has a {what} that is none of the {count} there are; {DAMAGED}")
    return which


class _Rows:
    """The lines of an OBJ by what they begin with."""

    def __init__(self, lines: Sequence[list[bytes]]) -> None:
        self._lines = lines
        self._by_key: dict[bytes, list[list[bytes]]] = {b"v": [], b"vt": [], b"vn": []}
        for words in lines:
            if words and words[0] in self._by_key:
                self._by_key[words[0]].append(words)

    def table(self, key: bytes, width: int) -> np.ndarray:
        """The numbers of all lines of a kind, [N, width] float32."""
        rows = self._by_key[key]
        check_count(len(rows), f"lines '{key.decode()}'")
        try:
            with quiet():
                values = np.array([list(map(float, words[1 : width + 1])) for words in rows], dtype=np.float64)
                return values.reshape(-1, width).astype(np.float32)
        except ValueError:
            raise Unreadable(f"{brief(b' '.join(_first_bad(rows, width)))} is no line of numbers; {DAMAGED}") from None

    def colours(self) -> np.ndarray | None:
        """[N, 3] linear, where every position is followed by one, in [0, 1] or by bytes."""
        rows = self._by_key[b"v"]
        if not rows or any(len(words) < 7 for words in rows):
            return None
        try:
            values = np.array([list(map(float, words[4:7])) for words in rows])
        except ValueError:
            return None
        return linear(values / 255 if values.max() > 1 else values)

    def faces(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(kinds of corner [K, 3], the kind of each corner [C], how many corners each face has [F]).

        A kind is the number of a position, of a UV and of a normal, from 0.
        """
        known: dict[bytes, int] = {}
        kinds: list[tuple[int, int, int]] = []
        corners, counts = [], []
        so_far = {b"v": 0, b"vt": 0, b"vn": 0}
        for words in self._lines:
            if not words:
                continue
            if words[0] in so_far:
                so_far[words[0]] += 1
            elif words[0] == b"f" and len(words) > 3:
                counts.append(len(words) - 1)
                for word in words[1:]:
                    number = known.get(word)
                    if number is None:
                        number = len(kinds)
                        kinds.append(_corner(word, tuple(so_far.values())))
                        if b"-" not in word:  # others mean something else further down
                            known[word] = number
                    corners.append(number)
        return np.array(kinds, dtype=np.int64).reshape(-1, 3), np.array(corners, dtype=np.int64), np.array(counts)

    def remarks(self, combined: np.ndarray) -> list[str]:
        """What was left out."""
        told = []
        libraries = [words[1] for words in self._lines if len(words) > 1 and words[0] == b"mtllib"]
        if libraries:
            told.append(
                f"its materials and textures lie in other files ({brief(libraries[0])}), which are not opened: load "
                "the texture with Load Image and Apply Texture to Mesh, or export it as GLB"
            )
        without = int((combined[:, 1] == MISSING).sum())
        if 0 < without < len(combined):
            told.append(f"{without} of its vertices have no UVs")
        return told


def _corner(word: bytes, so_far: tuple[int, ...]) -> tuple[int, int, int]:
    """ "3/-1/2" -> numbers from 0; negative ones count back from what there is so far."""
    parts = word.split(b"/")
    try:
        given = [int(part) if part else 0 for part in parts]
    except ValueError:
        given = [0]
    if len(given) > 3 or given[0] == 0 or max(map(abs, given)) > 2**53:
        raise Unreadable(f"{brief(word)} is no corner of a face; {DAMAGED}")
    given += [0] * (3 - len(given))
    v, vt, vn = (k - 1 if k > 0 else (count + k if k else MISSING) for k, count in zip(given, so_far, strict=True))
    if min(v, vt if given[1] else 0, vn if given[2] else 0) < 0:
        raise Unreadable(f"{brief(word)} counts back beyond the first; {DAMAGED}")
    return v, vt, vn


def _first_bad(rows: Sequence[list[bytes]], width: int) -> list[bytes]:
    for words in rows:
        try:
            if len(list(map(float, words[1 : width + 1]))) == width:
                continue
        except ValueError:
            pass
        return words
    return []
