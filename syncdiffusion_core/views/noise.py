"""Noise of views: gathered from the canvas, never interpolated, which would take its variance away.

A bilinear projection of white noise has a standard deviation of about .67. Here each cell of a view takes the noise of
its nearest cell on the canvas, so that views share what they see; where two cells of a view would take the same, or a
cell sees nothing, it takes noise of its own. The noise of a view is white and of unit variance, whatever it sees.
"""

import struct

import torch
from torch import Tensor

from .relations import index
from .view_set import ViewSet


def noise_of(views: ViewSet, noise: Tensor) -> Tensor:
    """White noise of a canvas [N, C, …, *canvas] -> of its views [V*N, C, …, h, w]; without any where that is 0."""
    cells = index(views)
    if cells is None:
        cells = torch.full((len(views), *views.view), -1)
    n, lead = noise.shape[0], noise.shape[1 : noise.ndim - len(views.canvas)]
    flat = noise.flatten(len(noise.shape) - len(views.canvas))  # [N, C, …, cells]
    shared = _once(cells.flatten(1)).to(noise.device)  # [V, h*w]
    gathered = flat[..., shared.clamp(min=0)].movedim(-2, 0)  # [V, N, C, …, h*w]
    sign = getattr(views, "sign", None)
    if sign is not None:  # a negated view negates its noise too, or the two would not be of one canvas
        gathered = gathered * sign.to(gathered).reshape(-1, *[1] * (gathered.ndim - 1))
    lone = shared < 0
    if bool(lone.any()):
        own = torch.stack([_own(sample, (len(views), *lead, shared.shape[1])) for sample in noise], dim=1)
        gathered = torch.where(lone.reshape(len(views), *[1] * (gathered.ndim - 2), -1), own, gathered)
    return gathered.reshape(len(views) * n, *lead, *views.view)


def _once(cells: Tensor) -> Tensor:
    """Cells [V, h*w] with -1 instead of all but the first of those that occur again in a view."""
    ordered, order = cells.sort(dim=1, stable=True)
    again = torch.zeros_like(cells, dtype=torch.bool)
    again[:, 1:] = ordered[:, 1:] == ordered[:, :-1]
    return torch.where(again.gather(1, order.argsort(dim=1)), -1, cells)


def _own(sample: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Noise of a sample beside that of its canvas: the same for the same canvas, and none for a canvas without."""
    if not sample.any():
        return sample.new_zeros(shape)
    first = float(sample.flatten()[0])
    generator = torch.Generator().manual_seed(int.from_bytes(struct.pack("<d", first), "little") % 2**63)
    return torch.randn(shape, generator=generator).to(sample)
