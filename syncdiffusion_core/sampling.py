"""The sampling loop: views, guidance, denoise, synchronise."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from .agreement import LATENTS, Agreement, filled
from .batching import WindowBatches
from .denoiser import Denoiser
from .guidance.perceptual import Moved
from .moment import Moment
from .process import NoiseProcess
from .strategies import STRATEGIES, Psi, Strategy, Synchronisation, refuse_pictures
from .views.noise import noise_of
from .views.schedule import ViewSchedule
from .views.view_set import ViewSet

Guidance = Callable[[Moment], Moved]
"""What moves the views of a step before it is made."""

OnStep = Callable[[Moment, Tensor, Tensor], None]
"""Called after each step with (moment, x0 of its views, next state): previews, progress, interruption."""


@dataclass(frozen=True)
class Ancestral:
    """Noise that is drawn afresh at each step: a part eta of it (0: DDIM; 1: all), by draw() -> noise of a canvas."""

    eta: float
    draw: Callable[[], Tensor]


@dataclass(frozen=True)
class Method:
    """How views are synchronised and moved. batches: views in one model call; they do not change the result.

    Without guidance and with ``multidiffusion`` this is MultiDiffusion; with guidance it is SyncDiffusion's
    Algorithm 1; ``synctweedies`` is SyncTweedies.
    """

    synchronisation: Synchronisation = Synchronisation.MULTIDIFFUSION
    agreement: Agreement = LATENTS
    guidance: Guidance | None = None
    batches: int | WindowBatches = 1
    ancestral: Ancestral | None = None
    on_step: OnStep | None = None


class Sampled(NamedTuple):
    """What a run made.

    canvas: at the last level, what no view sees filled in; a picture in [-1, 1] where views agree in pictures. views:
    [V*N, C, …, h, w] of the last step. x0: their clean predictions there.
    """

    canvas: Tensor
    views: Tensor
    x0: Tensor


@torch.no_grad()
def sample(
    denoiser: Denoiser,
    process: NoiseProcess,
    schedule: ViewSchedule,
    state: Tensor,
    sigmas: Sequence[float],
    method: Method = Method(),
) -> Sampled:
    """Denoise a canvas through its views.

    schedule: the views, of which each step sees ``schedule.at(step)``; views that move need a state on the canvas.
    state: at sigmas[0], the noised canvas [N, C, *canvas] or the noised views [V*N, C, h, w], as the strategy has it
    (``Strategy.start``). sigmas: decreasing noise levels, steps + 1 of them.
    """
    strategy, batches = STRATEGIES[method.synchronisation], WindowBatches.of(method.batches)
    refuse_pictures(method.synchronisation, method.agreement)
    if schedule.moves and not strategy.on_canvas:
        raise ValueError(
            f"'{method.synchronisation.value}' keeps the views as its state, and these stand elsewhere at every step; "
            f"choose '{Synchronisation.MULTIDIFFUSION.value}', or windows that stay"
        )
    x0 = x = strategy.views(schedule.at(0), state)
    for k, (sigma, sigma_next) in enumerate(zip(sigmas[:-1], sigmas[1:], strict=True)):
        views = schedule.at(k)
        x = strategy.views(views, state)
        moment = Moment(views, x, k, sigma, len(x) // len(views), process, denoiser)
        moved = Moved(x) if method.guidance is None else method.guidance(moment)
        moment = moment.at(moved.x)
        x0 = moment.predict(batches) if moved.x0 is None else moved.x0
        psi = _psi(moment, sigma_next, method.ancestral, _fresh(views, strategy, method.ancestral))
        state = strategy.advance(moment, state, x0, psi, method.agreement)
        if method.on_step is not None:
            method.on_step(moment, x0, state)
    views = schedule.at(max(len(sigmas) - 2, 0))
    if strategy.on_canvas:
        return Sampled(filled(views, state), views.project(state), x0)
    # F(x0), which views without noise are, has been resampled twice: the canvas is made of what the model said.
    is_clean = strategy.averages_clean and (sigmas[-1] == 0 or not method.agreement.in_latents)
    clean = x0 if is_clean else state
    return Sampled(method.agreement.result(views, clean), state, x0)


def _fresh(views: ViewSet, strategy: Strategy, ancestral: Ancestral | None) -> Tensor | None:
    """Noise of one ancestral step, drawn once, on the canvas: views that drew their own would average it away."""
    if ancestral is None or ancestral.eta == 0:
        return None
    noise = ancestral.draw()
    if not strategy.steps_views:
        return noise
    return views.project(noise) if strategy.on_canvas else noise_of(views, noise)


def _psi(moment: Moment, sigma_next: float, ancestral: Ancestral | None, fresh: Tensor | None) -> Psi:
    """psi of this step."""
    process, sigma = moment.process, moment.sigma
    if ancestral is None or fresh is None:
        return lambda x, x0: process.step(x, x0, sigma, sigma_next)
    return lambda x, x0: process.ancestral_step(x, x0, sigma, sigma_next, fresh, ancestral.eta)
