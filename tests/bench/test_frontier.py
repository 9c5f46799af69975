"""The frontier's tables on toy pictures and figures, and what is counted for them."""

import contextlib
import csv
import itertools
import json

import pytest

from bench import frontier
from bench.arms import UNGUIDED, reference_set
from bench.figures import Row, figures
from bench.frontier_arms import MODE
from bench.frontier_tables import Frontier, cost_table, frontier_csv, frontier_table
from bench.generate import generate
from bench.graphs import graph_of
from bench.measures import Taken, count_one, taken_by_arm
from bench.meter import Passes
from bench.score import score_all
from bench.settled import digest_of, settle


def taken(model, decoder, peak):
    return Taken(Passes(model, 0.0), Passes(decoder, decoder), Passes(), peak, 2**23, "toy")


def test_a_table_of_toys(tmp_path, toy, rows, runner, judges):
    arms = [rows[name] for name in (UNGUIDED, MODE, "all_steps", "no_overlap")]
    settle(toy, arms, tmp_path)
    generate(toy, [reference_set(toy), *arms], tmp_path, [runner])
    scores, problems = score_all(toy, arms, tmp_path, judges)
    assert not problems
    seconds = {UNGUIDED: [2.0], MODE: [8.0, 6.0, 9.0], "all_steps": [16.0]}
    counts = {UNGUIDED: taken(100, 2, 2**20), MODE: taken(200, 20, 2**22)}
    table = Frontier(figures(toy, arms, scores, True, against=MODE), seconds, counts)
    text = frontier.write_results(toy, arms, table, tmp_path, "toy score")
    titles = [line.split("|")[1].strip() for line in frontier_table(table).splitlines()[2:]]
    assert titles == [arm.title for arm in arms]
    base, mode, same, other = (line.split("|") for line in frontier_table(table).splitlines()[2:])
    assert [cell.strip() for cell in base[2:8]] == ["20", "1.00", "0.25", "0.50", "0.10", "0.25"]
    assert [cell.strip() for cell in mode[3:12]] == ["4.00", *["1.00"] * 4, "–", *["1.00"] * 3]
    assert [cell.strip() for cell in same[3:8]] == ["8.00", "2.00", "–", "–", "–"]
    assert mode[-6].strip() in ("100% (100% to 100%)", "–")
    assert table.share(table.row("all_steps"), "Intra-LPIPS").value == pytest.approx(1)  # toys see the weight alone
    assert table.share(table.row("no_overlap"), "Intra-LPIPS").value == pytest.approx(0)
    assert "| 2.00 | 100 | 0 | 2 | 2 | 0 | 0 | 1 | 8 | 1.00 | 1.00 | 1.00 |" in cost_table(table)
    assert "| 8.00 (6.00 to 9.00) | 200 | 0 | 20 | 20 | 0 | 0 | 4 | 8 | 2.00 | 10.00 | 4.00 |" in cost_table(table)
    assert "against the reference mode" in text
    for name in ("table.md", "figures.csv", "seeds.json", "frontier.png", "contact_sheet.jpg"):
        assert (tmp_path / name).stat().st_size > 0, name
    records = {record["arm"]: record for record in csv.DictReader(frontier_csv(table).splitlines())}
    assert float(records[MODE]["time_over_multidiffusion"]) == 4
    assert [float(records[MODE][f"seconds{end}"]) for end in ("", " low", " high")] == [8, 6, 9]
    assert [int(records[MODE][f"{part}_bytes"]) for part in ("sampling", "peak")] == [2**22, 2**23]
    assert float(records[MODE]["Intra-LPIPS kept at least"]) == 1


def test_what_few_panoramas_cannot_tell_is_not_shown(rows):
    """KID, GIQA and the intervals of shares; the file of figures keeps all."""
    arms, gains = (UNGUIDED, MODE, "rolled"), {UNGUIDED: 0.0, MODE: 0.5, "rolled": 0.25}
    change = {"kid": (0.001, -0.002, 0.003), "giqa": (-0.01, -0.02, 0.0)}

    def shown(count):
        each = {name: {"agree": dict.fromkeys(range(count), 0.1 + gain)} for name, gain in gains.items()}
        table = Frontier([Row(rows[name], count, change=change, each=each[name]) for name in arms], {}, {})
        head, _, *_, last = (line.split(" | ") for line in frontier_table(table).splitlines())
        names = ("gain kept: label agreement", "KID x 1000, difference", "Mean-GIQA x 1000, difference")
        [record] = [each for each in csv.DictReader(frontier_csv(table).splitlines()) if each["arm"] == "rolled"]
        assert (float(record["kid - reference low"]), float(record["agree kept low"])) == (-0.002, 0.5)
        return [last[head.index(name)] for name in names]

    assert shown(15) == ["50% (–)", "–", "–"]
    assert shown(16) == ["50% (50% to 50%)", "+1 (-2 to +3)", "-10 (-20 to +0)"]


def test_counts_of_other_graphs_are_dropped(tmp_path, toy, rows):
    row = {"arm": MODE, "graph": digest_of(toy, rows[MODE])}
    counts = {"model": {"forward": 3.0, "backward": 1.0}, "decoder": {}, "light": {"backward": 2.0}}
    lines = [{**row, **counts, "sampling_bytes": 4, "peak_bytes": 5, "how": "toy"}]
    lines += [{"arm": UNGUIDED, "graph": "another", **counts}]
    lines += [{"arm": "rolled", "graph": digest_of(toy, rows["rolled"]), **counts, "peak_bytes": 5, "how": "before"}]
    (tmp_path / "measures.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = taken_by_arm(toy, list(rows.values()), tmp_path)
    assert found == {MODE: Taken(Passes(3.0, 1.0), Passes(), Passes(0.0, 2.0), 4, 5, "toy")}
    assert found[MODE].model.total == 4


def test_what_is_counted_is_the_samplers_peak_and_the_whole_runs(toy, rows, runner, monkeypatch):
    """The nodes of a toy start one after the other, a MiB more held at each."""
    peaks = itertools.count(1)
    monkeypatch.setattr("bench.measures.peak_memory", lambda: contextlib.nullcontext(lambda: next(peaks) * 2**20))
    runner.kind_of = None
    found = count_one(toy, rows[UNGUIDED], runner)
    nodes = [*graph_of(toy, rows[UNGUIDED], 0)]
    assert nodes[-3:] == ["sampler", "image", "picture"]
    assert (found.sampling_bytes >> 20, found.peak_bytes >> 20) == (len(nodes) - 1, len(nodes) + 1)
