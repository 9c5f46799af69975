"""Ambiguous images of the demo world, on a toy model: its cells, its table, its sheet."""

import pytest
import torch
from bench_toys import Constant

from bench import ambiguous
from bench.networks import DemoCaptionScore
from syncdiffusion_core.canvases.images import ImageMap


@pytest.fixture
def cell():
    """An example of two seeds."""
    return ambiguous.Example(ImageMap.ROTATE_180, ambiguous.PAIRS[0])


def test_views_are_of_the_canvas_that_the_vae_decodes(cell, monkeypatch):
    for half in ("load_light_decoder", "load_light_encoder"):
        monkeypatch.setattr(ambiguous, half, Constant)
    made = ambiguous.Maker(Constant()).views(cell, [0, 1])
    torch.testing.assert_close(made, torch.full((2, 2, 3, 128, 128), 0.625), rtol=0, atol=1e-5)


def test_a_table_names_the_best_seed_and_the_sheet_shows_every_cell(cell):
    pictures = {cell: torch.randint(256, (2, 2, 3, 128, 128), generator=torch.manual_seed(1), dtype=torch.uint8)}
    frame = ambiguous.table(pictures, DemoCaptionScore())
    (row,) = frame.to_dict("records")
    assert row["A"] >= row["A, median"]
    assert row["best seed"] in (0, 1)
    assert row["recognised"] in (0.0, 0.5, 1.0)
    page = ambiguous.sheet(pictures, frame)
    assert page.size == (6 * ambiguous.SHOWN_PX, 4 * (ambiguous.SHOWN_PX + ambiguous.TEXT_PX))
    assert page.getpixel((ambiguous.SHOWN_PX // 2, page.height - 4)) == (255, 255, 255)
