"""The canvas whose views come the closest to given ones, for views that mix cells: the mean alone is softer than it."""

import torch
from torch import Tensor

from .view_set import ViewSet

LEAST = 1e-12


def closest(
    views: ViewSet, given: Tensor, start: Tensor, steps: int, counts: Tensor | None = None, damping: float = 0.0
) -> Tensor:
    """Views given [V*N, C, h, w] -> canvas c [N, C, *canvas] that lessens the sum of w counts (f(c) - given)^2.

    Conjugate gradients from a start, preconditioned by what g says of a constant: few steps leave what hardly counts
    as it was. w: the views' weights, whose g is the adjoint of f; counts, of the shape of given, 1 if not told.
    damping: how much the start counts, for one of the rest. Cells that no view covers stay. Notation: f, g — project
    and unproject; each step is one of each.
    """
    counts = torch.ones_like(given) if counts is None else counts

    def back(of_views: Tensor) -> Tensor:
        return views.unproject(counts * of_views).total.flatten(0, 1)  # a colour of a sample each

    residual, weight = back(given - views.project(start)), back(torch.ones_like(given))
    dims, canvas = tuple(range(1, residual.ndim)), start
    scale = torch.where(weight > 0, 1 / weight.clamp(min=LEAST), 0)
    way = scaled = residual * scale
    descent = (residual * scaled).sum(dims, keepdim=True)
    for _ in range(steps):
        step = back(views.project(way.view_as(canvas))) + damping * weight * way
        length = _ratio(descent, (way * step).sum(dims, keepdim=True))
        canvas = canvas + (length * way).view_as(canvas)
        residual = residual - length * step
        scaled = residual * scale
        before, descent = descent, (residual * scaled).sum(dims, keepdim=True)
        way = scaled + _ratio(descent, before) * way
    return canvas


def _ratio(part: Tensor, whole: Tensor) -> Tensor:
    """0 where nothing is left to divide by: a picture that is met already."""
    return torch.where(whole > LEAST, part / whole.clamp(min=LEAST), 0)
