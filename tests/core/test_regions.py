"""Sections of an axis: a partition of unity with the crossfade that was asked for."""

import pytest
import torch

from syncdiffusion_core.regions import sections


@pytest.mark.parametrize("loop", [False, True])
@pytest.mark.parametrize("blend", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_weights_sum_to_1_and_are_never_negative(count, blend, loop):
    weights = sections(count, 360, blend, loop)
    assert weights.shape == (count, 360)
    torch.testing.assert_close(weights.sum(0), torch.ones(360))
    assert weights.min() >= 0


def test_hard_borders():
    assert sections(3, 6, 0.0).tolist() == [[1, 1, 0, 0, 0, 0], [0, 0, 1, 1, 0, 0], [0, 0, 0, 0, 1, 1]]


@pytest.mark.parametrize("blend", [0.25, 1.0])
def test_neighbours_cross_at_their_border_over_the_blend(blend):
    weights = sections(2, 2000, blend)
    assert weights[0, 999] == pytest.approx(0.5, abs=2e-3)
    changing = ((weights[0] > 0) & (weights[0] < 1)).sum() / 1000
    assert changing == pytest.approx(blend, abs=2e-3)


def test_on_a_loop_the_last_fades_into_the_first_and_a_turn_by_a_section_changes_nothing():
    weights = sections(4, 400, 0.5, loop=True)
    assert weights[3, 0] == pytest.approx(0.49, abs=0.01)
    assert weights[0, 399] == pytest.approx(0.49, abs=0.01)
    torch.testing.assert_close(weights[1], weights[0].roll(100))
    assert sections(4, 400, 0.5)[0, 0] == 1


@pytest.mark.parametrize(("count", "blend", "words"), [(0, 0.5, "at least 1 section"), (2, 1.5, "between 0 and 1")])
def test_what_makes_no_sense_is_refused(count, blend, words):
    with pytest.raises(ValueError, match=words):
        sections(count, 10, blend)
