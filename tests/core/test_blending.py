"""Window weights: symmetric, positive, by their formulas."""

import math

import pytest
import torch

from syncdiffusion_core.blending import FLOOR, Blend, window_weight

SIZES = [(1, 1), (1, 2), (2, 3), (7, 8), (16, 9), (64, 64), (128, 33)]


@pytest.mark.parametrize("blend", list(Blend))
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_weights_are_symmetric_to_the_bit_and_positive(blend, height, width):
    weight = window_weight(blend, height, width)
    assert weight.shape == (height, width)
    assert weight.dtype == torch.float32
    for mirrored in (weight.flip(0), weight.flip(1), weight.flip(0, 1)):
        assert torch.equal(weight, mirrored)
    assert weight.min() > 0
    assert weight.max() <= 1


@pytest.mark.parametrize("blend", list(Blend))
def test_both_axes_have_the_same_shape(blend):
    assert torch.equal(window_weight(blend, 8, 5), window_weight(blend, 5, 8).T)


@pytest.mark.parametrize("blend", list(Blend))
def test_the_middle_of_an_odd_window_weighs_one(blend):
    assert window_weight(blend, 9, 11)[4, 5] == 1


def test_uniform_is_the_plain_mean():
    assert torch.equal(window_weight(Blend.UNIFORM, 5, 6), torch.ones(5, 6))


def test_gaussian_has_a_standard_deviation_of_three_tenths_of_the_half_window():
    expected = [math.exp(-0.5 * ((x - 2) / (0.3 * 2.5)) ** 2) for x in range(5)]
    torch.testing.assert_close(window_weight(Blend.GAUSSIAN, 1, 5)[0], torch.tensor(expected))
    edge = window_weight(Blend.GAUSSIAN, 1, 1001)[0, 0]
    assert edge == pytest.approx(0.0039, abs=1e-4)


def test_feathered_is_a_tent():
    torch.testing.assert_close(window_weight(Blend.FEATHERED, 1, 5)[0], torch.tensor([0.2, 0.6, 1.0, 0.6, 0.2]))
    torch.testing.assert_close(window_weight(Blend.FEATHERED, 1, 4)[0], torch.tensor([0.25, 0.75, 0.75, 0.25]))


def test_weights_fall_towards_the_edges():
    for blend in (Blend.GAUSSIAN, Blend.FEATHERED):
        ramp = window_weight(blend, 1, 16)[0, :8]
        assert (ramp.diff() > 0).all()


def test_no_cell_is_lost_in_a_very_wide_window():
    assert window_weight(Blend.FEATHERED, 1, 4096).min() == pytest.approx(FLOOR)
