"""Noise that is a function of a point in space and of a seed, and of nothing else."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

PRIMES = (73_856_093, 19_349_663, 83_492_791)
MIX, MASK = 0x2C1B3C6D, 0xFFFFFFFF
CORNERS = tuple(itertools.product((0, 1), repeat=3))
AROUND = tuple(itertools.product((-1, 0, 1), repeat=3))


def hashed(cells: Tensor, seed: int) -> Tensor:
    """A number in [0, 1) for each cell [..., 3] of whole numbers: [...] float32."""
    x, y, z = cells.long().unbind(-1)
    bits = (x * PRIMES[0]) ^ (y * PRIMES[1]) ^ (z * PRIMES[2]) ^ (seed * 2_654_435_761 & MASK)
    for shift in (16, 15, 16):
        bits = ((bits ^ ((bits & MASK) >> shift)) * MIX) & MASK
    return (bits >> 8).float() / (1 << 24)


def noise(points: Tensor, seed: int) -> Tensor:
    """Smooth noise in [0, 1] with a wavelength of about 2: [..., 3] -> [...]."""
    cells = points.floor()
    share = points - cells
    share = share * share * (3 - 2 * share)
    total = torch.zeros(points.shape[:-1])
    for corner in CORNERS:
        here = torch.tensor(corner)
        weight = torch.where(here == 1, share, 1 - share).prod(dim=-1)
        total += weight * hashed(cells + here, seed)
    return total


def rough(points: Tensor, seed: int, octaves: int = 3) -> Tensor:
    """Noise with ever finer detail, half as strong each time; in [0, 1]."""
    layers = [noise(points * 2**k + 17.3 * k, seed + k) / 2**k for k in range(octaves)]
    return torch.stack(layers).sum(dim=0) / (2 - 2 ** (1 - octaves))


def cells_of(points: Tensor, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """(distance to the nearest of scattered seeds, to the second nearest, the nearest one's own number): [...] each.

    About one seed in a cube of side 1; numbers are in [0, 1).
    """
    home = points.floor()
    near = torch.full(points.shape[:-1], torch.inf)
    second, number = near.clone(), torch.zeros_like(near)
    for step in AROUND:
        cell = home + torch.tensor(step)
        place = cell + torch.stack([hashed(cell, seed + k) for k in range(3)], dim=-1)
        distance = (points - place).norm(dim=-1)
        closer = distance < near
        second = torch.where(closer, near, torch.minimum(second, distance))
        number = torch.where(closer, hashed(cell, seed + 3), number)
        near = torch.minimum(near, distance)
    return near, second, number
