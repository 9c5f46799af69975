"""Do the windows say the same: in numbers."""

import itertools

import core_toys as toys
import pytest
import torch
from scipy.spatial.distance import cityblock

from syncdiffusion_core.metrics.labels import agreement, label_distance


@pytest.mark.parametrize(
    ("labels", "share"), [([0, 0, 0, 2], 0.75), ([4], 1), ([3, 3, 3], 1), ([0, 1, 2, 3, 4], 0.2), ([1, 0, 1, 0], 0.5)]
)
def test_agreement_counts_the_majority(labels, share):
    assert float(agreement(torch.tensor(labels))) == pytest.approx(share)


def test_windows_that_say_the_same_are_at_no_distance():
    assert label_distance(torch.tensor([[0.2, 0.5, 0.3]]).expand(6, 3)) == 0.0
    assert label_distance(torch.tensor([[0.2, 0.8]])) == 0.0


def test_label_distance_in_numbers():
    """Five windows sure of one label and one of another: five of the 15 pairs differ, by 1 each."""
    sure = torch.eye(3)[[0, 0, 0, 1, 0, 0]]
    assert label_distance(sure) == pytest.approx(1 / 3)
    assert label_distance(torch.eye(4)) == pytest.approx(1.0)
    assert label_distance(torch.tensor([[0.7, 0.3], [0.4, 0.6]])) == pytest.approx(0.3)


def test_label_distance_is_half_the_city_block():
    rows = toys.randn(6, 5).softmax(dim=1)
    pairs = [cityblock(p, q) / 2 for p, q in itertools.combinations(rows.numpy(), 2)]
    assert len(pairs) == 15
    assert label_distance(rows) == pytest.approx(sum(pairs) / 15, rel=1e-5)


def test_labels_are_one_a_window_and_rows_distributions():
    for labels in (torch.zeros(0, dtype=torch.long), torch.zeros(2, 2, dtype=torch.long)):
        with pytest.raises(ValueError, match="labels has to be"):
            agreement(labels)
    for logits in (toys.randn(3, 4), torch.tensor([[1.5, -0.5]])):
        with pytest.raises(ValueError, match="apply softmax first"):
            label_distance(logits)
    with pytest.raises(ValueError, match=r"probabilities has to be \[W, K\]"):
        label_distance(torch.ones(1))
