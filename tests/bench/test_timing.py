"""In which order rows are timed, what warms them up, and whose times count."""

import json

import pytest

from bench.arms import paper_arms
from bench.settled import digest_of
from bench.timing import TIMING_SEED, measure, medians, time_table, timed


class Recorder:
    """Stands for a host that makes nothing."""

    def __init__(self) -> None:
        self.ran: list[tuple[float | None, int, int]] = []

    def run(self, graph: dict) -> bytes:
        sampler = graph["sampler"]["inputs"]
        weight = graph["guidance"]["inputs"]["weight"] if "guidance" in graph else None
        self.ran.append((weight, sampler["steps"], sampler["seed"] - TIMING_SEED))
        return b""


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def rows(protocol):
    """Two of the full width, and a narrow one that is not timed."""
    by_name = {arm.name: arm for arm in paper_arms(protocol)}
    return [by_name["w0"], by_name["w0_32"], by_name["w20"]]


def write(folder, *lines):
    (folder / "timing.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_each_time_follows_two_steps_of_the_same_row_and_every_other_turn_goes_backwards(
    tmp_path, protocol, rows, recorder
):
    measure(protocol, rows, tmp_path, recorder, 3)
    warm, whole = recorder.ran[::2], recorder.ran[1::2]
    assert whole == [
        *((None, 50, 0), (20.0, 50, 0)),
        *((20.0, 50, 1), (None, 50, 1)),
        *((None, 50, 2), (20.0, 50, 2)),
    ]
    assert warm == [(weight, 2, -1) for weight, *_ in whole]


def test_what_was_timed_is_not_timed_again_unless_its_graph_has_changed(tmp_path, protocol, rows, recorder):
    plain, _, guided = rows
    write(
        tmp_path,
        {"arm": "w0", "graph": digest_of(protocol, plain), "repeat": 0, "seconds": 2.0},
        {"arm": "w20", "graph": "another", "repeat": 0, "seconds": 99.0},
        {"arm": "w20", "repeat": 1, "seconds": 10.0},  # of before graphs were kept
    )
    assert timed(protocol, rows, tmp_path) == {"w0": [2.0], "w20": [10.0]}
    measure(protocol, rows, tmp_path, recorder, 2)
    assert recorder.ran[1::2] == [(20.0, 50, 0), (None, 50, 1)]
    assert {name: len(each) for name, each in timed(protocol, rows, tmp_path).items()} == {"w0": 2, "w20": 2}
    measure(protocol, rows, tmp_path, recorder, 2)
    assert len(recorder.ran) == 4


def test_times_are_medians_and_ratios(tmp_path, protocol, rows):
    times = (("w0", 2.0), ("w0", 4.0), ("w0", 30.0), ("w20", 10.0), ("gone", 1.0))
    write(tmp_path, *({"arm": arm, "repeat": k, "seconds": seconds} for k, (arm, seconds) in enumerate(times)))
    assert medians(protocol, rows, tmp_path) == {"w0": 4.0, "w20": 10.0}
    assert "| w = 20 | 10.0 | 2.50 |" in time_table(rows, medians(protocol, rows, tmp_path))
