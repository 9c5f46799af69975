"""Crops: their size, their place, and what it depends on."""

import pytest
import torch

from syncdiffusion_core.metrics.crops import random_crop

HEIGHT, WIDTH, SIZE = 10, 60, 8


def places(seeds, height=HEIGHT, width=WIDTH) -> list[tuple[int, int]]:
    """(top, left) of the crop of each seed, read off a picture whose pixels hold their own place."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    image = torch.stack([rows, columns, rows + columns]).float()
    corners = []
    for seed in seeds:
        crop = random_crop(image, SIZE, seed)
        assert crop.shape == (3, SIZE, SIZE)
        top, left = (int(v) for v in crop[:2, 0, 0])
        assert torch.equal(crop, image[:, top : top + SIZE, left : left + SIZE])
        corners.append((top, left))
    return corners


def test_a_seed_says_where_and_nothing_else_does():
    first = places(range(5))
    torch.rand(3)
    assert places(range(5)) == first
    assert len(set(first)) > 1


def test_crops_are_spread_evenly_along_both_axes():
    """Over 4,000 seeds each of 3 tops and 53 lefts has its share, five standard deviations at most off."""
    corners = places(range(4000))
    for values, count in ((torch.tensor([t for t, _ in corners]), 3), (torch.tensor([x for _, x in corners]), 53)):
        counts = values.bincount(minlength=count)
        assert len(counts) == count
        expected = 4000 / count
        assert (counts - expected).abs().max() < 5 * (expected * (1 - 1 / count)) ** 0.5


def test_a_crop_as_large_as_the_picture_is_the_picture():
    image = torch.rand(3, 8, 8)
    assert torch.equal(random_crop(image, 8, seed=3), image)


@pytest.mark.parametrize("size_px", [0, 11])
def test_a_picture_smaller_than_the_crop_is_refused(size_px):
    with pytest.raises(ValueError, match=f"shorter side, got {size_px} for an image of 60x10 px"):
        random_crop(torch.zeros(3, HEIGHT, WIDTH), size_px, seed=0)
