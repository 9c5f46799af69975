"""Where the clean predictions of views agree: A and F over x0 (SyncTweedies, Sec. 3).

Notation: f, g — project and unproject; A — weighted mean; F = f∘A∘g; D, E — decoder and encoder. Where a view shows
nothing of the canvas, beside an object, F leaves it as it is.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from .batching import WindowBatches
from .perceptual.distance import Decoder
from .views.fill import fill
from .views.relations import coverage, visible
from .views.schedule import ViewSchedule
from .views.view_set import Sums, ViewSet, aggregate

Encoder = Callable[[Tensor], Tensor]
"""encode(pictures [R, 3, H, W] in [0, 1]) -> x0 [R, C, …, h, w]: the decoder's twin."""


class Agreed(NamedTuple):
    """What views agree on, as it lies on the canvas. rest: latents of what the codec loses, where pictures agree.

    own [V*N, 3, h, w] in [0, 1]: pictures of the views that it was gathered from, where these have a background; then
    no others can be shown it.
    """

    canvas: Tensor
    rest: Tensor | None = None
    own: Tensor | None = None


class Agreement(Protocol):
    """How views x [V*N, C, …, h, w] become one canvas and each other."""

    @property
    def in_latents(self) -> bool:
        """Whether the canvas is of latents: then it can be the state of a run, and noise can be averaged too."""
        ...

    def canvas(self, views: ViewSet, x: Tensor) -> Tensor:
        """A(g(x))."""
        ...

    def at(self, step: int) -> "Agreement":
        """The same of the views of a step, where they move."""
        ...

    def gathered(self, views: ViewSet, x: Tensor) -> Agreed:
        """A∘g: what these views agree on, which other views of the canvas can be shown."""
        ...

    def seen(self, views: ViewSet, agreed: Agreed) -> Tensor:
        """f: views [V*N, C, …, h, w] of it, which need not be those that it was gathered from."""
        ...

    def views(self, views: ViewSet, x: Tensor) -> Tensor:
        """F(x): every view replaced by the canvas's opinion of it."""
        ...

    def result(self, views: ViewSet, x: Tensor) -> Tensor:
        """A(g(x)), and what no view sees filled in."""
        ...


@dataclass(frozen=True)
class LatentAgreement:
    """In the latents themselves: exact where views only move cells.

    last: the views by the weights of the last canvas, where these are others.
    """

    last: ViewSet | None = None

    in_latents = True

    def canvas(self, views: ViewSet, x: Tensor) -> Tensor:
        """The mean on the canvas [N, C, …, *canvas]."""
        return aggregate(views, x)

    def at(self, step: int) -> "LatentAgreement":
        """Itself: it knows no views."""
        return self

    def gathered(self, views: ViewSet, x: Tensor) -> Agreed:
        """The mean."""
        return Agreed(aggregate(views, x))

    def seen(self, views: ViewSet, agreed: Agreed) -> Tensor:
        """A part of it each."""
        return views.project(agreed.canvas)

    def views(self, views: ViewSet, x: Tensor) -> Tensor:
        """The mean as each view sees it."""
        return on_background(views, self.seen(views, self.gathered(views, x)), x)

    def result(self, views: ViewSet, x: Tensor) -> Tensor:
        """The mean, without holes."""
        return filled(views, aggregate(self.last or views, x))


LATENTS = LatentAgreement()


