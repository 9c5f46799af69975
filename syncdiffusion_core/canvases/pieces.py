"""Rigid pieces of a picture on their way to where a view has them.

Convention: places are (y, x) in cells, middles of cells at half integers; turns are clockwise to the eye.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .jigsaw import puzzle

FINE = 2
"""Cells of the drawing along one of the picture: pieces stand at halves of a pixel while they move."""
SPOTS = {False: 2, True: 3}
"""Points of a cell along each side that are drawn, without and with turns: turned ones leave no hole if they are denser
than the drawing's cells by the root of two."""


@dataclass(frozen=True)
class Pieces:
    """Where each piece is in the picture and in the view.

    owner [H, W] long: to which piece each cell of the picture belongs. start, goal [pieces, 2]: of their middles.
    turns [pieces]: quarter turns on the way, the shorter way round: -1, 0, 1 or 2.
    """

    owner: Tensor
    start: Tensor
    goal: Tensor
    turns: Tensor

    def at(self, part: float, picture: Tensor, backdrop: Tensor) -> Tensor:
        """The picture [C, H, W] with its pieces so far on their way, over the backdrop: [C, H, W].

        Those that go further lie above others. What is off the picture is cut off.
        """
        top = self._topmost(part)
        fine = F.interpolate(backdrop[None], scale_factor=FINE)[0].flatten(1)
        drawn = torch.where(top < 0, fine, picture.flatten(1)[:, top % self.owner.numel()])
        return F.avg_pool2d(drawn.unflatten(1, (FINE * len(self.owner), -1)), FINE)

    def _topmost(self, part: float) -> Tensor:
        """Of each fine cell what is drawn there: a piece's layer x H*W + the cell of the picture; -1 for nothing."""
        height, width = self.owner.shape
        layer = (self.goal - self.start).norm(dim=1).argsort(stable=True).argsort()
        cell = (layer[self.owner] * self.owner.numel()).flatten() + torch.arange(self.owner.numel())
        fine_cells = FINE * height * FINE * width
        top = torch.full((fine_cells + 1,), -1)  # the last for what is off the picture
        angle = part * self.turns * (math.pi / 2)
        cos, sin = angle.cos()[self.owner], angle.sin()[self.owner]
        middle, now = self.start[self.owner], torch.lerp(self.start, self.goal, part)[self.owner]  # [H, W, 2]
        spots = SPOTS[bool(self.turns.any())]
        for k in range(spots**2):  # one after another: memory of one picture
            dy = torch.arange(height)[:, None] + (k // spots + 0.5) / spots - middle[..., 0]
            dx = torch.arange(width) + (k % spots + 0.5) / spots - middle[..., 1]
            y = (FINE * (now[..., 0] + dy * cos + dx * sin)).floor().long()
            x = (FINE * (now[..., 1] + dx * cos - dy * sin)).floor().long()
            seen = (y >= 0) & (y < FINE * height) & (x >= 0) & (x < FINE * width)
            place = torch.where(seen, y * (FINE * width) + x, fine_cells).flatten()
            top.scatter_reduce_(0, place, cell, "amax")
        return top[:-1]


def blocks(order: Tensor, size: tuple[int, int]) -> Pieces:
    """Blocks of a picture of that size [H, W]; order [rows, columns] long: which block comes to each place."""
    rows, columns = order.shape
    owner = torch.arange(rows * columns).view(rows, columns)
    owner = owner.repeat_interleave(size[0] // rows, 0).repeat_interleave(size[1] // columns, 1)
    start = _middles(rows, columns, size)
    return Pieces(owner, start, _of_pieces(start, order.flatten()), torch.zeros(rows * columns))


def jigsaw_pieces(length: int, pieces: int, seed: int) -> Pieces:
    """Of the puzzle that ``jigsaw`` puts together, of a square picture that many cells long."""
    owner, piece_at, turns_at = puzzle(length, pieces, seed)  # places have the shapes of the pieces that were there
    start = _middles(pieces, pieces, (length, length))
    shorter = torch.tensor([0.0, 1.0, 2.0, -1.0])[turns_at]
    return Pieces(owner, start, _of_pieces(start, piece_at), _of_pieces(shorter, piece_at))


def _middles(rows: int, columns: int, size: tuple[int, int]) -> Tensor:
    y = (torch.arange(rows) + 0.5) * (size[0] / rows)
    x = (torch.arange(columns) + 0.5) * (size[1] / columns)
    return torch.cartesian_prod(y, x)


def _of_pieces(of_places: Tensor, piece_at: Tensor) -> Tensor:
    """What is known of each place, in the order of the pieces that come there."""
    moved = torch.empty_like(of_places)
    moved[piece_at] = of_places
    return moved
