"""Random networks of given shapes through the measurements' own host, on a processor."""

import os
import subprocess
import sys
from pathlib import Path

from bench.journal import Journal

ROOT = Path(__file__).resolve().parents[2]


def test_a_tiny_shape_is_measured(tmp_path, host):
    command = [sys.executable, "-m", "bench.frontier", "--shapes", "tiny", "--out", str(tmp_path)]
    env = {**os.environ, "COMFYUI_PATH": str(host.folder), "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "shapes.md").read_text() in done.stdout
    rows = {row["arm"]: row for row in Journal(tmp_path / "shapes.jsonl")}
    assert {"w0", "reference_mode"} <= rows.keys()
    assert [rows[name]["failed"] for name in ("w0", "reference_mode")] == [None, None]
    assert rows["reference_mode"]["peak_bytes"] > rows["w0"]["peak_bytes"] > 0
    assert rows["reference_mode"]["seconds"] > 0