@dataclass(frozen=True)
class PictureAgreement:
    """In decoded pictures: for latents, which do not turn or bend with their pictures.

    x0_i <- E(f_i(A(g_j(D(x0_j))))) + f_i(A(g_j(x0_j - E(D(x0_j))))): what the codec loses is averaged in latents and
    added again (LookingGlass, CVPR 2025). Only sums on the canvas are held for all views at once, pictures for a batch.

    pixels: the views at the resolution of pictures, by the names of the run's. residual: whether what the codec loses
    is added again; views that change colours have no latent to do so in. bake: decodes the canvas, ``decode`` being a
    lighter one. steps: pixels of views that move, step by step. last: pixels by the weights of the last canvas, where
    these are others.
    Convention: a canvas of pictures is in [-1, 1], so that a negated picture is a negative one.
    """

    decode: Decoder
    encode: Encoder
    pixels: ViewSet
    batches: WindowBatches
    residual: bool = True
    bake: Decoder | None = None
    steps: ViewSchedule | None = None
    last: ViewSet | None = None

    in_latents = False

    def canvas(self, views: ViewSet, x: Tensor) -> Tensor:
        """The picture [N, 3, *canvas of pixels] in [-1, 1]."""
        last = replace(self, pixels=self.last or self.pixels, decode=self.bake or self.decode, residual=False)
        return last._sums(views, x, None)[0].mean()

    def result(self, views: ViewSet, x: Tensor) -> Tensor:
        """The picture without holes."""
        return filled(self._pixels(views, range(len(views))), self.canvas(views, x))

    def at(self, step: int) -> "PictureAgreement":
        """With the pixels of the step's views."""
        return self if self.steps is None else replace(self, pixels=self.steps.at(step))

    def gathered(self, views: ViewSet, x: Tensor) -> Agreed:
        """One picture, and what the codec loses of it in latents."""
        own: list[Tensor] | None = None if visible(self._pixels(views, range(len(views)))) is None else []
        pictures, lost = self._sums(views, x, own)
        kept = None if own is None else torch.cat(own)
        return Agreed(pictures.mean(), None if lost is None else lost.mean(), kept)

    def seen(self, views: ViewSet, agreed: Agreed) -> Tensor:
        """The picture encoded view by view, and the rest added again."""
        picture, rest, own = agreed

        def encoded(numbers: tuple[int, ...]) -> Tensor:
            pixels = self._pixels(views, numbers)
            shown = _unit(pixels.project(picture))
            if own is not None:  # an encoder looks beyond the border of an object, at what the model has put there
                beside = own.unflatten(0, (len(views), -1))[list(numbers)].flatten(0, 1)
                shown = on_background(pixels, shown, beside.to(shown))
            seen = self.encode(shown)
            return seen if rest is None else seen.to(rest) + views.subset(numbers).project(rest)

        parts = self.batches.each(range(len(views)), encoded)
        return torch.cat([part[: len(numbers) * len(picture)] for numbers, part in parts])

    def views(self, views: ViewSet, x: Tensor) -> Tensor:
        """Latents of the views of one picture."""
        return on_background(views, self.seen(views, self.gathered(views, x)), x).to(x.dtype)

    def _sums(self, views: ViewSet, x: Tensor, own: list[Tensor] | None) -> tuple[Sums, Sums | None]:
        """Of the pictures of all views, and of what the codec loses of their latents. own: takes the pictures."""
        by_view = x.unflatten(0, (len(views), -1))
        pictures: Sums | None = None
        lost: Sums | None = None

        def decoded(numbers: tuple[int, ...]) -> tuple[Tensor, Tensor | None]:
            part = by_view[list(numbers)].flatten(0, 1)
            seen = self.decode(part)
            return 2 * seen - 1, part - self.encode(seen).to(part) if self.residual else None

        for numbers, (seen, left) in self.batches.each(range(len(views)), decoded):
            rows = len(numbers) * by_view.shape[1]
            pictures = _plus(pictures, self._pixels(views, numbers).unproject(seen[:rows]))
            if own is not None:
                own.append(_unit(seen[:rows]).half())  # all of them at once: half the memory, far below a codec's error
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


def on_background(views: ViewSet, seen: Tensor, x: Tensor) -> Tensor:
    """Views [V*N, C, …, h, w] of a canvas where they show it, else these views x as they are."""
    shown = visible(views)
    if shown is None:
        return seen
    rows = shown.to(x.device).repeat_interleave(len(x) // len(views), dim=0)  # [V*N, 1, h, w]
    return torch.where(rows.reshape(len(x), *[1] * (x.ndim - 3), *rows.shape[-2:]), seen, x)


def filled(views: ViewSet, canvas: Tensor) -> Tensor:
    """The canvas with what none of these views sees filled in from the nearest cells that one does."""
    return fill(canvas, coverage(views) > 0)


def _plus(sums: Sums | None, more: Sums) -> Sums:
    return more if sums is None else sums.plus(more)


def _unit(picture: Tensor) -> Tensor:
    """From [-1, 1] to [0, 1]."""
    return ((picture + 1) / 2).clamp(0, 1)
