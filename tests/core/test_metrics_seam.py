"""Seams that are painted, and pictures without any."""

import core_toys as toys
import pytest
import torch
import torch.nn.functional as F

from syncdiffusion_core.metrics.seam import border_seam, wrap_seam

# The wrap.


def test_the_seam_of_a_ramp():
    """From 0 to 1 over 11 columns: neighbours differ by .1, the ends by 1."""
    ramp = torch.linspace(0, 1, 11).expand(3, 4, -1)
    assert wrap_seam(ramp) == pytest.approx(10.0, rel=1e-4)


def test_the_seam_of_a_closed_wave_is_a_step_like_any_other():
    angles = torch.arange(64) * 2 * torch.pi / 64
    wave = angles.sin().expand(3, 4, -1)
    assert wrap_seam(wave) < 2
    rolled = wrap_seam(torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(0)))
    assert rolled == pytest.approx(1.0, abs=0.15)


def test_a_flat_picture_has_no_seam():
    flat = torch.full((3, 4, 8), 0.5)
    assert wrap_seam(flat) == 0.0
    assert border_seam(flat, [4]) == 0.0


# Borders of windows.


def zigzag(width: int = 32) -> torch.Tensor:
    """Neighbouring columns differ by .1 everywhere."""
    return (torch.arange(width) % 2 * 0.1).expand(3, 4, -1).clone()


def smooth_noise(width: int = 512) -> torch.Tensor:
    noise = toys.randn(3, 1, 64, width).float()
    return F.avg_pool2d(noise, 5, stride=1, padding=2)[:, 0]


def test_a_painted_step_in_numbers():
    """.1 between all columns, .1 + .5 across border 16: a ratio of 6 there, of 1 anywhere else."""
    image = zigzag()
    image[:, :, 16:] -= 0.5
    assert border_seam(image, [16]) == pytest.approx(6.0, rel=1e-4)
    assert border_seam(image, [8]) == pytest.approx(0.1 / ((29 * 0.1 + 0.6) / 30), rel=1e-4)
    assert border_seam(image, [8, 16]) == pytest.approx(3.5, rel=1e-4)
    assert border_seam(image, [16, 8, 8]) == pytest.approx(3.5, rel=1e-4)


def test_borders_are_between_their_column_and_the_one_before():
    image = torch.zeros(3, 2, 9)
    image[:, :, 4:] = 1
    assert border_seam(image, [4]) > 1e5
    assert border_seam(image, [3]) == border_seam(image, [5]) == 0.0


def test_no_border_stands_out_of_smooth_noise():
    image = smooth_noise()
    for borders in ([128, 256, 384], range(64, 512, 64)):
        assert border_seam(image, borders) == pytest.approx(1.0, abs=0.1)


def test_the_brightness_of_a_window_shows_in_smooth_noise():
    image, scores = smooth_noise(), []
    for step in (0.0, 0.2, 0.5, 1.0):
        stepped = image.clone()
        stepped[:, :, 256:] += step
        scores.append(border_seam(stepped, [256]))
    assert scores == sorted(scores)
    assert scores[0] < 1.2
    assert scores[-1] > 3


def test_a_step_that_a_decoder_spreads_out_needs_reach():
    """1 over 8 columns from 28 to 36: seven of the 15 steps within reach carry 1/8 each, and one more."""
    image = torch.zeros(3, 2, 64)
    image[:, :, 28:36] = torch.arange(1, 9) / 8
    image[:, :, 36:] = 1
    image += zigzag(64)[:, :2] / 100
    spread = border_seam(image, [32], reach_px=8)
    inside = (7 * 0.125 + 0.125) / 15
    assert spread == pytest.approx(inside / 0.001, rel=0.1)
    assert spread > 30


def test_reach_counts_the_columns_on_each_side():
    """Reach 2 takes the steps at borders 3, 4 and 5 of a picture whose steps are 1, 2, ..., 7."""
    image = torch.tensor([0.0, 1, 3, 6, 10, 15, 21, 28]).expand(3, 2, -1)
    assert border_seam(image, [4], reach_px=2) == pytest.approx(4 / ((1 + 2 + 6 + 7) / 4))
    assert border_seam(image, [1], reach_px=3) == pytest.approx(2 / 5.5)
    assert border_seam(image, [7], reach_px=3) == pytest.approx(6 / 2.5)


@pytest.mark.parametrize("borders", [[], [0], [32], [8, 40], [-1]])
def test_borders_lie_inside_the_picture(borders):
    with pytest.raises(ValueError, match="borders_px has to name at least one border from 1 to 31"):
        border_seam(zigzag(), borders)


def test_borders_leave_something_to_compare_with():
    with pytest.raises(ValueError, match="borders_px has to leave columns between the borders"):
        border_seam(zigzag(), [8, 16, 24], reach_px=8)
    with pytest.raises(ValueError, match="reach_px has to be at least 1, got 0"):
        border_seam(zigzag(), [8], reach_px=0)
