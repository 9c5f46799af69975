"""SD's noise schedule in the two spaces: VP for the network, VE (x = x0 + sigma eps) for samplers."""

from __future__ import annotations

import torch

STEPS = 1000


def alphas_cumprod() -> torch.Tensor:
    """Square-root-linear schedule .00085 .. .012; float64 [1000]."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, STEPS, dtype=torch.float64) ** 2
    return torch.cumprod(1 - betas, dim=0)


def sigmas() -> torch.Tensor:
    """sigma of each timestep, ascending; float32 [1000]."""
    alphas = alphas_cumprod()
    return ((1 - alphas) / alphas).sqrt().float()


def timestep(sigma: torch.Tensor) -> torch.Tensor:
    """Nearest timestep in log sigma, [N] -> int64 [N]: what the host's ModelSamplingDiscrete does."""
    return (sigma.log()[:, None] - sigmas().to(sigma.device).log()).abs().argmin(dim=1)


def ddim_sigmas(steps: int) -> torch.Tensor:
    """`steps` sigmas from t = 999 down, evenly in t, then 0; [steps + 1]."""
    t = torch.linspace(STEPS - 1, 0, steps + 1)[:-1].round().long()
    return torch.cat([sigmas()[t], torch.zeros(1)])
