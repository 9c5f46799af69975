"""Which of a sampler's model calls opens a step: the one that is asked about the step's own state.

Guidance moves that state, so it has to be found among a sampler's calls. A sampler asks at the level of the step; but
packs put functions between a sampler and its model that tell it another one (Detail Daemon, Lying Sigma), and samplers
of higher order ask between levels, or at the next one, as well. What tells the calls apart: how many of them a step
has, counted from what the sampler tells for previews, once a step, right after the step's first call; and their levels.
"""

from collections.abc import Iterable, Sequence

CALLS_A_STEP = {
    **dict.fromkeys(("sample_heun", "sample_dpm_2", "sample_dpm_2_ancestral", "sample_dpmpp_2s_ancestral"), 2),
    **dict.fromkeys(("sample_dpmpp_2s_ancestral_cfg_pp", "sample_dpmpp_sde", "sample_dpmpp_sde_gpu"), 2),
    **dict.fromkeys(("sample_exp_heun_2_x0", "sample_exp_heun_2_x0_sde", "sample_seeds_2"), 2),
    "sample_seeds_3": 3,
}
"""Of the host's samplers that make more than one. Ancestral ones ask in between at what rounds to the next level."""
NEAR = 0.25
"""Part of the way from one level to the one before, within which a call may be meant for it."""


class Openings:
    """The openings of one run. sigmas: its levels, steps + 1 of them. names: of the sampler's functions."""

    def __init__(self, sigmas: Sequence[float], names: Iterable[str] = ()) -> None:
        self._sigmas = list(sigmas[:-1])
        self._known = max((CALLS_A_STEP.get(name, 0) for name in names), default=0)
        self._next, self._told = 0, 0  # the step to open; steps that were told
        self._calls, self._calls_a_step = 0, 0  # since the last was told; between the last two
        self._exact, self._ratio = True, 1.0  # whether all levels were the steps' own; the last one to its step's

    def of(self, sigma: float) -> int | None:
        """The step that a call at this level opens, None for any other call; to be asked once for each call."""
        self._calls += 1
        step = self._opened(sigma)
        if step is not None:
            self._exact = self._exact and sigma == self._sigmas[step]
            self._next, self._ratio = step + 1, sigma / self._sigmas[step]
        return step

    def tell(self) -> None:
        """The sampler has told of its next step: the first call of that step is over."""
        if self._told >= self._next:
            self._exact, self._next = False, self._told + 1  # it began the step unnoticed
        self._told += 1
        self._calls_a_step = self._calls if self._told > 1 else 0
        self._calls = 0

    def _opened(self, sigma: float) -> int | None:
        step, calls = self._next, self._known or self._calls_a_step
        if step == 0:
            return 0
        if self._told == 0:
            return self._at(sigma)  # a sampler that tells nothing
        if step != self._told or step >= len(self._sigmas) or self._calls < calls:
            return None
        if self._known:
            return step
        if self._exact and (found := self._at(sigma)) is not None:
            return found
        return step if self._is_meant(step, sigma) else None

    def _at(self, sigma: float) -> int | None:
        """The step to come that has this level."""
        return self._sigmas.index(sigma, self._next) if sigma in self._sigmas[self._next :] else None

    def _is_meant(self, step: int, sigma: float) -> bool:
        """Whether a call at a level of no step is meant for this one."""
        near = sigma <= self._ratio * self._sigmas[step] ** (1 - NEAR) * self._sigmas[step - 1] ** NEAR
        if self._calls_a_step:
            return self._calls == self._calls_a_step and (near or not self._exact)
        return near and not self._exact
