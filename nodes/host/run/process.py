"""The core's noise process of a host model, read off its own functions rather than its class."""

import torch

from ....syncdiffusion_core.process import NoiseProcess

BISECTION_STEPS = 40


def host_process(model_sampling: object) -> NoiseProcess:
    """a(sigma), b(sigma) from the host's ``noise_scaling``; sigma_data as the model states it, else 1."""

    def scaled(sigma: float, noise: float, latent: float) -> float:
        # Fresh tensors: noise_scaling writes into its arguments.
        level = torch.tensor([sigma], dtype=torch.float64)
        mixed = model_sampling.noise_scaling(
            level, torch.full((1, 1), noise, dtype=torch.float64), torch.full((1, 1), latent, dtype=torch.float64)
        )
        return float(mixed)

    return NoiseProcess(
        a=lambda sigma: scaled(sigma, 0.0, 1.0),
        b=lambda sigma: scaled(sigma, 1.0, 0.0),
        sigma_data=float(getattr(model_sampling, "sigma_data", 1.0)),
    )


def percent_of_sigma(model_sampling: object, sigma: float) -> float:
    """The host's percent (0 at the first timestep, 1 at the end) of a noise level, by bisection."""
    if sigma <= 0:
        return 1.0
    low, high = 0.0, 1.0
    for _ in range(BISECTION_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if model_sampling.percent_to_sigma(middle) > sigma else (low, middle)
    return (low + high) / 2
