"""Killed at any moment and started again, a table ends as if nothing had happened."""

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.journal import Journal

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = Path(__file__).with_name("bench_toys.py")
KILLS = 10
STEP_S = 0.03
RESULTS = ("table.md", "figures.json", "protocol.json", "weight.png", "contact_sheet.jpg")


def start(folder: Path) -> subprocess.Popen:
    command, env = [sys.executable, str(PROGRAM), str(folder), str(STEP_S)], {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, env=env, stderr=subprocess.PIPE)


@pytest.mark.skipif(os.name != "posix", reason="kills by signal")
def test_ten_kills_leave_the_table_of_an_undisturbed_run(tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    with start(whole) as run:
        assert run.wait(300) == 0, run.stderr.read().decode()
    moments, progress = random.Random(0), []
    for kill in range(KILLS):
        with start(killed) as run:
            _wait_for_a_picture_or_score(killed, progress[-1] if progress else 0, run)
            time.sleep(moments.uniform(0, 0.3))
            run.kill()  # nothing where it has just finished
        progress.append(_steps(killed))
        if kill % 3 == 0:  # what a kill inside a write would leave
            with (killed / "scores.jsonl").open("ab") as file:
                file.write(b'{"arm": "w0", "seed"')
            (killed / "pictures" / "w0" / "3.png.1.part").write_bytes(b"half")
    assert progress == sorted(progress)
    assert progress[0] < progress[-1]
    with start(killed) as run:
        assert run.wait(300) == 0, run.stderr.read().decode()
    for name in RESULTS:
        assert (killed / name).read_bytes() == (whole / name).read_bytes(), name
    keys = [(row["arm"], row["seed"]) for row in Journal(killed / "scores.jsonl")]
    assert len(keys) == len(set(keys)) == len(list(Journal(whole / "scores.jsonl")))


def _steps(folder: Path) -> int:
    return len(list((folder / "pictures").rglob("*.png"))) + len(list(Journal(folder / "scores.jsonl")))


def _wait_for_a_picture_or_score(folder: Path, before: int, run: subprocess.Popen) -> None:
    deadline = time.monotonic() + 120
    while run.poll() is None and time.monotonic() < deadline:
        if folder.exists() and _steps(folder) > before:
            return
        time.sleep(0.01)
