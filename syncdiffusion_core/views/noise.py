"""Noise of views: gathered from the canvas, never interpolated, which would take its variance away.

A bilinear projection of white noise has a standard deviation of about .67. Here each cell of a view takes the noise of
its nearest cell on the canvas, so that views share what they see; where two cells of a view would take the same, or a
cell sees nothing, it takes noise of its own. The noise of a view is white and of unit variance, whatever it sees.
"""

import hashlib
import struct

import torch
from torch import Tensor

from .relations import index
from .view_set import ViewSet

SEED_VALUES = 64
"""Values of a canvas's noise, spread over it, that name the noise of its views' own cells."""


def noise_of(views: ViewSet, noise: Tensor) -> Tensor:
    """White noise of a canvas [N, C, …, *canvas], of unit variance -> of its views [V*N, C, …, h, w].

    The same for the same canvas and the same view, whichever others are asked for with it. A sample whose noise is 0
    all over has none in its views either.
    """
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
        own = torch.stack([_own(sample, views.names, (*lead, shared.shape[1])) for sample in noise], dim=1)
        gathered = torch.where(lone.reshape(len(views), *[1] * (gathered.ndim - 2), -1), own, gathered)
    return gathered.reshape(len(views) * n, *lead, *views.view)


def redrawn(noise: Tensor, step: int) -> Tensor:
    """Other noise of a canvas [N, C, …, *canvas], white and of unit variance, for a step of its run.

    Of each sample by its own noise and the step: the same at every call, and whichever samples are beside it.
    """
    return torch.stack([_drawn(sample, -1 - step, tuple(sample.shape)) for sample in noise])


def _once(cells: Tensor) -> Tensor:
    """Cells [V, h*w] with -1 instead of all but the first of those that occur again in a view."""
    ordered, order = cells.sort(dim=1, stable=True)
    again = torch.zeros_like(cells, dtype=torch.bool)
    again[:, 1:] = ordered[:, 1:] == ordered[:, :-1]
    return torch.where(again.gather(1, order.argsort(dim=1)), -1, cells)


def _own(sample: Tensor, names: tuple[int, ...], shape: tuple[int, ...]) -> Tensor:
    """Noise of views beside that of the canvas [C, …, *canvas]: [V, *shape], by their names; 0 for a canvas of 0."""
    return torch.stack([_drawn(sample, name, shape) for name in names])


def _drawn(sample: Tensor, name: int, shape: tuple[int, ...]) -> Tensor:
    """Noise of another name than that of a canvas, told by it; 0 for a canvas of 0."""
    if not sample.any():
        return sample.new_zeros(shape)
    # One value would not do: it may be masked, and half precision has few.
    values = sample.flatten()[:: max(sample.numel() // SEED_VALUES, 1)].tolist()
    seed = hashlib.sha256(struct.pack(f"<{len(values)}dq", *values, name)).digest()[:7]
    generator = torch.Generator().manual_seed(int.from_bytes(seed, "little"))
    return torch.randn(shape, generator=generator).to(sample)
