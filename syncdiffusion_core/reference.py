"""SyncDiffusion to the letter: the oracle that every other path is held against.

Algorithm 1 of the paper as its official settings run it: VP notation, its own 50-step schedule that ends at
the first training timestep instead of 0, its own start (unit-variance noise), uniform weights, the centre
window as anchor, weights by step index. Its bugs are left out: wrap windows are all there, strides that do
not divide leave no gap.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .canvases.windows import Windows
from .denoiser import Denoiser
from .guidance.loss import PerceptualLoss
from .guidance.perceptual import Passes, PerceptualGuidance
from .process import variance_exploding
from .sampling import Method, sample
from .schedule import Clock, GuidanceSchedule
from .views.schedule import Still

TRAIN_STEPS = 1000
OFFICIAL_SCHEDULE = GuidanceSchedule(end=1.0, clock=Clock.INDEX)
BETA_START, BETA_END = 0.00085, 0.012


def alphas_cumprod() -> Tensor:
    """ab_t of Stable Diffusion's schedule: [1000] float64."""
    betas = torch.linspace(BETA_START**0.5, BETA_END**0.5, TRAIN_STEPS, dtype=torch.float64) ** 2
    return torch.cumprod(1 - betas, dim=0)


def official_sigmas(steps: int) -> list[float]:
    """Noise levels of the official schedule: timesteps 1 + k*(1000/steps), downwards, then ab_0.

    The last level is sigma = sqrt((1 - ab_0) / ab_0) = .0292, not 0.
    """
    if not 1 <= steps < TRAIN_STEPS or TRAIN_STEPS % steps:
        raise ValueError(f"steps must divide {TRAIN_STEPS} and be fewer, got {steps}; use 10, 20, 25, 40 or 50")
    timesteps = [1 + k * (TRAIN_STEPS // steps) for k in reversed(range(steps))] + [0]
    ab = alphas_cumprod()
    return [math.sqrt((1 - ab[t].item()) / ab[t].item()) for t in timesteps]


@dataclass(frozen=True)
class Official:
    """Settings of the official code. sigmas: noise levels, the official ones of ``steps`` without."""

    steps: int = 50
    schedule: GuidanceSchedule = OFFICIAL_SCHEDULE
    sigmas: Sequence[float] | None = None
    batch_size: int = 1


def syncdiffusion(
    denoiser: Denoiser, loss: PerceptualLoss, windows: Windows, noise: Tensor, settings: Official = Official()
) -> Tensor:
    """Algorithm 1 with the official start and end: unit noise [N, C, H, W] -> canvas at the last sigma.

    The denoiser takes VE states (x = x0 + sigma eps); the official VP state is x / sqrt(1 + sigma^2).
    """
    sigmas = official_sigmas(settings.steps) if settings.sigmas is None else settings.sigmas
    weights = settings.schedule.weights([k / settings.steps for k in range(len(sigmas))])
    size = settings.batch_size
    guidance = PerceptualGuidance(weights, replace(loss, batches=size), passes=Passes(size, size))
    start = noise * math.sqrt(1 + sigmas[0] ** 2)
    method = Method(guidance=guidance, batches=size)
    return sample(denoiser, variance_exploding(), Still(windows), start, sigmas, method).canvas
