"""The canvas whose views come the closest to given ones, for views that mix cells: the mean alone is softer than it."""

import torch
from torch import Tensor

from .view_set import ViewSet, aggregate

DAMPING = 0.03
LEAST = 1e-12


def closest(views: ViewSet, given: Tensor, steps: int, damping: float = DAMPING) -> Tensor:
    """Views given [V*N, C, h, w] -> canvas c [N, C, *canvas] that lessens the sum of w (f(c) - given)^2.

    Conjugate gradients from a start, the weighted mean if not given, preconditioned by what g says of a constant; few
    steps leave what hardly counts as it was. Of views whose g is the adjoint of f, w its weights; cells that no view
    covers stay. Notation: f, g — project and unproject; each step is one of each.
    """
    canvas = aggregate(views, given)
    residual, weight = views.unproject(given.to(canvas) - views.project(canvas))
    residual = residual.flatten(0, 1)  # a colour of a sample each
    scale = torch.where(weight > 0, 1 / weight.clamp(min=LEAST), 0).flatten(0, 1)
    dims = tuple(range(1, residual.ndim))
    held = damping * weight.flatten(0, 1)
    way = scaled = residual * scale
    descent = (residual * scaled).sum(dims, keepdim=True)
    for _ in range(steps):
        back = views.unproject(views.project(way.view_as(canvas))).total.view_as(residual) + held * way
        length = _ratio(descent, (way * back).sum(dims, keepdim=True))
        canvas = canvas + (length * way).view_as(canvas)
        residual = residual - length * back
        scaled = residual * scale
        before, descent = descent, (residual * scaled).sum(dims, keepdim=True)
        way = scaled + _ratio(descent, before) * way
    return canvas


def _ratio(part: Tensor, whole: Tensor) -> Tensor:
    """0 where nothing is left to divide by: a picture that is met already."""
    return torch.where(whole > LEAST, part / whole.clamp(min=LEAST), 0)
