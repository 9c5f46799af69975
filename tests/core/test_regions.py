"""Sections of an axis, boxes and feathers: partitions of unity, edges where and as wide as was asked for."""

import pytest
import torch

from syncdiffusion_core import regions
from syncdiffusion_core.regions import behind, boxes_mask, feathered, sections


@pytest.mark.parametrize("loop", [False, True])
@pytest.mark.parametrize("blend", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_weights_sum_to_1_and_are_never_negative(count, blend, loop):
    weights = sections(count, 360, blend, loop)
    assert weights.shape == (count, 360)
    torch.testing.assert_close(weights.sum(0), torch.ones(360))
    assert weights.min() >= 0


def convolved(mask, width_px, loop):
    """What ``feathered`` was before it took sums: work that grows with the width."""
    reach = width_px // 2
    taps = torch.ones(2 * reach + 1, dtype=mask.dtype)
    if width_px % 2 == 0:
        taps[[0, -1]] = 0.5
    taps = taps / width_px
    height, width = mask.shape[-2:]
    rows = torch.arange(-reach, height + reach).clamp(0, height - 1)
    columns = torch.arange(-reach, width + reach)
    columns = columns % width if loop else columns.clamp(0, width - 1)
    wide = mask[..., rows[:, None], columns].reshape(-1, 1, len(rows), len(columns))
    faded = torch.nn.functional.conv2d(wide, taps[None, None, None, :])
    return torch.nn.functional.conv2d(faded, taps[None, None, :, None]).clamp(0, 1).reshape(mask.shape)


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


class TestBoxes:
    def test_edges_are_those_of_the_pixels(self):
        mask = boxes_mask([(1, 0, 2, 1), (3, 1, 1, 2)], (3, 5))
        assert mask.tolist() == [[0, 1, 1, 0, 0], [0, 0, 0, 1, 0], [0, 0, 0, 1, 0]]

    def test_detectors_fractions_are_rounded(self):
        assert boxes_mask([(0.6, -0.2, 2.0, 1.3)], (2, 4)).tolist() == [[0, 1, 1, 0], [0, 0, 0, 0]]

    def test_what_overhangs_is_cut_off_or_comes_in_at_the_other_side(self):
        beyond, before = [(3, 0, 2, 1)], [(-1, 0, 2, 1)]
        assert boxes_mask(beyond, (1, 4)).tolist() == [[0, 0, 0, 1]]
        assert boxes_mask(beyond, (1, 4), loop=True).tolist() == [[1, 0, 0, 1]]
        assert boxes_mask(before, (1, 4)).tolist() == [[1, 0, 0, 0]]
        assert boxes_mask(before, (1, 4), loop=True).tolist() == [[1, 0, 0, 1]]

    def test_a_box_as_wide_as_a_loop_is_all_of_it(self):
        assert boxes_mask([(3, 0, 9, 1)], (1, 4), loop=True).tolist() == [[1, 1, 1, 1]]

    @pytest.mark.parametrize("far", [5.0, 500.0, 1e30])
    def test_a_box_far_beyond_both_sides_is_all_of_it(self, far):
        box = [(-far, -far, 2 * far + 4, 2 * far + 2)]
        for loop in (False, True):
            assert boxes_mask(box, (2, 4), loop).tolist() == [[1] * 4] * 2

    @pytest.mark.parametrize("x", [-9, -5, 7, 11])
    def test_on_a_loop_a_box_may_start_turns_away(self, x):
        at_home = boxes_mask([(x % 4, 0, 2, 1)], (1, 4), loop=True)
        assert torch.equal(boxes_mask([(x, 0, 2, 1)], (1, 4), loop=True), at_home)

    @pytest.mark.parametrize("box", [(4, 0, 2, 1), (0, 2, 2, 1), (0, -3, 2, 3), (1, 0, 0, 1), (1, 0, 1, 0)])
    def test_a_box_that_covers_nothing_is_refused(self, box):
        with pytest.raises(ValueError, match=r"covers nothing of a canvas of 4x2 px; move it inside"):
            boxes_mask([box], (2, 4))


class TestFeather:
    @pytest.mark.parametrize("width", [1, 2, 7, 8])
    @pytest.mark.parametrize("axis", [0, 1])
    def test_a_straight_edge_becomes_a_ramp_of_that_width(self, width, axis):
        place = torch.arange(40) + 0.5 - 20  # distance from the edge
        hard = (place > 0).float().expand(40, 40)
        soft = feathered(hard if axis else hard.T.contiguous(), width)
        expected = (0.5 + place / width).clamp(0, 1).expand(40, 40)
        torch.testing.assert_close(soft, expected if axis else expected.T)

    def test_a_box_becomes_the_product_of_its_ramps(self):
        soft = feathered(boxes_mask([(10, 12, 12, 8)], (32, 32)), 4)
        across = feathered(boxes_mask([(10, 0, 12, 32)], (32, 32)), 4)
        down = feathered(boxes_mask([(0, 12, 32, 8)], (32, 32)), 4)
        torch.testing.assert_close(soft, across * down)
        assert soft.sum() == pytest.approx(12 * 8, rel=1e-5)

    def test_what_touches_a_side_does_not_fade_there(self):
        soft = feathered(boxes_mask([(0, 0, 8, 16)], (16, 16)), 4)
        torch.testing.assert_close(soft[:, :6], torch.ones(16, 6))

    def test_on_a_loop_it_fades_into_the_other_side(self):
        mask = boxes_mask([(0, 0, 8, 4)], (4, 16))
        turned = boxes_mask([(12, 0, 8, 4)], (4, 16), loop=True)
        torch.testing.assert_close(feathered(turned, 4, loop=True), feathered(mask, 4, loop=True).roll(-4, dims=-1))
        torch.testing.assert_close(feathered(mask, 4, loop=True)[0, [15, 0]], torch.tensor([0.375, 0.625]))

    def test_a_batch_is_feathered_each_by_itself_and_more_than_the_canvas_works(self):
        masks = torch.stack([boxes_mask([(k, 0, 2, 4)], (4, 6)) for k in range(3)])
        torch.testing.assert_close(feathered(masks, 3)[1], feathered(masks[1], 3))
        assert feathered(masks, 50, loop=True).isfinite().all()

    @pytest.mark.parametrize("loop", [False, True])
    @pytest.mark.parametrize("width", [1, 2, 5, 32, 33, 64, 65, 200, 301])
    def test_against_the_mean_pixel_by_pixel(self, width, loop):
        """The slow oracle: a convolution over the mask, continued beyond its sides."""
        masks = torch.rand(2, 17, 33, generator=torch.Generator().manual_seed(width)) ** 8
        exact = convolved(masks.double(), width, loop).float()
        torch.testing.assert_close(feathered(masks, width, loop), exact, atol=1e-6, rtol=0)

    def test_its_work_does_not_grow_with_its_width(self, monkeypatch):
        """As many numbers are made for a feather of 16,384 px as for one of 2."""
        made = []
        plain = regions._sums_from

        def counted(*args):
            made.append(plain(*args))
            return made[-1]

        monkeypatch.setattr(regions, "_sums_from", counted)
        counts = []
        for width in (2, 16384):
            made.clear()
            assert feathered(boxes_mask([(8, 8, 40, 20)], (48, 64)), width).isfinite().all()
            counts.append(sum(each.numel() for each in made))
        assert counts[0] == counts[1]

    def test_large_canvases_are_done_some_lines_at_a_time(self, monkeypatch):
        mask = torch.rand(40, 70, generator=torch.Generator().manual_seed(0))
        whole = feathered(mask, 9, loop=True)
        monkeypatch.setattr(regions, "CHUNK", 100)
        assert torch.equal(feathered(mask, 9, loop=True), whole)

    def test_the_mask_given_stays_as_it_is(self):
        mask = boxes_mask([(2, 1, 3, 2)], (4, 8))
        kept = mask.clone()
        feathered(mask, 3)
        assert torch.equal(mask, kept)

    def test_none_and_less_than_none(self):
        mask = torch.rand(4, 4)
        assert torch.equal(feathered(mask, 0), mask)
        with pytest.raises(ValueError, match="0 pixels wide or wider, got -1"):
            feathered(mask, -1)


@pytest.mark.parametrize("strength", [0.0, 0.3, 1.0])
def test_regions_over_each_other_and_what_is_behind_them_sum_to_1(strength):
    regions = [feathered(boxes_mask([box], (32, 64)), 6) for box in ((4, 4, 20, 12), (16, 8, 30, 20), (40, 0, 24, 32))]
    layers = [torch.ones(32, 64)]
    for region in regions:
        layers = [*(behind(layer, region, strength) for layer in layers), strength * region]
    torch.testing.assert_close(sum(layers), torch.ones(32, 64))
    assert min(layer.min() for layer in layers) >= 0
    front = layers[-1]
    torch.testing.assert_close(front[10, 50], torch.tensor(strength))
