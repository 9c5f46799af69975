"""STL, binary and text: triangles with corners of their own, which become shared where they are in one place."""

from array import array

import numpy as np

from .lines import words_of
from .pieces import Piece, quiet
from .polygons import seamed
from .refusal import DAMAGED, Unreadable, brief, check_count

HEAD = 84
RECORD = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])


def read_stl(data: bytes) -> tuple[Piece, list[str]]:
    """The mesh; it has no UVs. The normals of an STL are those of its faces, and are left out."""
    count = int.from_bytes(data[80:HEAD], "little") if len(data) >= HEAD else 0
    whole = count > 0 and HEAD + count * RECORD.itemsize <= len(data)
    if data[:80].lstrip()[:5].lower() == b"solid" and (b"facet" in data[:4096] or not whole):
        corners = _of_text(data)
    elif whole:
        check_count(count, "faces")
        corners = np.frombuffer(data, RECORD, count, HEAD)["corners"].reshape(-1, 3)
    else:
        raise Unreadable(f"it is too short for the {count} faces that it says it has, or no STL file; {DAMAGED}")
    if not len(corners):
        raise Unreadable("it holds no faces; export a mesh")
    with quiet():
        places, numbers = seamed(corners + np.float32(0))  # -0 and 0 are one place
    return Piece(places, numbers.reshape(-1, 3)), []


def _of_text(data: bytes) -> np.ndarray:
    """[3 M, 3] of the lines "vertex x y z"."""
    numbers = array("d")
    for words in words_of(data):
        if words[0].lower() == b"vertex":
            try:
                x, y, z = map(float, words[1:])
            except ValueError:
                raise Unreadable(f"{brief(b' '.join(words))} is no corner of three numbers; {DAMAGED}") from None
            numbers.extend((x, y, z))
    if len(numbers) % 9:
        raise Unreadable(f"its {len(numbers) // 3} corners make no triangles; {DAMAGED}")
    check_count(len(numbers) // 9, "faces")
    with quiet():
        return np.frombuffer(numbers, np.float64).reshape(-1, 3).astype(np.float32)
