"""The five ways to synchronise views, by what is averaged (SyncTweedies, NeurIPS 2024, Fig. 2 and Sec. 3).

Notation: z — canvas; x — views; x0 — Tweedie's clean prediction; eps — noise prediction; f, g — project and
unproject; A — aggregate; F = f∘A∘g; psi — the step in (state, x0). The state is the canvas or the views.

On views that only permute cells (crops, flips, quarter turns) all five give the same canvas. They part where
the projection resamples or mixes: averaging noise destroys its variance there, canvas states blur, and
``synctweedies`` survives.
"""

from collections.abc import Callable
from enum import Enum
from typing import Protocol

from torch import Tensor

from .agreement import Agreement
from .moment import Moment
from .views.noise import noise_of
from .views.view_set import ViewSet

Psi = Callable[[Tensor, Tensor], Tensor]
"""psi(state, x0) -> next state."""


class Synchronisation(str, Enum):
    """What is averaged over the views."""

    VIEW_NOISE = "view_noise"
    SYNCTWEEDIES = "synctweedies"
    MULTIDIFFUSION = "multidiffusion"
    CANONICAL_NOISE = "canonical_noise"
    CANONICAL_CLEAN = "canonical_clean"


class Strategy(Protocol):
    """State and synchronisation of one sampling run.

    steps_views: whether psi is applied to views. on_canvas: whether the state is the canvas. averages_clean: whether it
    is clean predictions that are averaged; noise and noisy states have no pictures to agree in.
    """

    steps_views: bool
    on_canvas: bool
    averages_clean: bool

    def start(self, views: ViewSet, canvas: Tensor) -> Tensor:
        """The first state, from a canvas of noise."""
        ...

    def views(self, views: ViewSet, state: Tensor) -> Tensor:
        """The views [V*N, C, h, w] that the denoiser sees."""
        ...

    def advance(self, moment: Moment, state: Tensor, x0: Tensor, psi: Psi, agreement: Agreement) -> Tensor:
        """The next state, from the (possibly guided) views of the moment and their clean predictions."""
        ...


class _CanvasState:
    steps_views = False
    on_canvas = True
    averages_clean = False

    def start(self, views: ViewSet, canvas: Tensor) -> Tensor:
        return canvas

    def views(self, views: ViewSet, state: Tensor) -> Tensor:
        return views.project(state)


class _ViewState:
    steps_views = True
    on_canvas = False
    averages_clean = False

    def start(self, views: ViewSet, canvas: Tensor) -> Tensor:
        return noise_of(views, canvas)

    def views(self, views: ViewSet, state: Tensor) -> Tensor:
        return state


class ViewNoise(_ViewState):
    """Case 1: x <- psi(x, phi(x, F(eps)))."""

    def advance(self, moment: Moment, state: Tensor, x0: Tensor, psi: Psi, agreement: Agreement) -> Tensor:
        eps = agreement.views(moment.views, moment.process.noise_from(moment.x, x0, moment.sigma))
        return psi(moment.x, moment.process.clean_from(moment.x, eps, moment.sigma))


class SyncTweedies(_ViewState):
    """Case 2: x <- psi(x, F(x0)). The views keep their own noise; only the clean predictions agree."""

    averages_clean = True

    def advance(self, moment: Moment, state: Tensor, x0: Tensor, psi: Psi, agreement: Agreement) -> Tensor:
        return psi(moment.x, agreement.views(moment.views, x0))


class MultiDiffusion(_CanvasState):
    """Case 3: z <- A(g(psi(x, x0))) (MultiDiffusion, Eq. 12 of SyncDiffusion)."""

    steps_views = True

    def advance(self, moment: Moment, state: Tensor, x0: Tensor, psi: Psi, agreement: Agreement) -> Tensor:
        return agreement.canvas(moment.views, psi(moment.x, x0))


class CanonicalNoise(_CanvasState):
    """Case 4: z <- psi(z, phi(z, A(g(eps))))."""

    def advance(self, moment: Moment, state: Tensor, x0: Tensor, psi: Psi, agreement: Agreement) -> Tensor:
        eps = agreement.canvas(moment.views, moment.process.noise_from(moment.x, x0, moment.sigma))
        moved = _with_moves(moment, state, agreement)
        return psi(moved, moment.process.clean_from(moved, eps, moment.sigma))


class CanonicalClean(_CanvasState):
    """Case 5: z <- psi(z, A(g(x0)))."""

    averages_clean = True

    def advance(self, moment: Moment, state: Tensor, x0: Tensor, psi: Psi, agreement: Agreement) -> Tensor:
        return psi(_with_moves(moment, state, agreement), agreement.canvas(moment.views, x0))


def _with_moves(moment: Moment, canvas: Tensor, agreement: Agreement) -> Tensor:
    """The canvas with what guidance added to its views."""
    return canvas + agreement.canvas(moment.views, moment.x - moment.views.project(canvas))


STRATEGIES: dict[Synchronisation, Strategy] = {
    Synchronisation.VIEW_NOISE: ViewNoise(),
    Synchronisation.SYNCTWEEDIES: SyncTweedies(),
    Synchronisation.MULTIDIFFUSION: MultiDiffusion(),
    Synchronisation.CANONICAL_NOISE: CanonicalNoise(),
    Synchronisation.CANONICAL_CLEAN: CanonicalClean(),
}


def refuse_pictures(synchronisation: Synchronisation, agreement: Agreement) -> None:
    """Raise ValueError where views agree in pictures and the strategy keeps or averages what is no picture."""
    strategy = STRATEGIES[synchronisation]
    if not agreement.in_latents and (strategy.on_canvas or not strategy.averages_clean):
        raise ValueError(
            f"synchronisation: '{synchronisation.value}' keeps or averages noisy latents, which cannot agree in "
            f"pictures; choose '{Synchronisation.SYNCTWEEDIES.value}', or let the views agree in latents"
        )
