"""The sampling loop: views, guidance, denoise, synchronise."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from .batching import WindowBatches
from .canvases.grids import MovingWindows
from .denoiser import Denoiser, denoise_views
from .process import NoiseProcess
from .strategies import STRATEGIES, Step, Synchronisation
from .views.view_set import ViewSet, aggregate

Guidance = Callable[[ViewSet, Tensor, int, float, int, Denoiser, NoiseProcess], tuple[Tensor, Tensor | None]]
"""guidance(view set, views, step, sigma, n_samples, denoiser, process) -> (moved views, their x0 or None)."""

OnStep = Callable[[int, float, Tensor, Tensor], None]
"""Called after each step with (step, sigma, canvas x0, canvas x): previews, progress, interruption."""


@torch.no_grad()
def sample(
    denoiser: Denoiser,
    process: NoiseProcess,
    view_set: ViewSet | MovingWindows,
    canvas: Tensor,
    sigmas: Sequence[float],
    synchronisation: Synchronisation = Synchronisation.MULTIDIFFUSION,
    guidance: Guidance | None = None,
    batch_size: int | WindowBatches = 1,
    eta: float = 0.0,
    noise: Callable[[], Tensor] | None = None,
    on_step: OnStep | None = None,
) -> Tensor:
    """Denoise a canvas through its views.

    view_set: the views, of which each step sees ``view_set.at(step)``; windows that move need a state on the canvas.
    canvas: the noised canvas [N, C, H, W] at sigmas[0]. sigmas: decreasing noise levels, steps + 1 of them.
    batch_size: views in one model call; it does not change the result. eta: part of the noise that is drawn
    afresh at each step (0: DDIM; 1: ancestral), by ``noise() -> [N, C, H, W]``, once on the canvas.
    Returns the canvas at sigmas[-1].

    Without guidance and with ``multidiffusion`` this is MultiDiffusion; with guidance it is SyncDiffusion's
    Algorithm 1; ``synctweedies`` is SyncTweedies.
    """
    if eta > 0 and noise is None:
        raise ValueError(f"eta of {eta} needs a source of noise; pass noise=lambda: torch.randn_like(canvas)")
    strategy, batches = STRATEGIES[synchronisation], WindowBatches.of(batch_size)
    if isinstance(view_set, MovingWindows) and not strategy.on_canvas:
        raise ValueError(
            f"'{synchronisation.value}' keeps the views as its state, and these stand elsewhere at every step; choose "
            f"'{Synchronisation.MULTIDIFFUSION.value}', or windows that stay"
        )
    n_samples = canvas.shape[0]
    state = strategy.start(view_set.at(0), canvas)
    for k, (sigma, sigma_next) in enumerate(zip(sigmas[:-1], sigmas[1:], strict=True)):
        now, x0 = view_set.at(k), None
        views = strategy.views(now, state)
        if guidance is not None:
            views, x0 = guidance(now, views, k, sigma, n_samples, denoiser, process)
        if x0 is None:
            x0 = denoise_views(denoiser, views, sigma, n_samples, batches, now.names)
        psi = _step(process, sigma, sigma_next, eta, _fresh_noise(now, strategy.steps_views, eta, noise))
        state = strategy.advance(now, process, state, views, x0, sigma, psi)
        if on_step is not None:
            on_step(k, sigma, aggregate(now, x0), strategy.canvas(now, state))
    return strategy.canvas(view_set.at(len(sigmas) - 2), state)


def _fresh_noise(view_set: ViewSet, for_views: bool, eta: float, noise: Callable[[], Tensor] | None) -> Tensor | None:
    """Noise of one ancestral step, drawn once, on the canvas; views see its projection.

    Windows that drew their own would average it away where they overlap.
    """
    if eta == 0 or noise is None:
        return None
    return view_set.project(noise()) if for_views else noise()


def _step(process: NoiseProcess, sigma: float, sigma_next: float, eta: float, fresh: Tensor | None) -> Step:
    """psi of this step."""
    if fresh is None:
        return lambda x, x0: process.step(x, x0, sigma, sigma_next)
    return lambda x, x0: process.ancestral_step(x, x0, sigma, sigma_next, fresh, eta)
