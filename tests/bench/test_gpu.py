"""The GPU check without a GPU: its time, its rows and its report, on runs that never were."""

import contextlib
import json
import sys
import time
from types import SimpleNamespace

import pytest
import torch

from bench import gpu, gpu_sections, gpu_states
from bench.arms import UNGUIDED
from bench.frontier_arms import BALANCED, MODE
from bench.gpu_runs import STRAIGHT, TITLES, Case, Run, apart
from bench.gpu_sections import FULL, SHARES, SMALL, sections
from bench.gpu_states import crowded, limited, operation, undetermined
from bench.gpu_table import report, table
from bench.gpu_time import Clock, Result, Section, alarm

GIB = 2**30
CASE = Case("sd15", "float16", (3072, 512))
LINE = "8 windows a call, 2 a pass back through the model: 1,024 MB beside the models' weights"


class Time:
    """A clock that stands still unless told."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now

    def takes(self, seconds, value=None):
        """A job of that duration."""

        def job():
            self.now += seconds
            return {"took": seconds} if value is None else value

        return job


class FakeRuns:
    """Canned runs; ``tight`` ones, in which memory is short, are of another canvas and say so."""

    def __init__(self):
        self.asked, self.tight = [], False

    def __call__(self, case, arm, **sampler):
        self.asked.append((arm, sampler, self.tight))
        guided = {UNGUIDED: 0, BALANCED: 2}.get(arm, 1)
        said = (LINE, *(["out of memory: continuing with batches of 2 windows"] * self.tight), "step 1: sigma 9")
        latent = torch.full((1, 4, 8, 8), 2.0 if self.tight or sampler.get("windows_per_batch") == 1 else 1.0)
        return Run(0.2, (3.0, 1.0, 1.5, 0.5, 1.0), guided, 5 * GIB, 6 * GIB, 3 * GIB, GIB, said, latent)

    def warm(self, case, arm, **sampler):
        return self(case, arm, **sampler), self(case, arm, **sampler)


@pytest.fixture
def runs():
    return FakeRuns()


@pytest.fixture
def clock():
    return Time()


def section(jobs, share=1.0, **settings):
    return Section("title", "note", share, lambda: iter(jobs), **settings)


def run(clock, seconds, *every, **settings):
    return Clock(seconds, clock).run(every, lambda: None, lambda results: None, **settings)


def test_each_section_has_its_share_of_what_is_left(clock):
    """60 s by 2, 1 and 1: the first leaves 10 of its 30, so the second has 20 of the 40 left, and uses them up."""
    first, second, third = run(
        clock,
        60,
        section([("a", clock.takes(20))], 2),
        section([("b", clock.takes(15)), ("c", clock.takes(10)), ("d", clock.takes(1))]),
        section([("e", clock.takes(14)), ("f", clock.takes(5)), ("g", clock.takes(5))]),
    )
    assert (first.seconds, second.seconds, third.seconds) == (20, 25, 19)
    assert second.rows == [
        {"": "b", "took": 15},
        {"": "c", "took": 10},  # it could not be stopped, but what it found is kept
        {"": "d", "failed": "the section's 20 s were used up"},
    ]
    assert [row.get("failed") for row in third.rows] == [None, None, "the section's 15 s were used up"]


def test_what_fails_is_a_row_and_the_others_still_run(clock):
    def fails(error):
        def job():
            raise error

        return job

    [result, after] = run(
        clock,
        60,
        section([("a", fails(RuntimeError("KSampler: CUDA error\nmore")))]),
        section([("b", fails(torch.OutOfMemoryError())), ("c", clock.takes(1))]),
    )
    assert result.rows == [{"": "a", "failed": "KSampler: CUDA error"}]
    assert after.rows == [{"": "b", "failed": "OutOfMemoryError"}, {"": "c", "took": 1}]


def test_a_job_that_is_stopped_says_whose_time_it_was(clock):
    def interrupted():
        clock.now += 31
        raise RuntimeError("SyncDiffusionPanoramaSampler: interrupted")

    [result, _] = run(clock, 60, section([("a", interrupted)]), section([]))
    assert result.rows == [{"": "a", "failed": "the section's 30 s were used up"}]


def test_what_needs_cuda_says_so_without_it(clock):
    [result] = run(clock, 60, section([("a", clock.takes(1))], needs_cuda=True), on_cuda=False)
    assert result.rows == [{"": "–", "failed": "needs CUDA"}]
    [result] = run(clock, 60, section([("a", clock.takes(1))], needs_cuda=True))
    assert result.rows == [{"": "a", "took": 1}]


def test_the_alarm_rings_again_and_again_until_the_block_ends():
    rings = []
    with alarm(0.05, lambda: rings.append(1)):
        assert not rings
        time.sleep(0.8)
    count = len(rings)
    assert count >= 2
    time.sleep(0.3)
    assert len(rings) == count
    with alarm(60, lambda: rings.append(1)):
        pass
    assert len(rings) == count


def test_a_kill_loses_one_section(clock, tmp_path):
    """The report is there after each section, as Markdown and JSON."""

    def killed():
        raise KeyboardInterrupt

    write = gpu.writer(tmp_path, "NVIDIA_X", {"device": "NVIDIA X"})
    every = [section([("a", clock.takes(1))]), section([("b", killed)])]
    with pytest.raises(KeyboardInterrupt):
        Clock(60, clock).run(every, lambda: None, write)
    assert "| a | 1 |" in (tmp_path / "NVIDIA_X.md").read_text()
    kept = json.loads((tmp_path / "NVIDIA_X.json").read_text())
    assert kept["machine"] == {"device": "NVIDIA X"}
    assert [each["rows"] for each in kept["sections"]] == [[{"": "a", "took": 1}]]


def test_a_report_has_the_columns_of_all_its_rows_and_failures_last():
    rows = [{"": "a", "failed": "x | y\nz"}, {"": "b", "s": 0.12345, "n": 3, "t": None}]
    assert table(rows).splitlines() == [
        "|  | s | n | t | failed |",
        "|---|---|---|---|---|",
        "| a | – | – | – | x / y z |",
        "| b | 0.123 | 3 | – | – |",
    ]
    text = report({"device": "X", "torch": "2"}, [Result("Bits", "Two runs.", rows, 4.4), Result("None", "", [])])
    assert "| X | 2 |" in text
    assert "## Bits\n\nTwo runs. (4 s)\n\n|  | s |" in text


def test_a_run_tells_guided_steps_from_plain_ones(runs):
    plain, reference, balanced = (runs(CASE, arm) for arm in (UNGUIDED, MODE, BALANCED))
    assert (plain.guided_step, plain.plain_step, plain.whole) == (None, 1.0, 50.0)
    assert (reference.guided_step, reference.plain_step, reference.whole) == (3.0, 1.0, 10 * 3.0 + 40 * 1.0)
    assert (balanced.guided_step, balanced.plain_step, balanced.whole) == (2.0, 1.0, 20 * 2.0 + 30 * 1.0)
    every = Run(0.2, (1.0,), 1, 0, 0, 0, None, (), torch.zeros(1))
    assert (every.plain_step, every.whole) == (None, None)


def test_two_canvases_are_compared_to_the_bit():
    one = torch.tensor([1.0, 2.0, 3.0, 4.0])
    assert apart(one, one.clone()) == (0.0, 0.0)
    assert apart(one, one + torch.tensor([0.0, 0.0, 0.0, 0.5])) == (0.5, 0.25)


def test_costs_hold_memory_against_what_was_announced(runs):
    row = gpu_sections.cost(runs, CASE, MODE)
    assert (row["guided step, s"], row["plain step, s"], row["50 steps, s"]) == (3.0, 1.0, 70.0)
    assert (row["peak, GiB"], row["before, GiB"], row["used, GiB"], row["announced / used"]) == (5.0, 3.0, 2.0, 0.5)
    assert (row["largest difference"], row["values changed, %"], row["announced"]) == (0.0, 0.0, LINE)
    assert len(runs.asked) == 2


def test_batches_are_one_window_against_the_packs_choice(runs):
    row = gpu_sections.batches(runs, CASE, MODE)
    assert runs.asked == [(MODE, {}, False), (MODE, {"windows_per_batch": 1}, False)]
    assert row == {"largest difference": 1.0, "values changed, %": 100.0, "of values up to": 1.0}


@pytest.mark.parametrize(("measure", "state", "given"), [("run_out", "limited", 4.0), ("with_others", "crowded", 1.0)])
def test_short_memory_is_half_of_what_a_run_took(measure, state, given, runs, monkeypatch):
    """Taken 2 GiB beside 3: torch may hold 3 + 1, or another program leaves 1."""
    sizes = []

    @contextlib.contextmanager
    def short(size):
        sizes.append(size / GIB)
        runs.tight = True
        yield
        runs.tight = False

    monkeypatch.setattr(gpu_sections, state, short)
    row = getattr(gpu_sections, measure)(runs, CASE, MODE)
    assert sizes == [given]
    assert [tight for *_, tight in runs.asked] == [False, False, True]
    assert row["largest difference"] == 1.0
    assert row["said"] == f"{LINE}; out of memory: continuing with batches of 2 windows"


def test_sections_cover_each_case_and_the_lasting_one_is_last(runs):
    assert len(SHARES) == len(FULL)
    titles = [each.title for each in sections(runs, lambda: None, FULL)]
    assert set(map(str, FULL)) < set(titles)
    assert titles[-1].startswith("Dynamic VRAM")
    assert [name for name, _ in sections(runs, lambda: None, SMALL)[0].jobs()] == list(TITLES.values())
    assert TITLES[STRAIGHT] == "straight-line transcription"


class FakeCuda:
    """What of torch.cuda the states use."""

    def __init__(self, free, total):
        self.free, self.total, self.fractions = free, total, []

    def empty_cache(self):
        pass

    def mem_get_info(self):
        return self.free, self.total

    def set_per_process_memory_fraction(self, fraction):
        self.fractions.append(fraction)


@pytest.mark.parametrize("allocated", [20, 80, 500])
def test_a_limit_is_lifted_even_when_a_run_fails(allocated, monkeypatch):
    cuda = FakeCuda(50, 80)
    monkeypatch.setattr(torch, "cuda", cuda)
    with pytest.raises(RuntimeError), limited(allocated):
        raise RuntimeError
    assert cuda.fractions == [min(1.0, allocated / 80), 1.0]


@pytest.mark.parametrize(("left", "taken"), [(10, 40), (50, 0), (70, 0)])
def test_a_crowd_leaves_what_it_should(left, taken, monkeypatch):
    sizes, empty = [], torch.empty
    monkeypatch.setattr(torch, "cuda", FakeCuda(50, 80))
    monkeypatch.setattr(torch, "empty", lambda size, dtype, device: sizes.append(size) or empty(0))
    with crowded(left):
        assert sizes == [taken]


def test_operations_are_read_off_torchs_warnings():
    """As torch 2.11 words them; and what it says on this machine."""
    told = "adaptive_avg_pool2d_backward_cuda does not have a deterministic implementation, but you set"
    assert operation(told) == "adaptive_avg_pool2d_backward_cuda"
    assert operation("Memory Efficient attention defaults to a non-deterministic algorithm. To").startswith(
        "Memory Eff"
    )
    assert "CuBLAS" in operation("this operation is not deterministic because it uses CuBLAS and you have CUDA >= 10.2")
    assert operation("lr_scheduler is called before optimizer") is None
    with undetermined() as found:
        torch.zeros(3).put_(torch.tensor([0, 0]), torch.ones(2), accumulate=False)
    assert all(isinstance(name, str) for name in found)
    assert found
    assert not torch.are_deterministic_algorithms_enabled()


def test_without_a_gpu_it_says_so_and_writes_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    gpu.main(["--out", str(tmp_path / "gpu")])
    assert capsys.readouterr().out == gpu.NO_GPU + "\n"
    assert not (tmp_path / "gpu").exists()


def test_a_time_that_is_none_is_refused():
    with pytest.raises(SystemExit, match="--minutes: above 0, got 0"):
        gpu.main(["--minutes", "0"])


def test_novram_is_undone_after_a_failure(monkeypatch):
    """By stand-ins of the host's modules."""
    unloaded = []
    management = SimpleNamespace(
        vram_state="normal",
        VRAMState=SimpleNamespace(NO_VRAM="no"),
        unload_all_models=lambda: unloaded.append(management.vram_state),
    )
    monkeypatch.setitem(sys.modules, "comfy", SimpleNamespace(model_management=management))
    monkeypatch.setitem(sys.modules, "comfy.model_management", management)
    seen = []
    with contextlib.suppress(RuntimeError), gpu_states.weights_on_processor():
        seen.append(management.vram_state)
        raise RuntimeError
    assert seen == ["no"]
    assert management.vram_state == "normal"
    assert unloaded == ["normal", "normal"]
