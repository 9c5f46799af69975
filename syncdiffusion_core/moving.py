"""SyncTweedies through views that stand elsewhere at every step: the state is a clean canvas.

A view cannot keep its noise where it is another view in the next step. What a run keeps is what the model said, on the
canvas; every step's views are made of it with noise of their own (StochSync, CVPR 2025, with one step of the model
where it has many):

    x_k = a f_k(z0) + b eps_k        z0 <- A(g_k(x0))
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from .agreement import Agreement
from .batching import WindowBatches
from .denoiser import Denoiser
from .guidance.perceptual import Moved
from .moment import Moment
from .process import NoiseProcess
from .sampling import Method, Sampled
from .strategies import Synchronisation
from .views.noise import noise_of
from .views.schedule import ViewSchedule
from .views.view_set import ViewSet

Redraw = Callable[[int], Tensor]
"""White noise of a canvas [N, C, …, *canvas] for a step: the same for the same step."""


@torch.no_grad()
def sample_moving(
    denoiser: Denoiser,
    process: NoiseProcess,
    schedule: ViewSchedule,
    x: Tensor,
    sigmas: Sequence[float],
    redraw: Redraw,
    method: Method,
) -> Sampled:
    """Denoise views that move, from noised views x [V*N, C, …, h, w] of ``schedule.every`` at sigmas[0].

    The first and the last step see ``schedule.every``, so that what is given and what is made are views of one set; the
    steps between see ``schedule.at(step)``. Noise is drawn by step. Raises ValueError for a method other than
    synctweedies: others keep noise on the canvas, or in views that stay.
    """
    refuse_moving(method.synchronisation)
    batches, last = WindowBatches.of(method.batches), len(sigmas) - 2
    n, x0 = len(x) // len(schedule.every), x

    def of_step(k: int) -> tuple[ViewSet, Agreement]:
        rests = k == 0 or k >= last
        return (schedule.every, method.agreement) if rests else (schedule.at(k), method.agreement.at(k))

    views, agreement = of_step(0)
    for k, (sigma, sigma_next) in enumerate(zip(sigmas[:-1], sigmas[1:], strict=True)):
        moment = Moment(views, x, k, sigma, n, process, denoiser)
        moved = Moved(x) if method.guidance is None else method.guidance(moment)
        moment = moment.at(moved.x)
        x0 = moment.predict(batches) if moved.x0 is None else moved.x0
        agreed = agreement.gathered(views, x0)
        views, agreement = of_step(k + 1)
        x = process.compose(agreement.seen(views, agreed), noise_of(views, redraw(k + 1)), sigma_next).to(x.dtype)
        if method.on_step is not None:
            method.on_step(moment, x0, x)
    return Sampled(agreement.result(views, x0), x, x0)


def refuse_moving(synchronisation: Synchronisation) -> None:
    """Raise ValueError for a strategy that is not defined on a clean canvas."""
    if synchronisation is not Synchronisation.SYNCTWEEDIES:
        raise ValueError(
            f"synchronisation: '{synchronisation.value}' keeps noise from step to step, and these views stand "
            f"elsewhere at every step; choose '{Synchronisation.SYNCTWEEDIES.value}', or views that stay"
        )
