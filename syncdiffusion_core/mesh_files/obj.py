"""Wavefront OBJ: positions, texture coordinates and normals numbered apart, faces of any number of corners."""

from array import array
from dataclasses import dataclass, field

import numpy as np

from .lines import words_of
from .pieces import Piece, quiet
from .polygons import fans, linear, seamed
from .refusal import DAMAGED, Unreadable, brief, check_count

MISSING = -1
"""The number of a texture coordinate or normal that a corner does not have."""
WIDTHS = {b"v": 3, b"vt": 2, b"vn": 3}


def read_obj(data: bytes) -> tuple[Piece, list[str]]:
    """The mesh and remarks on it. Materials lie in other files, which are not opened; lines and points are left out."""
    rows = _gathered(data)
    if not rows.counts:
        raise Unreadable("it holds no faces; export a mesh, and as triangles or polygons")
    triangles = fans(np.frombuffer(rows.counts, np.int64))
    check_count(len(triangles), "faces")
    corners, numbers = seamed(np.frombuffer(rows.kinds, np.int64).reshape(-1, 3))
    position, uv, normal = corners.T
    vertices, colours = rows.table(b"v"), rows.colour_table()
    piece = Piece(
        vertices[_checked(position, len(vertices), "position")],
        numbers[np.frombuffer(rows.corners, np.int64)][triangles],
        _uvs(rows.table(b"vt"), uv),
        None if (normal == MISSING).any() else _normals(rows.table(b"vn"), normal),
        None if colours is None else colours[position],
    )
    return piece, _remarks(rows, uv)


@dataclass
class _Rows:
    """What the lines of an OBJ say, by the words that they begin with.

    kinds: of corners, three numbers each, from 0: position, UV, normal. corners: the kind of each. counts: how many
    corners each face has. colours: of positions. libraries: names of files of materials.
    """

    numbers: dict[bytes, array] = field(default_factory=lambda: {key: array("d") for key in WIDTHS})
    colours: array = field(default_factory=lambda: array("d"))
    kinds: array = field(default_factory=lambda: array("q"))
    corners: array = field(default_factory=lambda: array("q"))
    counts: array = field(default_factory=lambda: array("q"))
    libraries: list[bytes] = field(default_factory=list)
    _known: dict[bytes, int] = field(default_factory=dict)

    def take(self, words: list[bytes]) -> None:
        """The words of one line, of which there are some."""
        key = words[0]
        if key in WIDTHS:
            self._take_numbers(words, WIDTHS[key])
        elif key == b"f" and len(words) > 3:
            self.counts.append(len(words) - 1)
            self.corners.extend(map(self._corner, words[1:]))
        elif key == b"mtllib" and len(words) > 1:
            self.libraries.append(words[1])

    def table(self, key: bytes) -> np.ndarray:
        """The numbers of all lines of a kind, [N, width] float32."""
        with quiet():
            return np.frombuffer(self.numbers[key], np.float64).reshape(-1, WIDTHS[key]).astype(np.float32)

    def colour_table(self) -> np.ndarray | None:
        """[N, 3] linear, where every position is followed by one; up to 1 or by bytes."""
        shown: np.ndarray = np.frombuffer(self.colours, np.float64).reshape(-1, 3)
        if not len(shown) or len(self.colours) != len(self.numbers[b"v"]):
            return None
        return linear(shown / 255 if shown.max() > 1 else shown)

    def _take_numbers(self, words: list[bytes], width: int) -> None:
        try:
            self.numbers[words[0]].extend([float(word) for word in words[1 : width + 1]])
            if len(words) > 6 and width == 3:
                self.colours.extend([float(word) for word in words[4:7]])
        except ValueError:
            width = len(words)
        if len(words) <= width:
            raise Unreadable(f"{brief(b' '.join(words))} is no line of numbers; {DAMAGED}")

    def _corner(self, word: bytes) -> int:
        """The number of the kind that a word of a face is."""
        number = self._known.get(word)
        if number is None:
            number = len(self.kinds) // 3
            self.kinds.extend(_kind(word, [len(self.numbers[key]) // width for key, width in WIDTHS.items()]))
            if b"-" not in word:  # others mean something else further down
                self._known[word] = number
        return number


def _gathered(data: bytes) -> _Rows:
    """All lines, one after the other."""
    data = data.removeprefix(b"\xef\xbb\xbf")
    if b"\\" in data:  # lines that go on
        data = data.replace(b"\\\r\n", b" ").replace(b"\\\n", b" ")
    rows = _Rows()
    for words in words_of(data):
        rows.take(words)
    return rows


def _kind(word: bytes, so_far: list[int]) -> list[int]:
    """ "3/-1/2" -> three numbers from 0; negative ones count back from what there is so far."""
    try:
        given = [int(part) if part else 0 for part in word.split(b"/")]
    except ValueError:
        given = [0]
    if len(given) > 3 or given[0] == 0 or max(map(abs, given)) > 2**53:
        raise Unreadable(f"{brief(word)} is no corner of a face; {DAMAGED}")
    given += [0] * (3 - len(given))
    if any(number + count < 0 for number, count in zip(given, so_far, strict=True)):
        raise Unreadable(f"{brief(word)} counts back beyond the first; {DAMAGED}")
    return [
        number - 1 if number > 0 else count + number if number else MISSING
        for number, count in zip(given, so_far, strict=True)
    ]


def _checked(which: np.ndarray, count: int, what: str) -> np.ndarray:
    """Numbers of the rows of a table, MISSING among them. Raises Unreadable for one that it does not have."""
    if int(which.max()) >= count:
        raise Unreadable(f"a face has a {what} that is none of the {count} there are; {DAMAGED}")
    return which


def _uvs(table: np.ndarray, which: np.ndarray) -> np.ndarray | None:
    """[N, 2] with v down; 0 where a corner has none."""
    if (which == MISSING).all():
        return None
    flipped = np.concatenate([table * np.array([1, -1], np.float32) + np.array([0, 1], np.float32), np.zeros((1, 2))])
    return flipped[_checked(which, len(table), "texture coordinate")].astype(np.float32)  # MISSING is the last row


def _normals(table: np.ndarray, which: np.ndarray) -> np.ndarray:
    return table[_checked(which, len(table), "normal")]


def _remarks(rows: _Rows, uv: np.ndarray) -> list[str]:
    """What was left out."""
    told = []
    if rows.libraries:
        told.append(
            f"its materials and textures lie in other files ({brief(rows.libraries[0])}), which are not opened: load "
            "the texture with Load Image and Apply Texture to Mesh, or export it as GLB"
        )
    without = int((uv == MISSING).sum())
    if 0 < without < len(uv):
        told.append(f"{without} of its vertices have no UVs")
    return told
