"""The contract of a set of views, and the aggregation A of SyncTweedies.

A canvas is a table or a linear function (``tables``); everything else is derived (``relations``).
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor


class Sums(NamedTuple):
    """Views on their way to the canvas: a weighted sum [N, C, …, *canvas] and its weights [1, 1, *canvas]."""

    total: Tensor
    weight: Tensor

    def plus(self, other: "Sums") -> "Sums":
        """These and other views of the same canvas."""
        return Sums(self.total + other.total, self.weight + other.weight)

    def mean(self) -> Tensor:
        """The weighted mean: [N, C, …, *canvas]; cells that no view covers are 0."""
        return self.total / torch.where(self.weight == 0, torch.ones_like(self.weight), self.weight)


class ViewSet(Protocol):
    """V views of one canvas, of one step. Immutable; both maps are made from the same stored numbers.

    Rows of a stack of views are ordered view-major, sample-minor: (v0,s0), (v0,s1), …, (v1,s0), …
    A set may also have what ``relations`` otherwise derives from its maps, under the names of the functions there.
    """

    @property
    def names(self) -> tuple[int, ...]:
        """By which ``Rows`` and conditioning know the views: their numbers here, or in the set they were taken from."""
        ...

    @property
    def canvas(self) -> tuple[int, ...]:
        """Trailing shape of a canvas: (H, W), (6, S, S), (points,)."""
        ...

    @property
    def view(self) -> tuple[int, int]:
        """(height, width) of a view."""
        ...

    def __len__(self) -> int: ...

    def project(self, canvas: Tensor) -> Tensor:
        """f: canvas [N, C, *canvas] -> views [V*N, C, h, w]."""
        ...

    def unproject(self, views: Tensor) -> Sums:
        """g: views [V*N, C, h, w] -> sums [N, C, *canvas], in float32 at least, in the same order at every run."""
        ...

    def subset(self, numbers: Sequence[int]) -> "ViewSet":
        """Some of the views, by their numbers here, in that order, under their names."""
        ...


def aggregate(views: ViewSet, x: Tensor) -> Tensor:
    """A∘g: the weighted mean of views x [V*N, C, h, w] on the canvas (Eq. 12; SyncTweedies Eq. 6)."""
    return views.unproject(x).mean()
