"""A disc in the middle of a picture, turned by any angle; what lies around it stays.

Convention: angles in radians, clockwise to the eye; y down, x right; centres of cells at half integers, so that the
middle of an even side lies between two cells. Cells whose centre is in the disc, its edge included, turn.
"""

import math

import torch
from torch import Tensor

from .bilinear import between

EXACT = 1e-6
"""Cells by which a turned centre may miss another one and is still that: quarter turns move cells and mix none."""


def turned_disc(size: tuple[int, int], angle_rad: float, diameter: float) -> tuple[Tensor, Tensor]:
    """Four taps of every cell of a picture [H, W], and how much each counts: ([4, H, W] long, -1 for none; [4, H, W]).

    diameter: of the disc, as a share of the shorter side, at most 1. Cells between others are bilinear, as one cell
    of a view is then made of up to four: a one-to-n projection.
    """
    height, width = size
    dy = torch.arange(height, dtype=torch.float64)[:, None] - (height - 1) / 2
    dx = torch.arange(width, dtype=torch.float64)[None, :] - (width - 1) / 2
    inside = dy.square() + dx.square() <= (diameter * min(size) / 2) ** 2
    cos, sin = math.cos(angle_rad), math.sin(angle_rad)
    y = torch.where(inside, dy * cos - dx * sin, dy.expand(size)) + (height - 1) / 2
    x = torch.where(inside, dx * cos + dy * sin, dx.expand(size)) + (width - 1) / 2
    rows, columns = _within(y, height), _within(x, width)
    taps = torch.stack([row * width + column for row, _ in rows for column, _ in columns])
    weights = torch.stack([down * right for _, down in rows for _, right in columns])
    return torch.where(weights > 0, taps, -1), weights.float()


def _within(position: Tensor, length: int) -> list[tuple[Tensor, Tensor]]:
    """``between`` cells of an axis, and on them where a place misses one by next to nothing."""
    nearest = position.round()
    position = torch.where((position - nearest).abs() < EXACT, nearest, position).clamp(0, length - 1)
    return [(cell.clamp(max=length - 1), share) for cell, share in between(position)]
