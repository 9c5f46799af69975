"""What no view sees of a canvas: filled from the nearest cell that one does."""

import torch
from torch import Tensor


def fill(canvas: Tensor, covered: Tensor) -> Tensor:
    """canvas [N, C, …, *canvas] with cells that are not covered [*canvas] as the nearest ones that are.

    Nearest by steps along the last two axes, the picture's; a picture of several (a face of a cube) without a covered
    cell becomes the mean of all covered cells. A canvas without a covered cell, and a complete one, stay as they are.
    The time depends on the size of the canvas, not on that of the holes.
    """
    known = covered.to(canvas.device) > 0
    if bool(known.all()) or not bool(known.any()):
        return canvas
    source = _nearest(known).flatten()
    flat = canvas.flatten(-known.ndim)
    filled = flat[..., source.clamp(min=0)]
    if bool((source < 0).any()):
        filled = torch.where(source < 0, flat[..., known.flatten()].mean(dim=-1, keepdim=True), filled)
    return filled.view_as(canvas)


def _nearest(known: Tensor) -> Tensor:
    """Of each cell the flat number of the nearest known one: [*canvas] long, -1 where its picture has none."""
    far = sum(known.shape) + 1
    steps = torch.where(known, 0, far)
    source = torch.arange(known.numel(), device=known.device).view_as(known)
    for dim in range(-min(known.ndim, 2), 0):
        steps, source = _swept(steps, source, dim)
        steps, source = (x.flip(dim) for x in _swept(steps.flip(dim), source.flip(dim), dim))
    return torch.where(steps < far, source, -1)


def _swept(steps: Tensor, source: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Steps to the nearest known cell, and which that is, once cells before one along an axis have been asked too."""
    at = torch.arange(steps.shape[dim], device=steps.device).view(-1, *[1] * (-dim - 1))
    best, where = (steps - at).cummin(dim)
    nearer = best + at < steps
    return torch.where(nearer, best + at, steps), torch.where(nearer, source.gather(dim, where), source)
