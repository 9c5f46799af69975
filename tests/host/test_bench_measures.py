"""What a panorama takes, counted in the measurements' own host."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CODE = """
import json
from dataclasses import asdict, replace
from bench.frontier_arms import frontier_arms
from bench.hosts import in_process
from bench.measures import count_one
from bench.protocol import FRONTIER

protocol = replace(FRONTIER, steps=2, widths_px=(256,))
rows = {arm.name: arm for arm in frontier_arms(protocol, range(1)) if arm.name in ("w0", "all_steps")}
with in_process() as runner:
    print(json.dumps({name: asdict(count_one(protocol, arm, runner)) for name, arm in rows.items()}))
"""


def test_the_samplers_peak_is_apart_from_that_of_the_decode(host):
    """Which hides what rows differ in. Two steps of five windows, with prompt and without; guided, each twice."""
    env = {**os.environ, "COMFYUI_PATH": str(host.folder), "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run([sys.executable, "-c", CODE], cwd=ROOT, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout.splitlines()[-1])
    plain, guided = rows["w0"], rows["all_steps"]
    assert [row["model"]["forward"] for row in (plain, guided)] == [2 * 5 * 2, 2 * 2 * 5 * 2]
    assert guided["decoder"]["backward"] == 2 * 4  # all but the anchor
    assert 0 < plain["sampling_bytes"] < plain["peak_bytes"] / 2
    assert guided["sampling_bytes"] > 2 * plain["sampling_bytes"]
