"""The contract of a set of views, and the aggregation A of SyncTweedies."""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor


class ViewSet(Protocol):
    """N views of one canvas. Immutable; both maps come from the same stored indices.

    Rows of a stack of views are ordered view-major, sample-minor: (v0,s0), (v0,s1), …, (v1,s0), …

    names: what each view is called in ``Rows``: its number here, or in the larger set that it was taken from.
    centre: number of the middle view, the anchor of SyncDiffusion.
    """

    def __len__(self) -> int: ...

    @property
    def names(self) -> tuple[int, ...]: ...

    @property
    def centre(self) -> int: ...

    def at(self, step: int) -> "ViewSet":
        """The views of one step: the set itself, unless it moves."""
        ...

    def nearest(self, origin: tuple[int, int]) -> int:
        """Number of the view that is nearest to a corner (top, left) on the canvas."""
        ...

    def apart(self, turn: int) -> tuple[int, ...]:
        """Numbers of views that do not overlap, others at each turn."""
        ...

    def subset(self, views: Sequence[int]) -> "ViewSet":
        """Some of the views, in that order, under their names."""
        ...

    def project(self, canvas: Tensor) -> Tensor:
        """f: canvas [N, C, H, W] -> views [V*N, C, h, w]."""
        ...

    def unproject(self, views: Tensor) -> tuple[Tensor, Tensor]:
        """g: views [V*N, C, h, w] -> (weighted sum [N, C, H, W], sum of weights [1, 1, H, W])."""
        ...


def aggregate(view_set: ViewSet, views: Tensor) -> Tensor:
    """A: the weighted mean of the views on the canvas (Eq. 12; SyncTweedies Eq. 6).

    views [V*N, C, h, w] -> canvas [N, C, H, W]. Cells that no view covers are 0.
    """
    total, weight = view_set.unproject(views)
    return total / torch.where(weight == 0, torch.ones_like(weight), weight)


def resynchronise(view_set: ViewSet, views: Tensor) -> Tensor:
    """F = f ∘ A ∘ g: every view replaced by the canvas's opinion of it."""
    return view_set.project(aggregate(view_set, views))
