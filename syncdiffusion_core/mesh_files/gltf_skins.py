"""Meshes that are bent by joints, in the pose that the nodes of a glTF have."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from .entries import Entry
from .gltf_document import Document
from .pieces import Piece, quiet, units
from .refusal import DAMAGED, Unreadable

INFLUENCES = 4


def bent(document: Document, matrices: Sequence[np.ndarray], skin: int, attributes: Entry, piece: Piece) -> Piece:
    """A piece in its own frame -> in the world, where its joints put it. matrices: of all nodes, [4, 4] each."""
    joints = _joints(document, matrices, skin)
    which = document.wholes(attributes.whole("JOINTS_0"), INFLUENCES)
    weights = document.floats(attributes.whole("WEIGHTS_0"), INFLUENCES, shares=True)
    if not len(which) == len(weights) == len(piece.vertices) or (len(which) and int(which.max()) >= len(joints)):
        raise Unreadable(f"the joints in {attributes.where} are not those of its skin; {DAMAGED}")
    with quiet():
        sums = weights.sum(axis=1, keepdims=True)
        weights = weights / np.where(sums > 0, sums, 1.0)
        vertices = np.zeros((len(which), 3))
        normals = np.zeros((len(which), 3))
        for influence in range(INFLUENCES):
            joint, weight = joints[which[:, influence]], weights[:, influence, None]  # [N, 4, 4]
            vertices += weight * (np.einsum("nij,nj->ni", joint[:, :3, :3], piece.vertices) + joint[:, :3, 3])
            if piece.normals is not None:
                normals += weight * np.einsum("nij,nj->ni", joint[:, :3, :3], piece.normals)
        turned = None if piece.normals is None else units(normals)
        return replace(piece, vertices=vertices.astype(np.float32), normals=turned)


def _joints(document: Document, matrices: Sequence[np.ndarray], number: int) -> np.ndarray:
    """From the mesh's frame to the world's by each joint, [J, 4, 4]."""
    skin = document.one("skins", number)
    nodes = skin.wholes("joints")
    for node in nodes:
        document.one("nodes", node)
    there = np.array([matrices[node] for node in nodes]).reshape(-1, 4, 4)
    inverse = skin.maybe("inverseBindMatrices")
    if inverse is None:
        return there
    back: np.ndarray = document.floats(inverse, 16).astype(np.float64)
    if len(back) < len(nodes):
        raise Unreadable(f"{skin.where} has fewer matrices than joints; {DAMAGED}")
    with quiet():
        return there @ back[: len(nodes)].reshape(-1, 4, 4).transpose(0, 2, 1)  # columns first
