"""The table's command in a real ComfyUI: in its own process, against a running server, and on wrong words."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
QUICK = (
    *("--panoramas", "2", "--references", "2", "--arms", "w0", "style"),
    *("--set", "steps=2", "widths_px=[256]", 'prompts=["lake"]'),
)


def table(host_tests, folder, *words, code=0):
    env = {**os.environ, "COMFYUI_PATH": str(host_tests.found.folder), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "bench.paper_table", *words, "--out", str(folder)]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == code, done.stderr
    return done


@pytest.fixture(scope="module")
def made_here(host_tests, tmp_path_factory):
    folder = tmp_path_factory.mktemp("table")
    return folder, table(host_tests, folder, "--demo", *QUICK)


def test_the_demos_table_in_one_process(made_here):
    folder, done = made_here
    rows = json.loads((folder / "figures.json").read_text(encoding="utf-8"))
    assert [(row["arm"], row["count"]) for row in rows] == [("w0", 2), ("style", 2)]
    assert "| w = 0 (MultiDiffusion) | 2 |" in done.stdout
    assert (folder / "contact_sheet.jpg").exists()
    assert len(list((folder / "pictures").rglob("*.png"))) == 6
    with open(folder / "pictures" / "style" / "0.png", "rb") as file:
        assert b"scene style (built in)" in file.read()  # a picture carries its graph


def test_a_running_server_makes_the_same_pictures(host_tests, comfy_server, made_here, tmp_path):
    here, _ = made_here
    table(host_tests, tmp_path, "--demo", *QUICK, "--url", comfy_server.url)
    ours, theirs = (json.loads((folder / "figures.json").read_text(encoding="utf-8")) for folder in (here, tmp_path))
    for one, other in zip(ours, theirs, strict=True):
        for key, values in one["interval"].items():
            assert values == pytest.approx(other["interval"][key], rel=0.05, abs=1e-3), key  # threads differ
    assert not list(comfy_server.output.rglob("*syncdiffusion-bench*"))


def test_other_settings_in_the_same_folder_are_refused(host_tests, made_here):
    done = table(host_tests, made_here[0], "--demo", *QUICK, "--set", "steps=3", "--score-only", code=1)
    assert "holds results of other settings" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_checkpoint_that_is_missing_is_named(host_tests, tmp_path):
    lpips = ROOT / "demo" / "weights" / "scene_perceptual.safetensors"
    words = ("--checkpoint", "none.safetensors", "--score-with", str(lpips), "--arms", "w0", "--panoramas", "1")
    done = table(host_tests, tmp_path, *words, "--references", "1", code=1)
    assert "none.safetensors" in done.stderr
    assert "Traceback" not in done.stderr.splitlines()[-1]
