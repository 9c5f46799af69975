"""STL, binary and text: triangles with corners of their own, which become shared where they are in one place."""

import numpy as np

from .pieces import Piece, quiet
from .polygons import seamed
from .refusal import DAMAGED, Unreadable, brief, check_count

HEAD = 84
RECORD = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])


def read_stl(data: bytes) -> tuple[Piece, list[str]]:
    """The mesh; it has no UVs. The normals of an STL are those of its faces, and are left out."""
    count = int.from_bytes(data[80:HEAD], "little") if len(data) >= HEAD else 0
    whole = count > 0 and HEAD + count * RECORD.itemsize <= len(data)
    if data[:5].lower() == b"solid" and (b"facet" in data[:4096] or not whole):
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
    rows = [words[1:] for words in map(bytes.split, data.splitlines()) if words and words[0].lower() == b"vertex"]
    if len(rows) % 3:
        raise Unreadable(f"its {len(rows)} corners make no triangles; {DAMAGED}")
    check_count(len(rows) // 3, "faces")
    for words in rows:
        if len(words) != 3:
            raise Unreadable(f"{brief(b' '.join(words))} is no corner; {DAMAGED}")
    try:
        with quiet():
            return np.array([list(map(float, words)) for words in rows]).reshape(-1, 3).astype(np.float32)
    except ValueError:
        raise Unreadable(f"one of its corners is not of three numbers; {DAMAGED}") from None
