"""What the views are pulled towards: a view needs a target, not a position."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Protocol

import torch
from torch import Tensor

from ..perceptual.distance import Features
from ..views.relations import neighbours, overlap_with, reference
from ..views.view_set import ViewSet

OfViews = Callable[[tuple[int, ...]], Features]
"""The target of some views, by their numbers: features of batch len*N, view-major, or 1 for all."""


class AnchorKind(str, Enum):
    """Which picture the views should resemble."""

    CENTRE = "centre window"
    INDEX = "window by index"
    IMAGE = "reference image"
    MEAN = "mean of all windows"
    NEIGHBOURS = "neighbouring windows"


class Eyes(Protocol):
    """How the clean predictions of a step look: features of its views, by their numbers."""

    n_samples: int

    def view(self, number: int) -> Features:
        """Of one view: batch N."""
        ...

    def each(self, numbers: Sequence[int]) -> Iterable[tuple[tuple[int, ...], Features]]:
        """Of many, in batches: (numbers, features of batch len*N or more, the rest to be dropped)."""
        ...

    def picture(self, image: Tensor) -> Features:
        """Of a picture [1 or N, 3, H, W] in [0, 1]."""
        ...


class Target(Protocol):
    """What each view is compared with."""

    def stays(self, views: ViewSet) -> int | None:
        """The view that never moves, because it is the target itself."""
        ...

    def needs(self, views: ViewSet, moving: Sequence[int]) -> set[int]:
        """Views whose clean predictions have to be known, beside those of the step's turn."""
        ...

    def of(self, views: ViewSet, moving: Sequence[int], eyes: Eyes) -> OfViews:
        """The target of each view of the turn."""
        ...


@dataclass(frozen=True)
class ReferenceView:
    """A view of the set, as in Algorithm 1.

    index: its number, negative ones from the end; None for the set's own reference, the middle of windows. place: that
    view on the canvas, for views that move: of those of a step the one that sees the most of it is meant.
    """

    index: int | None = None
    place: ViewSet | None = None

    def on(self, views: ViewSet) -> "ReferenceView":
        """The same, found again by its place among views that move; views: those that the index counts."""
        return self if self.index is None else replace(self, place=views.subset([self.stays(views)]))

    def stays(self, views: ViewSet) -> int:
        """The reference. Raises ValueError for an index beyond the views."""
        if self.place is not None:
            return int(overlap_with(self.place, views).argmax())
        if self.index is None:
            return reference(views)
        count = len(views)
        if not -count <= self.index < count:
            raise ValueError(
                f"anchor_index must be between 0 and {count - 1} (there are {count} windows), got {self.index}; "
                f"negative numbers count from the end, down to -{count}"
            )
        return self.index % count

    def needs(self, views: ViewSet, moving: Sequence[int]) -> set[int]:
        """The reference."""
        return {self.stays(views)}

    def of(self, views: ViewSet, moving: Sequence[int], eyes: Eyes) -> OfViews:
        """The reference's features for all."""
        return _for_all(eyes.view(self.stays(views)), eyes.n_samples)


@dataclass(frozen=True)
class Picture:
    """A picture of the user's: [1 or N, 3, H, W] in [0, 1]."""

    image: Tensor

    def stays(self, views: ViewSet) -> None:
        """No view is the target."""

    def needs(self, views: ViewSet, moving: Sequence[int]) -> set[int]:
        """None."""
        return set()

    def of(self, views: ViewSet, moving: Sequence[int], eyes: Eyes) -> OfViews:
        """The picture's features for all."""
        return _for_all(eyes.picture(self.image), eyes.n_samples)


@dataclass(frozen=True)
class MeanOfViews:
    """The mean of the features of all views of the turn."""

    def stays(self, views: ViewSet) -> None:
        """All of them move."""

    def needs(self, views: ViewSet, moving: Sequence[int]) -> set[int]:
        """Those that move."""
        return set()

    def of(self, views: ViewSet, moving: Sequence[int], eyes: Eyes) -> OfViews:
        """The mean for all."""
        sums: list[Tensor] | None = None
        for numbers, found in eyes.each(moving):
            part = [f.unflatten(0, (-1, eyes.n_samples))[: len(numbers)].sum(dim=0) for f in found]
            sums = part if sums is None else [s + p for s, p in zip(sums, part, strict=True)]
        assert sums is not None
        return _for_all(tuple(s / len(moving) for s in sums), eyes.n_samples)


@dataclass(frozen=True)
class Neighbours:
    """The features of the views that see the same part of the canvas, weighted by how much of it they share.

    A view that overlaps no other has the reference of the set for a neighbour.
    """

    def stays(self, views: ViewSet) -> None:
        """All of them move."""

    def needs(self, views: ViewSet, moving: Sequence[int]) -> set[int]:
        """All neighbours."""
        return {other for view in moving for other in _near(views, view)}

    def of(self, views: ViewSet, moving: Sequence[int], eyes: Eyes) -> OfViews:
        """Another target for each view."""
        known: dict[int, Features] = {}
        for numbers, found in eyes.each(sorted(self.needs(views, moving))):
            parts = [f.unflatten(0, (-1, eyes.n_samples)) for f in found]
            known.update((number, tuple(part[k] for part in parts)) for k, number in enumerate(numbers))

        def of_one(view: int) -> Features:
            shares = _near(views, view)
            layers = zip(*(known[other] for other in shares), strict=True)
            weights = [share / sum(shares.values()) for share in shares.values()]
            return tuple(sum(w * f for w, f in zip(weights, layer, strict=True)) for layer in layers)

        return lambda numbers: tuple(torch.cat(layer) for layer in zip(*map(of_one, numbers), strict=True))


def _near(views: ViewSet, view: int) -> dict[int, float]:
    near = neighbours(views, view)
    return near or {reference(views): 1.0}


def _for_all(features: Features, n_samples: int) -> OfViews:
    """The same features, of batch N or 1, for every view."""

    def of(numbers: tuple[int, ...]) -> Features:
        samples = list(range(n_samples)) * len(numbers)
        return tuple(f if f.shape[0] == 1 else f[samples] for f in features)

    return of


def check_picture(kind: AnchorKind, given: bool) -> None:
    """Raise ValueError for a target that is a picture where none is given."""
    if kind is AnchorKind.IMAGE and not given:
        raise ValueError(
            f"the anchor '{AnchorKind.IMAGE.value}' needs a picture; connect one to anchor_image "
            f"or choose '{AnchorKind.CENTRE.value}'"
        )


def make_target(kind: AnchorKind, index: int = 0, image: Tensor | None = None) -> Target:
    """The target of a kind. index: of the window by index; image: the reference image."""
    check_picture(kind, image is not None)
    if kind is AnchorKind.IMAGE:
        assert image is not None
        return Picture(image)
    if kind is AnchorKind.INDEX:
        return ReferenceView(index)
    if kind is AnchorKind.MEAN:
        return MeanOfViews()
    return Neighbours() if kind is AnchorKind.NEIGHBOURS else ReferenceView()
