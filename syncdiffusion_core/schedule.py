"""How strong guidance is at each step.

Weights are in the paper's units throughout (w = 20 in SyncDiffusion, Table 1).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

PAPER_STEPS = 50
MAX_STEP_DOSE = 3.0  # at most so many paper steps' weight in one step: few-step runs stay stable


class Clock(str, Enum):
    """What the decay counts."""

    PERCENT = "percent"  # of the noise schedule: the same total dose at any step count
    INDEX = "index"  # the step's number, as the official code does


@dataclass(frozen=True)
class GuidanceSchedule:
    """Weight of each step.

    weight: the paper's w, >= 0. decay: factor a paper step, in (0, 1]. start, end: fractions of the schedule
    (percent clock: of the model's timesteps; index clock: of the steps), 0 <= start <= end <= 1.
    every: guide every n-th step (the official ``sync_freq``: steps n-1, 2n-1, …).
    """

    weight: float = 20.0
    decay: float = 0.95
    start: float = 0.0
    end: float = 0.2
    every: int = 1
    clock: Clock = Clock.PERCENT

    def __post_init__(self) -> None:
        if not 0 <= self.weight < math.inf:
            raise ValueError(
                f"guidance weight must be a number of 0 or more, got {self.weight}; 20 is the paper's, 0 turns it off"
            )
        if not 0 < self.decay <= 1:
            raise ValueError(f"decay must be above 0 and at most 1, got {self.decay}; .95 is the paper's")
        if not 0 <= self.start <= self.end <= 1:
            raise ValueError(
                f"guidance must start and end within 0 and 1 in that order, got {self.start} and {self.end}; lower "
                "start_percent or raise end_percent"
            )
        if self.every < 1:
            raise ValueError(f"guide every n-th step needs n of at least 1, got {self.every}; 1 guides every step")

    def weights(self, percents: Sequence[float], first: int = 0, total: int | None = None) -> list[float]:
        """The weight of each step, 0 where the step is not guided.

        percents: the fraction of the schedule behind each state of the run, steps + 1 values. first, total:
        the index of the run's first step and the number of steps in the schedule it is a part of, for the
        index clock.
        """
        steps = len(percents) - 1
        total = first + steps if total is None else total
        origin = min(percents[0], 1 / PAPER_STEPS) if percents else 0.0
        weigh = self._by_index if self.clock is Clock.INDEX else self._by_percent
        return [weigh(k, percents, origin, first, total) for k in range(steps)]

    def _by_index(self, k: int, percents: Sequence[float], origin: float, first: int, total: int) -> float:
        index = first + k
        guided = (index + 1) % self.every == 0 and self.start * total - 1e-9 <= index < self.end * total - 1e-9
        return self.weight * self.decay**index if guided else 0.0

    def _by_percent(self, k: int, percents: Sequence[float], origin: float, first: int, total: int) -> float:
        here, there = percents[k], percents[k + 1]
        # Rounding of the timestep puts a step a hair beside its round percent: half a paper timestep of slack.
        slack = 0.5 / (PAPER_STEPS * 20)
        over = self.end < 1 and here >= self.end - slack
        if over or here < self.start - slack or (first + k + 1) % self.every:
            return 0.0
        dose = min(PAPER_STEPS * (there - here), MAX_STEP_DOSE)
        return self.weight * self.decay ** (PAPER_STEPS * (here - origin)) * dose


def concentrate(weights: Sequence[float], part: float) -> list[float]:
    """The first ``part`` of the guided steps, in (0, 1], with the weight of all: their sum stays."""
    if not 0 < part <= 1:
        raise ValueError(
            f"the part of the guided steps that is kept must be above 0 and at most 1, got {part}; 1 keeps them all"
        )
    guided = [k for k, weight in enumerate(weights) if weight]
    kept = set(guided[: math.ceil(part * len(guided) - 1e-9)])
    if not kept:
        return list(weights)
    factor = sum(weights) / sum(weights[k] for k in kept)
    return [weight * factor if k in kept else 0.0 for k, weight in enumerate(weights)]
