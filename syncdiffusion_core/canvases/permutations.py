"""Maps that only move the cells of a picture: flips, quarter turns, a skew, and blocks in another order.

Convention: a map takes any picture [H, W] (of numbers of cells, too) to what the view shows of it. y down, x right;
turns are clockwise to the eye. Sizes of blocks are counts and shares, so that one map suits every resolution.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

LUMA = (0.299, 0.587, 0.114)
"""Brightness of red, green and blue (Rec. 601)."""


def quarter_turns(picture: Tensor, turns: int) -> Tensor:
    """So many quarter turns clockwise, of a picture [H, W] that is square where they are odd."""
    return torch.rot90(picture, -turns)


def skewed(picture: Tensor, slope: float) -> Tensor:
    """Columns of [H, W] moved down, each by slope times its distance from the left edge, and around the bottom."""
    height, width = picture.shape
    rows = (torch.arange(height)[:, None] - columns_down(width, slope)) % height
    return picture.gather(0, rows)


def columns_down(width: int, slope: float) -> Tensor:
    """By how many cells a skew moves each column down: [W] long.

    The distance is that of the column's middle, the nearest whole number of cells counts, and of two as near the less:
    columns of pixels move as those of latents do, to within half a cell and the slope.
    """
    return (slope * (torch.arange(width, dtype=torch.float64) + 0.5) - 0.5).ceil().long()


def blocks_in_order(picture: Tensor, order: Tensor) -> Tensor:
    """Blocks of [H, W] in another order. order [rows, columns] long: which block comes to each place, counted by rows.

    rows have to divide H, columns W.
    """
    rows, columns = order.shape
    blocks = picture.unflatten(1, (columns, -1)).unflatten(0, (rows, -1)).transpose(1, 2)  # [rows, columns, h, w]
    moved = blocks.flatten(0, 1)[order.flatten()].unflatten(0, (rows, columns))
    return moved.transpose(1, 2).flatten(2).flatten(0, 1)


def random_order(rows: int, columns: int, seed: int) -> Tensor:
    """A permutation of so many blocks: [rows, columns] long, the same for the same seed."""
    return torch.randperm(rows * columns, generator=torch.Generator().manual_seed(seed)).view(rows, columns)


def order_of_brightness(picture: Tensor, rows: int, columns: int) -> Tensor:
    """Blocks from the darkest of a picture [3 or 1, h, w] to its brightest: [rows, columns] long.

    A view in this order shows at its top left the block that is the darkest in the picture, and then row by row
    brighter ones; of equally bright ones first the one that is further up, and further left. The brightness of a block
    is the mean of the part of the picture that lies there, whatever the picture's size.
    """
    weights = torch.tensor(LUMA if len(picture) == 3 else (1.0,), dtype=torch.float64)
    luma = (picture.detach().cpu().double() * weights[:, None, None]).sum(dim=0)
    return F.adaptive_avg_pool2d(luma[None], (rows, columns)).flatten().argsort(stable=True).view(rows, columns)
