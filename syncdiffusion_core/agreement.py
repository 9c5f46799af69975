"""Where the clean predictions of views agree: A and F over x0 (SyncTweedies, Sec. 3).

Notation: f, g — project and unproject; A — weighted mean; F = f∘A∘g; D, E — decoder and encoder.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from .batching import WindowBatches
from .perceptual.distance import Decoder
from .views.fill import fill
from .views.relations import coverage
from .views.view_set import Sums, ViewSet, aggregate

Encoder = Callable[[Tensor], Tensor]
"""encode(pictures [R, 3, H, W] in [0, 1]) -> x0 [R, C, …, h, w]: the decoder's twin."""


class Agreement(Protocol):
    """How views x [V*N, C, …, h, w] become one canvas and each other."""

    @property
    def in_latents(self) -> bool:
        """Whether the canvas is of latents: then it can be the state of a run, and noise can be averaged too."""
        ...

    def canvas(self, views: ViewSet, x: Tensor) -> Tensor:
        """A(g(x))."""
        ...

    def views(self, views: ViewSet, x: Tensor) -> Tensor:
        """F(x): every view replaced by the canvas's opinion of it."""
        ...

    def result(self, views: ViewSet, x: Tensor) -> Tensor:
        """A(g(x)), and what no view sees filled in."""
        ...


class LatentAgreement:
    """In the latents themselves: exact where views only move cells."""

    in_latents = True

    def canvas(self, views: ViewSet, x: Tensor) -> Tensor:
        """The mean on the canvas [N, C, …, *canvas]."""
        return aggregate(views, x)

    def views(self, views: ViewSet, x: Tensor) -> Tensor:
        """The mean as each view sees it."""
        return views.project(aggregate(views, x))

    def result(self, views: ViewSet, x: Tensor) -> Tensor:
        """The mean, without holes."""
        return filled(views, aggregate(views, x))


LATENTS = LatentAgreement()


@dataclass(frozen=True)
class PictureAgreement:
    """In decoded pictures: for latents, which do not turn or bend with their pictures.

    x0_i <- E(f_i(A(g_j(D(x0_j))))) + f_i(A(g_j(x0_j - E(D(x0_j))))): what the codec loses is averaged in latents and
    added again (LookingGlass, CVPR 2025). Only sums on the canvas are held for all views at once, pictures for a batch.

    pixels: the views at the resolution of pictures, by the names of the run's. residual: whether what the codec loses
    is added again; views that change colours have no latent to do so in. bake: decodes the canvas, ``decode`` being a
    lighter one. Convention: a canvas of pictures is in [-1, 1], so that a negated picture is a negative one.
    """

    decode: Decoder
    encode: Encoder
    pixels: ViewSet
    batches: WindowBatches
    residual: bool = True
    bake: Decoder | None = None

    in_latents = False

    def canvas(self, views: ViewSet, x: Tensor) -> Tensor:
        """The picture [N, 3, *canvas of pixels] in [-1, 1]."""
        return self._sums(views, x, self.bake or self.decode, residual=False)[0].mean()

    def result(self, views: ViewSet, x: Tensor) -> Tensor:
        """The picture without holes."""
        return filled(self._pixels(views, range(len(views))), self.canvas(views, x))

    def views(self, views: ViewSet, x: Tensor) -> Tensor:
        """Latents of the views of one picture."""
        n = len(x) // len(views)
        pictures, lost = self._sums(views, x, self.decode, self.residual)
        picture, rest = pictures.mean(), None if lost is None else lost.mean()
        agreed = torch.empty_like(x).unflatten(0, (-1, n))

        def encoded(numbers: tuple[int, ...]) -> Tensor:
            seen = self.encode(_unit(self._pixels(views, numbers).project(picture)))
            return seen if rest is None else seen.to(rest) + views.subset(numbers).project(rest)

        for numbers, part in self.batches.each(range(len(views)), encoded):
            agreed[list(numbers)] = part.unflatten(0, (-1, n))[: len(numbers)].to(x.dtype)
        return agreed.flatten(0, 1)

    def _sums(self, views: ViewSet, x: Tensor, decode: Decoder, residual: bool) -> tuple[Sums, Sums | None]:
        """Of the pictures of all views, and of what the codec loses of their latents."""
        by_view = x.unflatten(0, (len(views), -1))
        pictures: Sums | None = None
        lost: Sums | None = None

        def decoded(numbers: tuple[int, ...]) -> tuple[Tensor, Tensor | None]:
            part = by_view[list(numbers)].flatten(0, 1)
            seen = decode(part)
            return 2 * seen - 1, part - self.encode(seen).to(part) if residual else None

        for numbers, (seen, left) in self.batches.each(range(len(views)), decoded):
            rows = len(numbers) * by_view.shape[1]
            pictures = _plus(pictures, self._pixels(views, numbers).unproject(seen[:rows]))
            if left is not None:
                lost = _plus(lost, views.subset(numbers).unproject(left[:rows]))
        assert pictures is not None
        return pictures, lost

    def _pixels(self, views: ViewSet, numbers: Sequence[int]) -> ViewSet:
        return self.pixels.subset([views.names[number] for number in numbers])


def keeps_colours(views: ViewSet) -> bool:
    """Whether what a codec loses can be given back in latents: that of a negated picture is not its latent negated."""
    sign = getattr(views, "sign", None)
    return sign is None or bool((sign > 0).all())


def filled(views: ViewSet, canvas: Tensor) -> Tensor:
    """The canvas with what none of these views sees filled in from the nearest cells that one does."""
    return fill(canvas, coverage(views) > 0)


def _plus(sums: Sums | None, more: Sums) -> Sums:
    return more if sums is None else sums.plus(more)


def _unit(picture: Tensor) -> Tensor:
    """From [-1, 1] to [0, 1]."""
    return ((picture + 1) / 2).clamp(0, 1)
