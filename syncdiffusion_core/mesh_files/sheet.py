"""One picture and one square of UVs for all materials of a mesh.

A mesh of ComfyUI has one texture. Pictures of several materials lie side by side on it, each as large as the UVs that
show it reach: where those go beyond the picture it is repeated, so that each place of the surface has texels of its
own wherever it had UVs of its own. A single picture that no UV leaves stays as it is.

Convention: UV origin top left, v down, align_corners False; pictures sRGB in [0, 1]; colours of materials linear.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from .pieces import Piece

Decode = Callable[[bytes, int], Tensor]
"""(file of a picture, side that it is shrunk to if larger) -> [H, W, 3] uint8. Raises ValueError for what is none."""

Pictures = Mapping[int | None, Tensor]
"""By number, [H, W, 3] uint8."""

MOST_PX = 4096
"""Side of a sheet of several pictures, or of one that is repeated."""
MOST_SINGLE_PX = 8192
"""Side of a single picture."""
MOST_TILES = 64
"""Repetitions across or down that are laid out; UVs that reach further are cut off."""
SLACK = 1e-3
"""By which rounding may take UVs out of the square."""


class Wrap(str, Enum):
    """What a picture shows beyond its borders."""

    REPEAT = "repeat"
    MIRROR = "mirror"
    CLAMP = "clamp"


@dataclass(frozen=True)
class Paint:
    """What a material paints with. colour: linear, which multiplies the picture. image: by number, None for none."""

    colour: tuple[float, float, float]
    image: int | None
    wraps: tuple[Wrap, Wrap] = (Wrap.REPEAT, Wrap.REPEAT)


@dataclass(frozen=True)
class Box:
    """Whole pictures that UVs reach over, from (left, top)."""

    left: int
    top: int
    across: int
    down: int


def painted(pieces: Sequence[Piece], paints: Sequence[Paint], pictures: Pictures) -> tuple[list[Piece], Tensor]:
    """(pieces with UVs of the sheet, the sheet [H, W, 3] float32).

    paints: of each piece. One whose picture is not there is plain.
    """
    paints = [paint if paint.image in pictures else Paint(paint.colour, None) for paint in paints]
    pieces = [_with_uvs(piece, paint) for piece, paint in zip(pieces, paints, strict=True)]
    boxes = _boxes(pieces, paints)
    first = paints[0]
    if len(boxes) == 1 and boxes[first] == Box(0, 0, 1, 1):
        return pieces, _coloured(_unit(pictures[first.image]), first.colour)
    columns = columns_of(len(boxes))
    sizes = [_size(pictures.get(cell.image), box, MOST_PX // columns) for cell, box in boxes.items()]
    height, width = (max(sides) for sides in zip(*sizes, strict=True))
    sheet = torch.zeros(math.ceil(len(boxes) / columns) * height, columns * width, 3)
    corners = {}
    for number, (cell, box) in enumerate(boxes.items()):
        left, top = corners[cell] = number % columns * width, number // columns * height
        made = _cell(cell, pictures.get(cell.image), box, (height, width))
        sheet[top : top + height, left : left + width] = made
    return [
        replace(piece, uvs=_placed(piece.uvs, boxes[paint], corners[paint], (height, width), sheet))
        for piece, paint in zip(pieces, paints, strict=True)
    ], sheet


def columns_of(cells: int) -> int:
    """How many pictures lie beside each other."""
    return math.ceil(math.sqrt(cells))


def _with_uvs(piece: Piece, paint: Paint) -> Piece:
    """With UVs in any case, and inside of the picture where its border goes on beyond it."""
    uvs = np.full((len(piece.vertices), 2), 0.5, np.float32) if piece.uvs is None else piece.uvs
    ends = [(0, 1) if wrap is Wrap.CLAMP else (-np.inf, np.inf) for wrap in paint.wraps]
    return replace(piece, uvs=np.clip(uvs, *np.array(ends, np.float32).T))


def _boxes(pieces: Sequence[Piece], paints: Sequence[Paint]) -> dict[Paint, Box]:
    """What the UVs of each paint reach over, whole pictures from the first; of far too many only those."""
    ends: dict[Paint, list[np.ndarray]] = {}
    for piece, paint in zip(pieces, paints, strict=True):
        ends.setdefault(paint, []).extend((piece.uvs.min(axis=0), piece.uvs.max(axis=0)))  # type: ignore[union-attr]
    return {paint: _box(np.min(found, axis=0), np.max(found, axis=0)) for paint, found in ends.items()}


def _box(least: np.ndarray, most: np.ndarray) -> Box:
    first = np.clip(np.floor(least + SLACK), -(2**30), 2**30)
    count = np.clip(np.ceil(most - SLACK) - first, 1, MOST_TILES)
    return Box(*(int(number) for number in (*first, *count)))


def _placed(
    uvs: np.ndarray | None, box: Box, corner: tuple[int, int], size: tuple[int, int], sheet: Tensor
) -> np.ndarray:
    """UVs of a box as those of the sheet, half a texel inside of the box's cell: its neighbours do not shine in."""
    cell = np.array(size[::-1])
    inside = (uvs - np.array([box.left, box.top])) / np.array([box.across, box.down])
    px = np.array(corner) + np.clip(inside * cell, 0.5, cell - 0.5)
    return (px / np.array([sheet.shape[1], sheet.shape[0]])).astype(np.float32)


def _size(picture: Tensor | None, box: Box, most: int) -> tuple[int, int]:
    """(height, width) that a picture takes up with its repetitions."""
    height, width = (1, 1) if picture is None else picture.shape[:2]
    return min(height * box.down, most), min(width * box.across, most)


def _cell(paint: Paint, picture: Tensor | None, box: Box, size: tuple[int, int]) -> Tensor:
    """[height, width, 3] of what lies over a box."""
    if picture is None:
        return _coloured(torch.ones(1, 1, 3), paint.colour).expand(*size, 3)
    tile = _resized(_unit(picture), (max(1, size[0] // box.down), max(1, size[1] // box.across)))
    rows = _wrapped(box.top, box.down, tile.shape[0], paint.wraps[1])
    columns = _wrapped(box.left, box.across, tile.shape[1], paint.wraps[0])
    return _resized(_coloured(tile, paint.colour)[rows][:, columns], size)


def _wrapped(first: int, count: int, px: int, wrap: Wrap) -> Tensor:
    """Pixels of a picture along an axis, over so many pictures from the first: [count * px]."""
    places = torch.arange(first * px, (first + count) * px)
    if wrap is Wrap.CLAMP:
        return places.clamp(0, px - 1)
    turned = places.remainder(2 * px)
    return torch.where(turned < px, turned, 2 * px - 1 - turned) if wrap is Wrap.MIRROR else places.remainder(px)


def _unit(picture: Tensor) -> Tensor:
    return picture.float().div_(255)


def _resized(picture: Tensor, size: tuple[int, int]) -> Tensor:
    """[H, W, 3] -> [*size, 3]."""
    if tuple(picture.shape[:2]) == size:
        return picture
    chw = picture.movedim(-1, 0)[None]
    return F.interpolate(chw, size, mode="bilinear", antialias=True)[0].movedim(0, -1).clamp(0, 1)


def _coloured(picture: Tensor, colour: tuple[float, float, float]) -> Tensor:
    """Multiplied as amounts of light."""
    if colour == (1.0, 1.0, 1.0):
        return picture
    light = torch.where(picture <= 0.04045, picture / 12.92, ((picture + 0.055) / 1.055) ** 2.4)
    light = (light * torch.tensor(colour)).clamp(0, 1)
    return torch.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
