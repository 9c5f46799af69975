"""A jigsaw puzzle: pieces with tabs in a square picture, which fit together in another order too.

Pieces whose row and column add up to an even number have tabs to their left and right and holes above and below, the
others the reverse: an odd piece is an even one turned by a quarter. So every piece fits wherever a piece with as many
straight sides stands, corners at corners and edges at edges, once it is turned the right way (for an odd number of
pieces along a side, at every second of these places).

Convention: sides are counted clockwise from the top; turns are clockwise; pieces are counted by rows.
"""

from typing import NamedTuple

import torch
from torch import Tensor

Sides = tuple[int, ...]
"""Of a piece (top, right, bottom, left): 0 straight, 1 with a tab, -1 with a hole."""

REACH, RADIUS = 0.1, 0.15
"""A tab is a disc: its middle this far outside its piece, and its radius, in sides of a piece. Wider than its neck."""


class Puzzle(NamedTuple):
    """A puzzle put together in another way. Pieces and places are counted by rows.

    place [H, H] long: the place of the piece that each cell of the view belongs to. piece_at [places] long: which piece
    came there. turns_at [places] long: by how many quarter turns.
    """

    place: Tensor
    piece_at: Tensor
    turns_at: Tensor


def puzzle(length: int, pieces: int, seed: int) -> Puzzle:
    """Of a picture that many cells long, of so many pieces along a side; see ``jigsaw``."""
    sides = [_sides(row, column, pieces) for row in range(pieces) for column in range(pieces)]
    piece_at, turns_at = _other_way(sides, seed)
    return Puzzle(_owners(sides, pieces, length // pieces), piece_at, turns_at)


def jigsaw(picture: Tensor, pieces: int, seed: int) -> Tensor:
    """The puzzle put together in another way: [H, H] -> [H, H], a permutation of cells.

    pieces: along a side, a divisor of H. seed: which way. Tabs are as many cells as have their middle inside them:
    with pieces of four cells two by one, with three one, and smaller pieces are plain squares.
    """
    side = len(picture) // pieces
    place, piece_at, turns_at = puzzle(len(picture), pieces, seed)
    y, x = torch.meshgrid(torch.arange(len(picture)), torch.arange(len(picture)), indexing="ij")
    down, right = 2 * y - _middle(place // pieces, side), 2 * x - _middle(place % pieces, side)  # in half cells
    cos, sin = torch.tensor([1, 0, -1, 0])[turns_at[place]], torch.tensor([0, 1, 0, -1])[turns_at[place]]
    piece = piece_at[place]
    row = _middle(piece // pieces, side) + down * cos - right * sin
    column = _middle(piece % pieces, side) + right * cos + down * sin
    return picture[row // 2, column // 2]


def _middle(piece: Tensor, side: int) -> Tensor:
    """The middle of a piece along an axis, in half cells."""
    return 2 * side * piece + side - 1


def _sides(row: int, column: int, pieces: int) -> Sides:
    across = 1 if (row + column) % 2 == 0 else -1
    return (
        -across if row > 0 else 0,
        across if column < pieces - 1 else 0,
        -across if row < pieces - 1 else 0,
        across if column > 0 else 0,
    )


def _turned(sides: Sides, turns: int) -> Sides:
    return sides[-turns:] + sides[:-turns] if turns else sides


def _other_way(sides: list[Sides], seed: int) -> tuple[Tensor, Tensor]:
    """Which piece comes to each place, and its quarter turns: [pieces] long each."""
    generator = torch.Generator().manual_seed(seed)
    piece_at, turns_at = torch.zeros(len(sides), dtype=torch.long), torch.zeros(len(sides), dtype=torch.long)
    shapes = [min(_turned(own, turns) for turns in range(4)) for own in sides]
    for shape in sorted(set(shapes)):
        places = [place for place, other in enumerate(shapes) if other == shape]
        for place, pick in zip(places, torch.randperm(len(places), generator=generator).tolist(), strict=True):
            piece = places[pick]
            fits = [turns for turns in range(4) if _turned(sides[piece], turns) == sides[place]]
            piece_at[place] = piece
            turns_at[place] = fits[int(torch.randint(len(fits), (1,), generator=generator))]
    return piece_at, turns_at


def _owners(sides: list[Sides], pieces: int, side: int) -> Tensor:
    """To which piece each cell of the picture belongs: [H, H] long. A hole belongs to the neighbour whose tab it is."""
    at = torch.arange(pieces * side)
    number, along = at // side, at % side + 0.5  # distance from the piece's left or upper side
    square = number[:, None] * pieces + number  # [H, H]
    down, right = along[:, None].expand_as(square), along.expand_as(square)
    owner = square
    ways = ((down, right, -pieces), (side - right, down, 1), (side - down, right, pieces), (right, down, -1))
    for which, (depth, across, neighbour) in enumerate(ways):
        tab = (depth - REACH * side) ** 2 + (across - side / 2) ** 2 <= (RADIUS * side) ** 2
        hole = torch.tensor([own[which] == -1 for own in sides])[square]
        owner = torch.where(tab & hole, square + neighbour, owner)
    return owner
