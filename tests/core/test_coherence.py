"""Coherence figures in closed form."""

import core_toys as toys
import pytest
import torch

from syncdiffusion_core.metrics.coherence import coherence, mean_of_pairs, side_by_side
from syncdiffusion_core.metrics.seam import wrap_seam


class Brightness:
    """Distance of mean brightness: a number one can say in advance."""

    constant = 1.0

    def features(self, image):
        return (image.mean(dim=(1, 2, 3)),)

    def distance(self, features, anchor):
        return (features[0] - anchor[0]).abs()


def stripes(*levels: float, side: int = 8) -> torch.Tensor:
    """A panorama of square stripes of one brightness each."""
    return torch.tensor(levels).repeat_interleave(side).expand(3, side, -1)


def test_windows_stand_side_by_side():
    image = toys.randn(3, 8, 20)
    windows = side_by_side(image, 8)
    assert torch.equal(windows, torch.stack([image[:, :, :8], image[:, :, 8:16]]))


def test_windows_of_a_tall_panorama_stand_on_each_other():
    image = toys.randn(3, 20, 8)
    windows = side_by_side(image, 6)
    assert torch.equal(windows, torch.stack([image[:, 6 * k : 6 * k + 6] for k in range(3)]))


def test_the_papers_panorama_has_six_windows():
    assert side_by_side(torch.zeros(3, 512, 3072), 512).shape == (6, 3, 512, 512)


def test_a_window_as_wide_as_the_picture_is_the_picture():
    image = toys.randn(3, 8, 12)
    for window_px in (12, 100):
        assert torch.equal(side_by_side(image, window_px), image[None])


@pytest.mark.parametrize(("width", "count"), [(16, 2), (17, 2), (23, 2), (24, 3)])
def test_what_is_left_over_is_dropped(width, count):
    assert len(side_by_side(torch.zeros(3, 8, width), 8)) == count


def test_the_mean_of_pairs_counts_each_pair_once():
    pairs = torch.tensor([[9.0, 1.0, 2.0], [7.0, 9.0, 6.0], [7.0, 7.0, 9.0]])
    assert mean_of_pairs(pairs) == 3.0


def test_fewer_than_two_windows_have_no_pairs():
    assert mean_of_pairs(torch.zeros(1, 1)) == 0.0
    assert mean_of_pairs(torch.zeros(0, 0)) == 0.0


def test_coherence_of_known_brightness():
    image = stripes(0.0, 0.5, 1.0)
    figures = coherence(image, Brightness(), 8)
    torch.testing.assert_close(figures.pairs, torch.tensor([[0, 0.5, 1], [0.5, 0, 0.5], [1, 0.5, 0]]))
    assert figures.intra == pytest.approx((0.5 + 1.0 + 0.5) / 3)
    assert figures.seam == pytest.approx(wrap_seam(image))


def test_one_scene_is_fully_coherent():
    figures = coherence(stripes(0.3, 0.3, 0.3), Brightness(), 8)
    assert figures.intra == 0.0


def test_intra_is_the_mean_of_all_fifteen_pairs_of_six():
    image = torch.rand(3, 16, 96, generator=torch.Generator().manual_seed(0)).double()
    windows = [image[:, :, 16 * k : 16 * k + 16][None] for k in range(6)]
    pairs = [float(toys.loss_of(windows[i], windows[j])) for i in range(6) for j in range(i)]
    assert len(pairs) == 15
    assert coherence(image, toys.ToyDistance(), 16).intra == pytest.approx(sum(pairs) / 15, rel=1e-9)
