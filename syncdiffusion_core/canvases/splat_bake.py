"""Pictures of views baked into the colours of splats.

A splat is given the mean of the pixels that it is seen in, by how much; that is softer than the pictures. A few steps
of least squares bring the pictures back: in light, as renderers of splats add up light. The mean is of colours as they
are stored, which comes closer to the colours themselves.
"""

from enum import Enum

import torch
from torch import Tensor

from ..views.least_squares import closest
from ..views.view_set import ViewSet, aggregate
from .light import from_light, slope, to_light

DAMPING = 0.03
"""Share of what a splat counts: pictures are never wholly of splats, and what is not stays out of their colours."""
DARK = 0.01
"""Light below which errors count no more than there."""
FINEST = 1 << 10
"""Boxes along the side of all splats, in which those that are not seen first look for others."""


class Bake(str, Enum):
    """How a splat's colour comes from the pixels that show it."""

    MEAN = "mean"
    LEAST_SQUARES = "least squares"


def baked(views: ViewSet, pictures: Tensor, steps: int = 0) -> Tensor:
    """sRGB pictures [V, 3, h, w] in [0, 1] -> colours [S, 3], sRGB in [0, 1]; 0 of what no view shows.

    steps: of least squares, 0 for the mean. An error of light counts as the eye sees it in sRGB, most where it is dark.
    """
    mean = aggregate(views, pictures)
    if not steps:
        return mean[0].T
    light = to_light(pictures)
    made = closest(views, light, to_light(mean), steps, slope(light.clamp(min=DARK)).square(), DAMPING)
    return from_light(made[0].T.clamp(0, 1))


def from_beside(colours: Tensor, seen: Tensor, positions: Tensor) -> Tensor:
    """Colours [S, 3] of which those that are not seen become the mean of those in the smallest box around them.

    Boxes of a grid over all splats, twice as large from turn to turn; time and memory go by the number of splats.
    """
    least, most = positions.aminmax(dim=0)
    length = float((most - least).max()) or 1.0
    places = ((positions - least) / length * FINEST).long().clamp(0, FINEST - 1)
    colours, missing = colours.clone(), ~seen
    while bool(missing.any()) and bool(seen.any()):
        _, box = torch.unique(places, dim=0, return_inverse=True)
        counts = torch.bincount(box[seen], minlength=int(box.max()) + 1)
        sums = torch.zeros(len(counts), 3, dtype=torch.float64).index_add_(0, box[seen], colours[seen].double())
        found = missing & (counts[box] > 0)
        colours[found] = (sums[box[found]] / counts[box[found], None]).to(colours)
        missing, places = missing & ~found, places // 2
    return colours
