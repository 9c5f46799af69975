"""Networks of people's shapes: their table, and what is measured again."""

import contextlib

import pytest

from bench import shapes
from bench.arms import UNGUIDED
from bench.frontier_arms import MAIN, MODE
from bench.shapes import Measured, measure_shapes, shape_table


def test_shapes_need_cuda(tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert "no CUDA here" in measure_shapes(tmp_path, [])
    with pytest.raises(ValueError, match="there is no sd9"):
        measure_shapes(tmp_path, ["sd9"])


def test_a_table_of_shapes():
    rows = [
        Measured("sd15", "512x3072", UNGUIDED, 0.5, 2**31),
        Measured("sd15", "512x3072", MODE, 2.0, 2**32, held_bytes=2**31, estimate_bytes=2**30),
        Measured("sd15", "512x3072", "fast", float("nan"), 0, failed="out of memory"),
    ]
    lines = shape_table(rows).splitlines()
    assert lines[2] == "| SD 1.5 | 512x3072 | w0 | 0.500 | 1.00 | 0.25 | 2.00 | 0.00 | – |"
    assert lines[3] == "| SD 1.5 | 512x3072 | reference_mode | 2.000 | 4.00 | 1.00 | 4.00 | 2.00 | 0.50 |"
    assert lines[4] == "| SD 1.5 | 512x3072 | fast | out of memory | – | – | – | – | – |"


def test_what_failed_is_tried_again_and_what_did_not_is_kept(tmp_path, monkeypatch):
    failing, tried = {MODE}, []

    def measure_one(name, canvas, arm, runner):
        tried.append(arm.name)
        failed = "out of memory" if arm.name in failing else None
        return Measured(name, "64x256", arm.name, 1.0, 2**30, failed=failed)

    monkeypatch.setattr(shapes, "in_process", lambda: contextlib.nullcontext())
    monkeypatch.setattr(shapes, "prepare", lambda scratch: None)
    monkeypatch.setattr(shapes, "_able", lambda *_: True)
    monkeypatch.setattr(shapes, "measure_one", measure_one)
    assert "out of memory" in measure_shapes(tmp_path, ["tiny"])
    assert "out of memory" in measure_shapes(tmp_path, ["tiny"])
    failing.clear()
    assert "out of memory" not in (text := measure_shapes(tmp_path, ["tiny"]))
    assert text.count(MODE) == 1
    assert tried == [*MAIN, MODE, MODE]
