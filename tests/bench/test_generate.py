"""Making what is missing, and files that survive a kill."""

import json

import pytest

from bench.generate import generate, missing_jobs
from bench.journal import Journal, write_whole
from bench.pictures import is_whole, picture


def test_makes_what_is_missing_once(tmp_path, arms, protocol, runner):
    generate(protocol, arms, tmp_path, [runner])
    assert len(runner.made) == sum(len(arm.seeds) for arm in arms)
    assert all(is_whole(picture(tmp_path, arm, seed)) for arm in arms for seed in arm.seeds)
    generate(protocol, arms, tmp_path, [runner])
    assert len(runner.made) == sum(len(arm.seeds) for arm in arms)
    assert len(list(Journal(tmp_path / "runs.jsonl"))) == len(runner.made)


def test_two_runners_share_the_work(tmp_path, arms, protocol, runner):
    other = type(runner)()
    generate(protocol, arms, tmp_path, [runner, other])
    assert len(runner.made) + len(other.made) == sum(len(arm.seeds) for arm in arms)
    assert missing_jobs(arms, tmp_path) == []


def test_rows_grow_together(tmp_path, arms):
    done = [seed / len(arm.seeds) for arm, seed in missing_jobs(arms[1:], tmp_path)]
    assert done == sorted(done)


@pytest.mark.parametrize("damage", [b"", b"no picture", "cut"])
def test_a_damaged_picture_is_named_and_made_again(folder, arms, protocol, runner, capsys, damage):
    path = picture(folder, arms[2], 3)
    path.write_bytes(path.read_bytes()[:-40] if damage == "cut" else damage)
    generate(protocol, arms, folder, [runner])
    assert runner.made == [(64, 3)]
    assert is_whole(path)
    assert str(path) in capsys.readouterr().out


def test_a_failure_names_the_panorama_and_keeps_the_rest(tmp_path, arms, protocol, runner):
    run = runner.run

    def fail_once(graph):
        if len(runner.made) == 5:
            raise RuntimeError("CUDA out of memory")
        return run(graph)

    runner.run = fail_once
    with pytest.raises(RuntimeError, match=r"\w+, '\w+', seed \d+: CUDA out of memory"):
        generate(protocol, arms, tmp_path, [runner])
    assert len(list((tmp_path / "pictures").rglob("*.png"))) == 5


def test_a_journal_drops_a_torn_line_and_names_a_damaged_one(tmp_path):
    path = tmp_path / "rows.jsonl"
    journal = Journal(path)
    for k in range(3):
        journal.append({"row": k, "word": "Ümlaut"})
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + b"\x00garbage\n" + lines[2] + lines[0][:9])
    journal = Journal(path)
    assert [row["row"] for row in journal] == [0, 2]
    assert journal.damaged == [2]
    journal.append({"row": 4})
    assert [row["row"] for row in Journal(path)] == [0, 2, 4]


def test_a_reader_leaves_a_line_that_another_process_is_at(tmp_path):
    path = tmp_path / "rows.jsonl"
    Journal(path).append({"row": 0})
    with path.open("ab") as writer:
        writer.write(b'{"row": ')
        writer.flush()
        assert list(Journal(path)) == [{"row": 0}]
        writer.write(b"1}\n")
    assert list(Journal(path)) == [{"row": 0}, {"row": 1}]


def test_a_reader_makes_no_folder(tmp_path):
    assert list(Journal(tmp_path / "none" / "rows.jsonl")) == []
    assert not (tmp_path / "none").exists()


def test_rows_taken_out_of_a_journal(tmp_path):
    journal = Journal(tmp_path / "rows.jsonl")
    for k in range(4):
        journal.append({"row": k, "word": "Ümlaut"})
    assert journal.drop(lambda row: row["row"] % 2) == 2
    assert journal.drop(lambda row: row["row"] == 7) == 0
    journal.append({"row": 4})
    assert [row["row"] for row in Journal(tmp_path / "rows.jsonl")] == [0, 2, 4]


@pytest.mark.parametrize("length", range(1, 40, 4))
def test_a_journal_cut_anywhere_holds_whole_rows(tmp_path, length):
    rows = [{"row": k} for k in range(4)]
    text = "".join(json.dumps(row) + "\n" for row in rows).encode()
    (tmp_path / "rows.jsonl").write_bytes(text[:length])
    assert list(Journal(tmp_path / "rows.jsonl")) == rows[: text[:length].count(b"\n")]


def test_a_file_is_whole_or_not_there(tmp_path):
    write_whole(tmp_path / "a" / "b.png", b"one")
    write_whole(tmp_path / "a" / "b.png", b"two")
    assert [(path.name, path.read_bytes()) for path in (tmp_path / "a").iterdir()] == [("b.png", b"two")]


def test_two_processes_write_beside_each_other(tmp_path, monkeypatch):
    parts = []
    monkeypatch.setattr("os.replace", lambda part, path: parts.append(part.name))
    for process in (11, 12):
        monkeypatch.setattr("os.getpid", lambda process=process: process)
        write_whole(tmp_path / "b.png", b"one")
    assert parts == ["b.png.11.part", "b.png.12.part"]
