"""Noise families: every sampler state is x = a(sigma) x0 + b(sigma) eps.

Notation: a, b — signal and noise scale; r = b/a — noise-to-signal ratio; s — the scale that brings a state
to the variance-preserving one in which SyncDiffusion's step size is given: s^2 = (a sigma_d)^2 + b^2, with
sigma_d the standard deviation of the data as the model assumes it.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

ScaleFunction = Callable[[float], float]


@dataclass(frozen=True)
class NoiseProcess:
    """The noise family of a model, as two scale functions of sigma."""

    a: ScaleFunction
    b: ScaleFunction
    sigma_data: float = 1.0

    def state_variance(self, sigma: float) -> float:
        """s^2: Eq. 14's step in VP units, x <- x - w dL/dx, becomes x <- x - w s^2 dL/dx in this family."""
        return (self.a(sigma) * self.sigma_data) ** 2 + self.b(sigma) ** 2

    def state_scale(self, sigma: float) -> float:
        """s: the root-mean-square of a state whose clean part has standard deviation sigma_data."""
        return math.sqrt(self.state_variance(sigma))

    def noise_from(self, x: Tensor, x0: Tensor, sigma: float) -> Tensor:
        """Eps of a state and its clean prediction."""
        return (x - self.a(sigma) * x0) / self._noise_scale(sigma)

    def clean_from(self, x: Tensor, eps: Tensor, sigma: float) -> Tensor:
        """x0 of a state and its noise prediction (Tweedie, Eq. 10); undefined where no signal is left."""
        a = self.a(sigma)
        if a == 0:
            raise ValueError(
                f"x0 cannot be computed from the noise at sigma {sigma:g}, where the state holds no signal; "
                "choose a strategy that averages x0 or the next state, or start below this sigma"
            )
        return (x - self.b(sigma) * eps) / a

    def compose(self, x0: Tensor, eps: Tensor, sigma: float) -> Tensor:
        """The state at sigma of a clean latent and a noise."""
        return self.a(sigma) * x0 + self.b(sigma) * eps

    def step(self, x: Tensor, x0: Tensor, sigma: float, sigma_next: float) -> Tensor:
        """Deterministic step psi (DDIM with eta 0; Euler): re-noise x0 with the same eps."""
        ratio = self.b(sigma_next) / self._noise_scale(sigma)
        return ratio * x + (self.a(sigma_next) - ratio * self.a(sigma)) * x0

    def ancestral_step(
        self, x: Tensor, x0: Tensor, sigma: float, sigma_next: float, noise: Tensor, eta: float
    ) -> Tensor:
        """Ancestral step: part eta of the noise at sigma_next is fresh, the rest is kept.

        In the ratio r = b/a this is the ancestral step of Karras et al. 2022 (VE), so one formula serves VP,
        VE and flow models.
        """
        r_down, r_up = self.ancestral_split(sigma, sigma_next, eta)
        eps = self.noise_from(x, x0, sigma)
        return self.a(sigma_next) * (x0 + r_down * eps + r_up * noise)

    def ancestral_split(self, sigma: float, sigma_next: float, eta: float) -> tuple[float, float]:
        """(r_down, r_up) with r_down^2 + r_up^2 = r(sigma_next)^2."""
        a, b, a_next, b_next = self.a(sigma), self._noise_scale(sigma), self.a(sigma_next), self.b(sigma_next)
        r_next = b_next / a_next
        shrink = (b_next * a / (a_next * b)) ** 2  # (r_next / r)^2, 0 where the state is pure noise
        r_up = min(r_next, eta * r_next * math.sqrt(max(1.0 - shrink, 0.0)))
        return math.sqrt(max(r_next**2 - r_up**2, 0.0)), r_up

    def _noise_scale(self, sigma: float) -> float:
        b = self.b(sigma)
        if b == 0:
            raise ValueError(f"a step needs noise to remove, but the noise scale b({sigma:g}) is 0")
        return b


def variance_exploding(sigma_data: float = 1.0) -> NoiseProcess:
    """EPS, V (sigma_data 1) and EDM models in the k-diffusion convention: x = x0 + sigma eps."""
    return NoiseProcess(a=lambda sigma: 1.0, b=lambda sigma: sigma, sigma_data=sigma_data)


def rectified_flow(noise_scale: float = 1.0) -> NoiseProcess:
    """Flow models (SD3, Flux, …): x = (1 - sigma) x0 + sigma eps, sigma in [0, 1]."""
    return NoiseProcess(a=lambda sigma: 1.0 - sigma, b=lambda sigma: sigma * noise_scale)


def variance_preserving() -> NoiseProcess:
    """The papers' notation, x = sqrt(ab) x0 + sqrt(1 - ab) eps, indexed by sigma = sqrt((1 - ab)/ab)."""
    return NoiseProcess(a=lambda s: 1.0 / math.sqrt(1.0 + s * s), b=lambda s: s / math.sqrt(1.0 + s * s))
