"""Faces of any number of corners, as triangles."""

import numpy as np


def fans(counts: np.ndarray) -> np.ndarray:
    """Corners of each face [F] -> triangles [T, 3] of numbers of corners, all faces' in a row: each face's a fan."""
    counts = counts.astype(np.int64)
    triangles = np.maximum(counts - 2, 0)
    first: np.ndarray = np.repeat(np.cumsum(counts) - counts, triangles)  # [T], a face's first corner
    second = first + 1 + np.arange(len(first)) - np.repeat(np.cumsum(triangles) - triangles, triangles)
    return np.stack([first, second, second + 1], axis=-1)


def seamed(corners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What each corner is of, [K, C] -> (each combination once, sorted, [N, C]; the one of each corner, [K])."""
    order = np.lexsort(corners.T[::-1])
    ordered = corners[order]
    new: np.ndarray = np.ones(len(corners), dtype=bool)
    new[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    numbers: np.ndarray = np.empty(len(corners), dtype=np.int64)
    numbers[order] = np.cumsum(new) - 1
    return ordered[new], numbers


def linear(encoded: np.ndarray) -> np.ndarray:
    """sRGB in [0, 1] as amounts of light, float32: OBJ and PLY hold colours as they are shown."""
    clipped = np.clip(encoded, 0, 1)
    return np.where(clipped <= 0.04045, clipped / 12.92, ((clipped + 0.055) / 1.055) ** 2.4).astype(np.float32)
