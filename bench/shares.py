"""How much of the reference's gain in coherence a row keeps, panoramas paired by seed."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bench.figures import Row
from bench.intervals import draws_of

ONE_SIDED, LOW, HIGH = 0.05, 0.025, 0.975


@dataclass(frozen=True)
class Share:
    """A share of a gain, 1 where all of it is kept; more than 1 and less than 0 can be.

    low, high: 95 % interval. least: one-sided 95 % bound from below. seeds: how many panoramas were paired.
    """

    value: float
    low: float
    high: float
    least: float
    seeds: int


def share_kept(base: Tensor, reference: Tensor, own: Tensor) -> Share | None:
    """(mean base - mean own) / (mean base - mean reference), each [P] in the same order of seeds.

    base: MultiDiffusion's figures, reference: the reference mode's; whether lower or higher is better cancels. The
    interval is the bootstrap's, seeds drawn together for all three. None where the reference's own gain is not told
    from none (a draw in which it vanishes or turns), for then a share of it says nothing.
    """
    if not len(base) == len(reference) == len(own) > 0:
        raise ValueError(
            f"base, reference and own have to hold the same seeds, got {len(base)}, {len(reference)} and {len(own)}: "
            "pair them first"
        )
    draws = draws_of(len(own))
    gain, kept = (base - reference).double(), (base - own).double()
    of_all, drawn = gain.mean(), gain[draws].mean(dim=1)
    if (drawn * of_all <= 0).any():
        return None
    shares = kept[draws].mean(dim=1) / drawn
    bounds = shares.quantile(torch.tensor([LOW, HIGH, ONE_SIDED], dtype=shares.dtype)).tolist()
    return Share(float(kept.mean() / of_all), *bounds, seeds=len(own))


def shares_of(row: Row, base: Row, reference: Row, key: str) -> Share | None:
    """Of one figure, over the seeds that all three rows have. None where there are none or no gain to share."""
    values = [each.each.get(key, {}) for each in (base, reference, row)]
    seeds = sorted(set.intersection(*(set(each) for each in values)))
    if not seeds:
        return None
    return share_kept(*(torch.tensor([each[seed] for seed in seeds], dtype=torch.float64) for each in values))
