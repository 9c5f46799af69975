"""Padding a periodic canvas for decoders that know nothing of wrapping."""

import core_toys as toys
import pytest
import torch

from syncdiffusion_core.wrapping import crop, wrap_pad


def test_a_padded_row_continues_on_the_other_side():
    assert wrap_pad(torch.arange(4).view(1, 1, 1, 4), 0, 2).flatten().tolist() == [2, 3, 0, 1, 2, 3, 0, 1]


def test_a_padded_column_continues_on_the_other_side():
    assert wrap_pad(torch.arange(3).view(1, 1, 3, 1), 1, 0).flatten().tolist() == [2, 0, 1, 2, 0]


@pytest.mark.parametrize(("pad_y", "pad_x"), [(0, 0), (1, 2), (3, 5), (7, 23)])
def test_every_cell_is_the_one_of_the_periodic_canvas(pad_y, pad_x):
    canvas = toys.randn(2, 4, 3, 5)
    padded = wrap_pad(canvas, pad_y, pad_x)
    assert padded.shape == (2, 4, 3 + 2 * pad_y, 5 + 2 * pad_x)
    for y in range(padded.shape[-2]):
        for x in range(padded.shape[-1]):
            assert torch.equal(padded[..., y, x], canvas[..., (y - pad_y) % 3, (x - pad_x) % 5])


@pytest.mark.parametrize(("pad_y", "pad_x"), [(0, 0), (0, 2), (3, 0), (2, 7)])
def test_cropping_the_decoded_image_undoes_it(pad_y, pad_x):
    canvas = toys.randn(2, 3, 4, 6)
    scale = 8
    decoded = wrap_pad(canvas, pad_y, pad_x).repeat_interleave(scale, -1).repeat_interleave(scale, -2)
    image = crop(decoded.movedim(1, -1), pad_y * scale, pad_x * scale)
    assert torch.equal(image.movedim(-1, 1)[..., ::scale, ::scale], canvas)


def test_frames_are_padded_too():
    assert wrap_pad(torch.zeros(1, 4, 2, 3, 5), 1, 2).shape == (1, 4, 2, 5, 9)
