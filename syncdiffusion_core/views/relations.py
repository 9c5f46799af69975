"""How the views of a set stand to each other: derived from their maps, unless the set says it itself.

A set may have ``reference``, ``coverage``, ``index``, ``visible`` and ``apart`` as a member of the same name:
rectangles know better (and faster) which of them are apart, and which is in the middle.
"""

import torch
from torch import Tensor

from .view_set import ViewSet

LEAST = 0.05
"""Share of a view that another sees from which the two are neighbours."""

PART = 1 << 20
"""Cells of the canvas that are compared at once."""


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
    own = getattr(views, "visible", None)
    if own is not None:
        return own()
    cells = index(views)
    seen = views.project(torch.ones(1, 1, *views.canvas)).abs() > 0 if cells is None else (cells >= 0)[:, None]
    return None if bool(seen.all()) else seen


def overlap(views: ViewSet) -> Tensor:
    """Share of what view i sees of the canvas that view j sees too: [V, V] float32."""
    seen = _seen(views)
    return _shared(seen, seen) / seen.sum(dim=1, keepdim=True).clamp(min=1)


def overlap_with(view: ViewSet, views: ViewSet) -> Tensor:
    """Cells of the canvas that one view sees and each of others sees too: [V] float32."""
    return _shared(_seen(views), _seen(view)[:1])[:, 0]


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
    """Which cells of the canvas each view sees: [V, cells] bool."""
    one = torch.ones(1, 1, *views.view)
    return torch.stack([views.subset([view]).unproject(one).weight.flatten() > 0 for view in range(len(views))])


def _shared(seen: Tensor, other: Tensor) -> Tensor:
    """Cells that both see, of each with each: [V, W] float32. In parts: textures have millions of cells."""
    parts = zip(seen.split(PART, dim=1), other.split(PART, dim=1), strict=True)
    counts = [mine.float() @ theirs.float().T for mine, theirs in parts]
    return torch.stack(counts).sum(dim=0)
