"""The frontier's command: from the first picture to the last table, and what it forgets and refuses."""

import contextlib
import csv
import json
import time

import pytest

from bench import frontier
from bench.arms import UNGUIDED
from bench.frontier_arms import BALANCED, MAIN, MODE
from bench.generate import generate
from bench.journal import Journal
from bench.profiles import write_profile
from bench.settled import settle_seeds


def test_only_what_a_row_is_of_is_forgotten(tmp_path, toy, rows, runner):
    arms = [rows[UNGUIDED], rows[MODE]]
    generate(toy, arms, tmp_path, [runner])
    for name in frontier.JOURNALS:
        (tmp_path / name).write_text("".join(json.dumps({"arm": arm.name}) + "\n" for arm in arms))
    said = frontier.forget([rows[MODE], rows["rolled"]], tmp_path)
    assert [path.name for path in (tmp_path / "pictures").iterdir()] == [UNGUIDED]
    for name in frontier.JOURNALS:
        assert json.loads((tmp_path / name).read_text()) == {"arm": UNGUIDED}
    assert said.splitlines() == [
        "reference_mode: 1 of timing.jsonl, 1 of measures.jsonl, 1 of scores.jsonl, 20 pictures",
        "rolled: nothing was kept",
    ]


def test_a_kill_while_a_row_is_forgotten_leaves_no_figure_without_its_pictures(
    tmp_path, toy, rows, runner, monkeypatch
):
    generate(toy, [rows[MODE]], tmp_path, [runner])
    for name in frontier.JOURNALS:
        (tmp_path / name).write_text(json.dumps({"arm": MODE}) + "\n")
    monkeypatch.setattr("shutil.rmtree", lambda path: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        frontier.forget([rows[MODE]], tmp_path)
    assert [(tmp_path / name).read_text() for name in frontier.JOURNALS] == ["", "", ""]
    assert len(list((tmp_path / "pictures" / MODE).iterdir())) == 20


def test_to_forget_is_all_that_the_command_then_does(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(frontier, "run", lambda options: pytest.fail("it ran"))
    frontier.main(["--out", str(tmp_path), "--forget", "fast", "balanced"])
    assert capsys.readouterr().out == "balanced: nothing was kept\nfast: nothing was kept\n"
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_of_the_seeds_that_it_was_begun_with(tmp_path):
    settle_seeds(200_000, tmp_path)
    settle_seeds(200_000, tmp_path)
    with pytest.raises(ValueError, match="holds results of the seeds from 200000, got 100100: choose another --out"):
        settle_seeds(100_100, tmp_path)


@pytest.fixture
def commanded(toy, runner, judges, monkeypatch):
    """commanded(*words): the command on toys, what it prints as tables."""
    make = runner.run
    runner.run = lambda *given: time.sleep(0.002) or make(*given)  # times are kept to the millisecond
    runner.upload, runner.kind_of, runner.declared = (lambda *_: None for _ in range(3))
    monkeypatch.setattr(frontier, "FRONTIER", toy)
    monkeypatch.setattr(frontier, "in_process", lambda: contextlib.nullcontext(runner))
    monkeypatch.setattr(frontier, "demo_judges", lambda: judges)
    monkeypatch.setattr(frontier, "lacking", lambda graph, declared: None)
    return lambda *words: frontier.run(frontier.parse(words))


def test_the_command_from_the_first_picture_to_the_last_table(tmp_path, commanded, capsys):
    words = ["--out", str(tmp_path), "--seeds", "4", "--references", "20", "--only", *MAIN]
    text = commanded(*words)
    assert "no times, so no picture of them: run with --time N" in capsys.readouterr().err
    assert not (tmp_path / "frontier.png").exists()
    assert text.startswith("## Against the reference mode\n")
    commanded(*words, "--time", "2")
    assert "no times" not in capsys.readouterr().err
    assert (tmp_path / "frontier.png").stat().st_size > 1000
    assert [row["arm"] for row in Journal(tmp_path / "timing.jsonl")] == [*MAIN, *reversed(MAIN)]
    assert [row["arm"] for row in Journal(tmp_path / "measures.jsonl")] == list(MAIN)
    records = {record["arm"]: record for record in csv.DictReader((tmp_path / "figures.csv").open())}
    differences = {arm: record["Intra-LPIPS - reference"] for arm, record in records.items()}
    assert (differences[MODE], float(differences[BALANCED])) == ("", 0)  # toys see the weight alone
    assert float(differences[UNGUIDED]) > 0
    with pytest.raises(ValueError, match="of the seeds from 200000, got 100100"):
        commanded(*words, "--first-seed", "100100")


def test_a_profile_is_kept_as_text(tmp_path, toy, rows, runner):
    text = write_profile(toy, rows[MODE], tmp_path, runner)
    assert (tmp_path / f"profile_{MODE}.txt").read_text() == text
    assert text.startswith("reference, image prior, 50 steps, 64x16 px")


def test_an_unknown_row_is_refused(rows):
    with pytest.raises(ValueError, match="no row is called nobody"):
        frontier.chosen(list(rows.values()), ["nobody"])
