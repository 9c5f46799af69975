"""Where the nodes of a glTF stand, and which of them show meshes."""

from typing import NamedTuple

import numpy as np

from .entries import Entry
from .gltf_document import Document
from .pieces import quiet
from .refusal import DAMAGED, Unreadable

IDENTITY = np.eye(4)


class Shown(NamedTuple):
    """A mesh of the scene by number. matrix: from its frame to the world's [4, 4]. skin: what bends it instead."""

    mesh: int
    matrix: np.ndarray
    skin: int | None


def worlds(document: Document) -> list[np.ndarray]:
    """From the frame of each node to the world's, [4, 4] each. Raises Unreadable where nodes do not form trees."""
    children = [node.wholes("children") for node in document.lists["nodes"]]
    parents = [-1] * len(children)
    for parent, below in enumerate(children):
        for child in below:
            document.one("nodes", child)
            if parents[child] >= 0:
                raise Unreadable(f"nodes[{child}] has two parents; {DAMAGED}")
            parents[child] = parent
    found: dict[int, np.ndarray] = {}
    waiting = [(number, IDENTITY) for number, parent in enumerate(parents) if parent < 0]
    with quiet():
        while waiting:
            number, above = waiting.pop()
            own = _local(document.one("nodes", number))
            found[number] = above if own is IDENTITY else above @ own
            waiting += [(child, found[number]) for child in children[number]]
    if len(found) < len(children):
        raise Unreadable(f"its nodes go round in a circle; {DAMAGED}")
    return [found[number] for number in range(len(children))]


def shown(document: Document, matrices: list[np.ndarray]) -> list[Shown]:
    """The meshes of the scene that the file opens with, or of all nodes if it has none; in the order of nodes."""
    nodes, wanted = document.lists["nodes"], set[int]()
    waiting = _roots(document)
    while waiting:
        number = waiting.pop()
        if number not in wanted:
            wanted.add(number)
            waiting += document.one("nodes", number).wholes("children")
    listed = [(number, nodes[number].maybe("mesh")) for number in sorted(wanted)]
    return [Shown(mesh, matrices[number], nodes[number].maybe("skin")) for number, mesh in listed if mesh is not None]


def _roots(document: Document) -> list[int]:
    if not document.lists["scenes"]:
        return list(range(len(document.lists["nodes"])))
    return [*document.one("scenes", document.root.whole("scene", 0)).wholes("nodes")]


def _local(node: Entry) -> np.ndarray:
    """From a node's frame to that of its parent, [4, 4]."""
    if not any(key in node for key in ("matrix", "rotation", "scale", "translation")):
        return IDENTITY
    if "matrix" in node:
        return np.array(node.numbers("matrix", [0.0] * 16)).reshape(4, 4).T  # columns first
    matrix = np.eye(4)
    matrix[:3, :3] = _turn(node) * node.numbers("scale", [1.0] * 3)
    matrix[:3, 3] = node.numbers("translation", [0.0] * 3)
    return matrix


def _turn(node: Entry) -> np.ndarray:
    """[3, 3] of a quaternion x, y, z, w."""
    quaternion = np.array(node.numbers("rotation", [0.0, 0.0, 0.0, 1.0]))
    length = np.linalg.norm(quaternion)
    if not 0 < length < np.inf:
        raise Unreadable(f"'rotation' of {node.where} is none; {DAMAGED}")
    x, y, z, w = quaternion / length
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )
