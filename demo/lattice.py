"""Noise that is a function of a point in space and of a seed, and of nothing else."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import torch
from torch import Tensor

PRIMES = (73_856_093, 19_349_663, 83_492_791)
MIX = (0x2C1B3C6D, 0x297A2D39)
SPREAD = 7_919
"""Between seeds."""
FIELD = 10
"""Bits of a number that a coordinate of a scattered point has."""


def hashed(cells: Tensor, seed: int) -> Tensor:
    """A number in [0, 1) for each cell [..., 3] of whole numbers: [...] float32."""
    x, y, z = (part * prime for part, prime in zip(cells.int().unbind(-1), PRIMES, strict=True))
    return _share(_mixed(x ^ y ^ z, seed), 24)


def noise(points: Tensor, seed: int) -> Tensor:
    """Smooth noise in [0, 1] with a wavelength of about 2: [..., 3] -> [...]."""
    home = points.floor()
    values = [_share(_mixed(bits, seed), 24) for _, bits in _around(home, (0, 1))]
    for share in reversed(_eased(points - home).unbind(-1)):
        values = [torch.lerp(low, high, share) for low, high in zip(values[::2], values[1::2], strict=True)]
    return values[0]


def rough(points: Tensor, seed: int, octaves: int = 3) -> Tensor:
    """Noise with ever finer detail, half as strong each time; in [0, 1]."""
    layers = [noise(points * 2**k + 17.3 * k, seed + k) / 2**k for k in range(octaves)]
    return torch.stack(layers).sum(dim=0) / (2 - 2 ** (1 - octaves))


def cells_of(points: Tensor, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """(distance to the nearest of scattered seeds, to the second nearest, the nearest one's own number): [...] each.

    About one seed in a cube of side 1; numbers are in [0, 1).
    """
    home = points.floor()
    within = (points - home).unbind(-1)
    near = torch.full(points.shape[:-1], torch.inf)
    second, number = near.clone(), torch.zeros_like(near)
    for step, bits in _around(home, (-1, 0, 1)):
        mixed, distance = _mixed(bits, seed), torch.zeros_like(near)
        for axis in range(3):
            place = _share(mixed >> FIELD * axis, FIELD) + step[axis]
            distance += (place - within[axis]) ** 2
        closer = distance < near
        second = torch.where(closer, near, torch.minimum(second, distance))
        number = torch.where(closer, _share(_mixed(mixed, seed), 24), number)
        near = torch.minimum(near, distance)
    return near.sqrt(), second.sqrt(), number


def _around(home: Tensor, steps: tuple[int, ...]) -> Iterator[tuple[tuple[int, ...], Tensor]]:
    """(step, what is hashed there) of cells [..., 3] so many steps away along each axis; the last runs fastest."""
    axes = zip(home.int().unbind(-1), PRIMES, strict=True)
    x, y, z = ({step: (part + step) * prime for step in steps} for part, prime in axes)
    for step in itertools.product(steps, repeat=3):
        yield step, x[step[0]] ^ y[step[1]] ^ z[step[2]]


def _mixed(bits: Tensor, seed: int) -> Tensor:
    """Well shuffled int32, which overflow on purpose."""
    bits = bits + seed % (1 << 16) * SPREAD
    for mix in MIX:
        bits = (bits ^ (bits >> 16)) * mix
    return bits ^ (bits >> 15)


def _share(bits: Tensor, length: int) -> Tensor:
    """The last so many bits as a number in [0, 1)."""
    return (bits & (1 << length) - 1).float() / (1 << length)


def _eased(share: Tensor) -> Tensor:
    return share * share * (3 - 2 * share)
