"""Decoding a long panorama takes the memory of a tile, its picture apart."""

import pytest
import torch

from bench.meter import LiveTensors


@pytest.mark.parametrize("wrap", [False, True], ids=["", "wrapped"])
def test_memory_is_that_of_a_tile_whatever_the_length(wrap, vae, run_node):
    """Peaks beside what is made of a picture's size: the host's three tilings, their weights and their sum."""

    def beside(width):
        latent = {"samples": torch.randn(1, 4, 16, width, generator=torch.manual_seed(1))}
        with LiveTensors() as live:
            run_node(
                "SyncDiffusionPanoramaDecode",
                samples=latent,
                vae=vae,
                wrap_x=wrap,
                wrap_y=False,
                wrap_margin=64,
                tile_size=128,
            )
        return live.peak, 128 * (8 * width + 2 * 64 * wrap) * 3 * 4

    (short, small), (long, large) = beside(96), beside(384)
    pictures = (long - short) / (large - small)
    assert pictures < 5
    assert long - 5 * large < short
