"""Coherence figures in closed form."""

import core_toys as toys
import pytest
import torch

from syncdiffusion_core.metrics.coherence import (
    LEAST_DISTANCE,
    LEAST_STYLE_DISTANCE,
    LOOK_DISTANCE,
    coherence,
    disagreeing,
    look_distance,
    looks,
    mean_of_pairs,
    mean_to_others,
    side_by_side,
    windows_side_by_side,
)
from syncdiffusion_core.metrics.seam import wrap_seam
from syncdiffusion_core.perceptual.lpips_net import LpipsNet, Trunk
from syncdiffusion_core.perceptual.style import StyleNet


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


@pytest.mark.parametrize(
    ("size", "window_px", "window", "origins"),
    [
        ((8, 20), 8, (8, 8), ((0, 0), (0, 8))),
        ((20, 8), 8, (8, 8), ((0, 0), (8, 0))),
        ((8, 8), 4, (8, 4), ((0, 0), (0, 4))),
        ((8, 20), 21, (8, 20), ((0, 0),)),
    ],
)
def test_where_windows_stand(size, window_px, window, origins):
    """(height, width) of the picture and the window, (top, left) of each."""
    windows = windows_side_by_side(size, window_px)
    assert (windows.canvas, windows.view, windows.origins) == (size, window, origins)


def levels(*values: float) -> torch.Tensor:
    """Distances of windows that differ by their level only: [W, W]."""
    line = torch.tensor(values)
    return (line[:, None] - line).abs()


class TestLooks:
    """Windows that look alike."""

    @pytest.mark.parametrize(
        ("values", "groups"),
        [
            ((0.2, 0.2, 0.25, 0.2), ((0, 1, 2, 3),)),
            ((0.1, 0.4, 0.7, 1.0), ((0,), (1,), (2,), (3,))),
            ((0.1, 0.1, 0.6, 0.6), ((0, 1), (2, 3))),
            ((0.1, 0.6, 0.1, 0.6), ((0, 2), (1, 3))),
            ((0.1, 0.9), ((0,), (1,))),
            ((0.1, 0.15), ((0, 1),)),
            ((0.5,), ((0,),)),
        ],
    )
    def test_are_grouped(self, values, groups):
        assert looks(levels(*values), LOOK_DISTANCE) == groups

    def test_a_slow_change_has_more_than_one_look(self):
        """Neighbours are alike, and the ends are not."""
        assert looks(levels(0.0, 0.1, 0.2, 0.3, 0.4, 0.5), LOOK_DISTANCE) == ((0, 1), (2, 3), (4, 5))

    def test_of_networks_whose_distances_nobody_has_measured_nothing_is_known(self, no_init):
        assert look_distance(StyleNet()) is None
        assert look_distance(LpipsNet(Trunk.ALEX)) is None
        assert look_distance(LpipsNet(Trunk.VGG)) == 0.62


def test_a_network_that_gives_no_numbers_is_named():
    class Broken(Brightness):
        def distance(self, features, anchor):
            return super().distance(features, anchor) * torch.nan

    with pytest.raises(ValueError, match="perceptual_model: .*NaN or infinite; load the file again"):
        coherence(stripes(0.1, 0.5), Broken(), 8)


class TestMeanToOthers:
    """What a window's distances say of it alone."""

    def test_leaves_the_window_itself_out(self):
        pairs = torch.tensor([[9.0, 1.0, 2.0], [1.0, 9.0, 6.0], [2.0, 6.0, 9.0]])
        assert mean_to_others(pairs).tolist() == [1.5, 3.5, 4.0]

    def test_their_mean_is_that_of_all_pairs(self):
        pairs = levels(0.1, 0.7, 0.2, 0.4, 0.9)
        assert float(mean_to_others(pairs).mean()) == pytest.approx(mean_of_pairs(pairs))

    def test_a_window_alone_has_none(self):
        assert mean_to_others(torch.zeros(1, 1)).tolist() == [0.0]


class TestDisagreeing:
    """Windows that stand apart from the rest."""

    @pytest.mark.parametrize(
        ("values", "odd"),
        [
            ((0.2, 0.2, 0.2, 0.2, 0.2, 0.9), (5,)),
            ((0.2, 0.2, 0.9, 0.9, 0.2, 0.2), (2, 3)),
            ((0.9, 0.2, 0.2), (0,)),
            ((0.9, 0.9, 0.2, 0.2, 0.2), (0, 1)),
            ((0.20, 0.23, 0.21, 0.22, 0.24, 0.90), (5,)),
        ],
    )
    def test_a_minority_is_named(self, values, odd):
        assert disagreeing(levels(*values)) == odd

    @pytest.mark.parametrize(
        "values",
        [
            (0.5,),
            (0.1, 0.9),
            (0.1, 0.1, 0.9, 0.9),
            (0.1, 0.1, 0.1, 0.9, 0.9, 0.9),
            (0.3, 0.3, 0.3, 0.3),
            (0.300, 0.301, 0.300, 0.302, 0.340),
        ],
    )
    def test_nobody_is_where_all_are_alike_or_two_camps_are_equal(self, values):
        assert disagreeing(levels(*values)) == ()

    def test_windows_that_all_differ_alike_have_no_odd_one(self):
        assert disagreeing(1 - torch.eye(6)) == ()

    def test_never_more_than_half(self):
        generator = torch.Generator().manual_seed(0)
        for count in range(1, 9):
            for _ in range(50):
                pairs = levels(*torch.rand(count, generator=generator).tolist())
                assert len(disagreeing(pairs, least=0.0)) <= count // 2

    def test_needs_the_least_difference(self):
        """Three alike and one beyond: means d/3 and d, so the odd one is 2d/3 above the middle."""
        apart = 1.5 * LEAST_DISTANCE
        assert disagreeing(levels(0, 0, 0, 1.02 * apart)) == (3,)
        assert disagreeing(levels(0, 0, 0, 0.98 * apart)) == ()

    def test_needs_a_tenth_of_the_middle(self):
        """All d apart, one d + e: means d + e/3 of the others, d + e of it."""
        pairs = 1.0 - torch.eye(4)
        for more, odd in ((0.20, (3,)), (0.14, ())):
            changed = pairs.clone()
            changed[3, :3] += more
            changed[:3, 3] += more
            assert disagreeing(changed, least=0.0) == odd

    def test_a_wide_spread_hides_what_a_narrow_one_shows(self):
        assert disagreeing(levels(0.0, 0.01, 0.02, 0.03, 0.04, 0.3)) == (5,)
        assert disagreeing(levels(0.0, 0.12, 0.24, 0.36, 0.48, 0.6)) == ()

    def test_order_of_windows_does_not_matter(self):
        pairs = levels(0.2, 0.9, 0.21, 0.19, 0.22, 0.8)
        order = torch.tensor([3, 5, 0, 1, 4, 2])
        assert {int(order[k]) for k in disagreeing(pairs[order][:, order])} == set(disagreeing(pairs))

    def test_scales_with_the_distance_and_its_least_difference(self):
        pairs, scale = levels(0.2, 0.3, 0.21, 0.19, 0.22, 0.2), LEAST_STYLE_DISTANCE / LEAST_DISTANCE
        assert disagreeing(scale * pairs, LEAST_STYLE_DISTANCE) == disagreeing(pairs) == (1,)
        assert disagreeing(scale * pairs) == ()
