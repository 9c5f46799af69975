"""The share of a gain against closed forms."""

import math

import pytest
import torch

from bench.arms import Arm
from bench.figures import Row
from bench.shares import share_kept, shares_of


def uniform(count, seed):
    return torch.rand(count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def row(values, first=0):
    each = {"agree": {first + k: float(value) for k, value in enumerate(values)}}
    return Row(Arm("a", "a", 64, range(first, first + len(values))), len(values), each=each)


@pytest.mark.parametrize("kept", [0.0, 0.5, 0.95, 1.2, -0.3])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_share_of_each_seeds_gain_is_the_share_in_every_draw(kept, sign):
    base, gain = uniform(64, 0), sign * (0.2 + uniform(64, 1))
    share = share_kept(base, base - gain, base - kept * gain)
    assert [share.value, share.low, share.high, share.least] == pytest.approx([kept] * 4, abs=1e-12)
    assert share.seeds == 64


def test_the_gain_is_in_the_ratio_of_means():
    base, reference, own = torch.tensor([[1.0, 1.0], [0.9, 0.1], [0.9, 0.55]]).double()
    assert share_kept(base, reference, own).value == pytest.approx((0.1 + 0.45) / (0.1 + 0.9))


def test_an_interval_is_that_of_a_ratio_of_means():
    base, gain = uniform(400, 0), 1 + 0.2 * torch.randn(400, generator=torch.Generator().manual_seed(1)).double()
    kept = 0.9 * gain + 0.3 * torch.randn(400, generator=torch.Generator().manual_seed(2)).double()
    share = share_kept(base, base - gain, base - kept)
    error = float((kept - share.value * gain).std() / gain.mean() / math.sqrt(400))  # the delta method's
    expected = [share.value + z * error for z in (-1.96, 1.96, -1.645)]
    assert [share.low, share.high, share.least] == pytest.approx(expected, abs=0.2 * error)


def test_no_share_of_a_gain_that_may_be_none():
    base, noise = uniform(16, 0), uniform(16, 1) - 0.5
    assert share_kept(base, base - noise, base - 0.1) is None


def test_seeds_are_paired_whichever_a_row_has():
    base, gain = uniform(64, 0), 0.2 + uniform(64, 1)
    few = row((base - 0.5 * gain)[:16])
    share = shares_of(few, row(base), row(base - gain), "agree")
    assert (share.seeds, share.value) == (16, pytest.approx(0.5))
    assert shares_of(row([0.1], first=999), row(base), row(base - gain), "agree") is None
    assert shares_of(few, row(base), row(base - gain), "variance") is None


def test_unpaired_figures_are_refused():
    with pytest.raises(ValueError, match="got 3, 3 and 2: pair them first"):
        share_kept(torch.zeros(3), torch.zeros(3), torch.zeros(2))
