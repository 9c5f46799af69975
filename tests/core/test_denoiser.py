"""Rows, and the batched evaluation of a model."""

import core_toys as toys
import pytest
import torch

from syncdiffusion_core.denoiser import Rows, denoise_views


def test_rows_are_view_major():
    rows = Rows.grid(2, (5, 7, 7))
    assert rows.samples == (0, 1, 0, 1, 0, 1)
    assert rows.views == (5, 5, 7, 7, 7, 7)
    assert len(rows) == 6


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
