"""What no view sees of a canvas: filled from the nearest cell that one does."""

import torch
from torch import Tensor


def fill(canvas: Tensor, covered: Tensor) -> Tensor:
    """canvas [N, C, …, *canvas] with cells that are not covered [*canvas] as the nearest ones that are.

    Nearest by steps to any of the cells around, found by growing what is covered one cell at a time: of cells that are
    as near the mean. A canvas without a covered cell, and a complete one, stay as they are.
    """
    known = covered.to(canvas.device) > 0
    if bool(known.all()) or not bool(known.any()):
        return canvas
    dims = tuple(range(-known.ndim, 0))
    while not bool(known.all()):
        weight = known.to(canvas.dtype)
        total, count = canvas * weight, weight
        for dim in dims:
            total, count = _spread(total, dim), _spread(count, dim)
        fresh = (count > 0) & ~known
        canvas = torch.where(fresh, total / count.clamp(min=1e-12), canvas)
        known = known | fresh
    return canvas


def _spread(x: Tensor, dim: int) -> Tensor:
    """Each cell with its neighbours along an axis added."""
    total, length = x.clone(), x.shape[dim]
    total.narrow(dim, 0, length - 1).add_(x.narrow(dim, 1, length - 1))
    total.narrow(dim, 1, length - 1).add_(x.narrow(dim, 0, length - 1))
    return total
