"""What the measurements' tests share: toys, and a folder full of their pictures."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

FOLDER = str(Path(__file__).resolve().parent)
if FOLDER not in sys.path:
    sys.path.append(FOLDER)

from bench_toys import PROTOCOL, ToyRunner, toy_judges, toy_picture  # noqa: E402

from bench.arms import Arm, paper_arms, reference_set  # noqa: E402
from bench.frontier_arms import HELD_OUT, frontier_arms  # noqa: E402
from bench.journal import write_whole  # noqa: E402
from bench.judges import Judges  # noqa: E402
from bench.protocol import Protocol  # noqa: E402

SEEDS = 20


@pytest.fixture
def protocol() -> Protocol:
    return PROTOCOL


@pytest.fixture
def judges() -> Judges:
    return toy_judges()


@pytest.fixture
def runner() -> ToyRunner:
    return ToyRunner()


@pytest.fixture
def arms(protocol: Protocol) -> list[Arm]:
    """The reference set and three rows."""
    rows = {arm.name: arm for arm in paper_arms(protocol)}
    return [reference_set(protocol), rows["sd"], rows["w0"], rows["w20"]]


@pytest.fixture
def folder(tmp_path: Path, arms: list[Arm], protocol: Protocol) -> Path:
    """A folder where every picture of the arms is."""
    for arm in arms:
        weight = 0.0 if arm.guidance is None else arm.guidance["weight"]
        for seed in arm.seeds:
            data = toy_picture(arm.width_px, protocol.window_px, seed, weight)
            write_whole(tmp_path / "pictures" / arm.name / f"{seed}.png", data)
    return tmp_path


@pytest.fixture
def toy(protocol: Protocol) -> Protocol:
    """The toys' settings for the frontier."""
    return replace(protocol, widths_px=(64,), references=20)


@pytest.fixture
def rows(toy: Protocol) -> dict[str, Arm]:
    """The frontier's rows by name, the main ones on twenty seeds."""
    return {arm.name: arm for arm in frontier_arms(toy, range(HELD_OUT, HELD_OUT + SEEDS))}
