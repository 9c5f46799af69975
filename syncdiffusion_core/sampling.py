"""The sampling loop: views, guidance, denoise, synchronise."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from .batching import WindowBatches
from .denoiser import Denoiser, denoise_views
from .process import NoiseProcess
from .strategies import STRATEGIES, Step, Synchronisation
from .views.view_set import ViewSet, aggregate

Guidance = Callable[[Tensor, int, float, int, Denoiser, NoiseProcess], Tensor]
"""guidance(views, step, sigma, n_samples, denoiser, process) -> moved views."""

OnStep = Callable[[int, float, Tensor, Tensor], None]
"""Called after each step with (step, sigma, canvas x0, canvas x): previews, progress, interruption."""


@torch.no_grad()
def sample(
    denoiser: Denoiser,
    process: NoiseProcess,
    view_set: ViewSet,
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
    n_samples = canvas.shape[0]
    state = strategy.start(view_set, canvas)
    for k, (sigma, sigma_next) in enumerate(zip(sigmas[:-1], sigmas[1:], strict=True)):
        views = strategy.views(view_set, state)
        if guidance is not None:
            views = guidance(views, k, sigma, n_samples, denoiser, process)
        x0 = denoise_views(denoiser, views, sigma, n_samples, batches)
        psi = _step(process, sigma, sigma_next, eta, _fresh_noise(view_set, strategy.steps_views, eta, noise))
        state = strategy.advance(view_set, process, state, views, x0, sigma, psi)
        if on_step is not None:
            on_step(k, sigma, aggregate(view_set, x0), strategy.canvas(view_set, state))
    return strategy.canvas(view_set, state)


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
