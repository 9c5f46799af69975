"""How the views of a set stand to each other: derived from their maps, unless the set says it itself.

A set may have any of these functions as a method or attribute of the same name: rectangles know better (and
faster) which of them are apart, and which is in the middle.
"""

import torch
from torch import Tensor

from .view_set import ViewSet

LEAST = 0.05
"""Share of a view that another sees from which the two are neighbours."""


def reference(views: ViewSet) -> int:
    """Number of the view that the others follow: the first, unless the set states another."""
    return int(getattr(views, "reference", 0))


def coverage(views: ViewSet) -> Tensor:
    """How many views, by their weights, see each cell: [*canvas]."""
    own = getattr(views, "coverage", None)
    if own is not None:
        return own()
    return views.unproject(torch.ones(len(views), 1, *views.view)).weight[0, 0]


def index(views: ViewSet) -> Tensor | None:
    """Of each cell of each view the nearest cell of the canvas, flattened: [V, h, w] long, -1 for none.

    None for views that are functions and not tables.
    """
    return getattr(views, "index", None)


def visible(views: ViewSet) -> Tensor | None:
    """Which cells of the views show the canvas: [V, 1, h, w] bool; None where all do."""
    cells = index(views)
    if cells is not None:
        seen = (cells >= 0)[:, None]
    elif hasattr(views, "visible"):
        return views.visible
    else:
        seen = views.project(torch.ones(1, 1, *views.canvas)).abs() > 0
    return None if bool(seen.all()) else seen


def overlap(views: ViewSet) -> Tensor:
    """Share of what view i sees of the canvas that view j sees too: [V, V] float32."""
    seen = _seen(views)
    return seen @ seen.T / seen.sum(dim=1, keepdim=True).clamp(min=1)


def overlap_with(view: ViewSet, views: ViewSet) -> Tensor:
    """Cells of the canvas that one view sees and each of others sees too: [V] float32."""
    return _seen(views) @ _seen(view)[0]


def neighbours(views: ViewSet, view: int, least: float = LEAST) -> dict[int, float]:
    """Views that see at least such a share of what a view sees, and the share."""
    shares = overlap(views)[view].tolist()
    return {other: share for other, share in enumerate(shares) if other != view and share >= least}


def apart(views: ViewSet, turn: int) -> tuple[int, ...]:
    """Numbers of views that do not overlap, others at each turn: every view has its turn in time.

    The first is another one at each turn; after it comes always the next that overlaps none of those chosen.
    """
    own = getattr(views, "apart", None)
    if own is not None:
        return own(turn)
    touches, count = overlap(views) > 0, len(views)
    chosen: list[int] = []
    for view in ((turn + k) % count for k in range(count)):
        if not touches[view, chosen].any():
            chosen.append(view)
    return tuple(sorted(chosen))


def _seen(views: ViewSet) -> Tensor:
    """Which cells of the canvas each view sees: [V, cells] float32, 1 or 0."""
    one = torch.ones(1, 1, *views.view)
    weights = [views.subset([view]).unproject(one).weight.flatten() for view in range(len(views))]
    return (torch.stack(weights) > 0).float()
