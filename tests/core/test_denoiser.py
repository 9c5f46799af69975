"""Rows, batches of views, and the batched evaluation of a model."""

import core_toys as toys
import pytest
import torch

from syncdiffusion_core.denoiser import Rows, batches, denoise_views


def test_rows_are_view_major():
    rows = Rows.grid(2, (5, 7, 7))
    assert rows.samples == (0, 1, 0, 1, 0, 1)
    assert rows.views == (5, 5, 7, 7, 7, 7)
    assert len(rows) == 6


@pytest.mark.parametrize("count", [1, 2, 5, 21, 24])
@pytest.mark.parametrize("size", [1, 2, 3, 7, 16, 40])
def test_batches_hold_every_view_once_and_are_all_of_one_size(count, size):
    parts = list(batches(count, size))
    assert [v for views, real in parts for v in views[:real]] == list(range(count))
    assert len({len(views) for views, _ in parts}) == 1
    assert len(parts[0][0]) <= size
    assert len(parts) == -(-count // size)


@pytest.mark.parametrize("count", [5, 21, 23])
@pytest.mark.parametrize("size", [2, 4, 10])
def test_padding_repeats_the_last_view(count, size):
    *_, (views, real) = batches(count, size)
    assert set(views[real:]) <= {count - 1}


def test_batches_are_levelled():
    assert [real for _, real in batches(21, 16)] == [11, 10]
    assert list(batches(3, 2)) == [((0, 1), 2), ((2, 2), 1)]
    assert list(batches(3, 99)) == [((0, 1, 2), 3)]


@pytest.mark.parametrize("size", [0, -1])
def test_a_batch_holds_at_least_one_view(size):
    with pytest.raises(ValueError, match=f"windows per batch must be at least 1, got {size}"):
        list(batches(4, size))


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 9])
def test_a_model_sees_its_rows_whatever_the_batch(size):
    n_samples, n_views = 2, 5
    x = toys.randn(n_views * n_samples, 4, 3, 3)
    rows = Rows.grid(n_samples, tuple(range(n_views)))
    pairs = zip(*rows, strict=True)
    expected = torch.cat([toys.eps_denoiser(x[[k]], 0.7, toys.row(*pair)) for k, pair in enumerate(pairs)])
    torch.testing.assert_close(denoise_views(toys.eps_denoiser, x, 0.7, n_samples, size), expected, rtol=0, atol=1e-12)


def test_the_model_is_asked_once_a_batch_and_always_for_the_same_shape():
    shapes = []

    def spy(x, sigma, rows):
        shapes.append((x.shape[0], len(rows)))
        return x

    denoise_views(spy, torch.zeros(21 * 2, 4, 3, 3), 1.0, 2, 16)
    assert shapes == [(22, 22), (22, 22)]
