"""The five ways to synchronise views, by what is averaged (SyncTweedies, NeurIPS 2024, Fig. 2 and Sec. 3).

Notation: z — canvas; x — views; x0 — Tweedie's clean prediction; eps — noise prediction; f, g — project and
unproject; A — aggregate; F = f∘A∘g. The state is the canvas or the views, as the strategy says.

On views that only permute cells (crops, flips, quarter turns) all five give the same canvas. They part where
the projection resamples or mixes: averaging noise destroys its variance there, canvas states blur, and
``synctweedies`` survives.
"""

from collections.abc import Callable
from enum import Enum
from typing import Protocol

from torch import Tensor

from .process import NoiseProcess
from .views.view_set import ViewSet, aggregate, resynchronise

Step = Callable[[Tensor, Tensor], Tensor]  # psi: (state, x0) -> next state


class Synchronisation(str, Enum):
    """What is averaged over the views."""

    VIEW_NOISE = "view_noise"
    SYNCTWEEDIES = "synctweedies"
    MULTIDIFFUSION = "multidiffusion"
    CANONICAL_NOISE = "canonical_noise"
    CANONICAL_CLEAN = "canonical_clean"


class Strategy(Protocol):
    """State and synchronisation of one sampling run.

    steps_views: whether psi is applied to views. on_canvas: whether the state is the canvas.
    """

    steps_views: bool
    on_canvas: bool

    def start(self, view_set: ViewSet, canvas: Tensor) -> Tensor:
        """The first state, from the noised canvas."""
        ...

    def views(self, view_set: ViewSet, state: Tensor) -> Tensor:
        """The views [V*N, C, h, w] that the denoiser sees."""
        ...

    def advance(
        self, view_set: ViewSet, process: NoiseProcess, state: Tensor, x: Tensor, x0: Tensor, sigma: float, psi: Step
    ) -> Tensor:
        """The next state from the (possibly guided) views x and their clean predictions x0."""
        ...

    def canvas(self, view_set: ViewSet, state: Tensor) -> Tensor:
        """The canvas that a state stands for."""
        ...


class _CanvasState:
    steps_views = False
    on_canvas = True

    def start(self, view_set: ViewSet, canvas: Tensor) -> Tensor:
        return canvas

    def views(self, view_set: ViewSet, state: Tensor) -> Tensor:
        return view_set.project(state)

    def canvas(self, view_set: ViewSet, state: Tensor) -> Tensor:
        return state


class _ViewState:
    steps_views = True
    on_canvas = False

    def start(self, view_set: ViewSet, canvas: Tensor) -> Tensor:
        return view_set.project(canvas)

    def views(self, view_set: ViewSet, state: Tensor) -> Tensor:
        return state

    def canvas(self, view_set: ViewSet, state: Tensor) -> Tensor:
        return aggregate(view_set, state)


class ViewNoise(_ViewState):
    """Case 1: x <- psi(x, phi(x, F(eps)))."""

    def advance(
        self, view_set: ViewSet, process: NoiseProcess, state: Tensor, x: Tensor, x0: Tensor, sigma: float, psi: Step
    ) -> Tensor:
        eps = resynchronise(view_set, process.noise_from(x, x0, sigma))
        return psi(x, process.clean_from(x, eps, sigma))


class SyncTweedies(_ViewState):
    """Case 2: x <- psi(x, F(x0)). The views keep their own noise; only the clean predictions agree."""

    def advance(
        self, view_set: ViewSet, process: NoiseProcess, state: Tensor, x: Tensor, x0: Tensor, sigma: float, psi: Step
    ) -> Tensor:
        return psi(x, resynchronise(view_set, x0))


class MultiDiffusion(_CanvasState):
    """Case 3: z <- A(g(psi(x, x0))) (MultiDiffusion, Eq. 12 of SyncDiffusion)."""

    steps_views = True

    def advance(
        self, view_set: ViewSet, process: NoiseProcess, state: Tensor, x: Tensor, x0: Tensor, sigma: float, psi: Step
    ) -> Tensor:
        return aggregate(view_set, psi(x, x0))


class CanonicalNoise(_CanvasState):
    """Case 4: z <- psi(z, phi(z, A(g(eps))))."""

    def advance(
        self, view_set: ViewSet, process: NoiseProcess, state: Tensor, x: Tensor, x0: Tensor, sigma: float, psi: Step
    ) -> Tensor:
        eps = aggregate(view_set, process.noise_from(x, x0, sigma))
        moved = _with_moves(view_set, state, x)
        return psi(moved, process.clean_from(moved, eps, sigma))


class CanonicalClean(_CanvasState):
    """Case 5: z <- psi(z, A(g(x0)))."""

    def advance(
        self, view_set: ViewSet, process: NoiseProcess, state: Tensor, x: Tensor, x0: Tensor, sigma: float, psi: Step
    ) -> Tensor:
        return psi(_with_moves(view_set, state, x), aggregate(view_set, x0))


def _with_moves(view_set: ViewSet, canvas: Tensor, x: Tensor) -> Tensor:
    """The canvas with what guidance added to its views."""
    return canvas + aggregate(view_set, x - view_set.project(canvas))


STRATEGIES: dict[Synchronisation, Strategy] = {
    Synchronisation.VIEW_NOISE: ViewNoise(),
    Synchronisation.SYNCTWEEDIES: SyncTweedies(),
    Synchronisation.MULTIDIFFUSION: MultiDiffusion(),
    Synchronisation.CANONICAL_NOISE: CanonicalNoise(),
    Synchronisation.CANONICAL_CLEAN: CanonicalClean(),
}
