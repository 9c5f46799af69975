"""The frontier's rows, its table on toy pictures, and what a host has to have for them."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench import frontier
from bench.arms import UNGUIDED, paper_arms, reference_set
from bench.figures import figures
from bench.frontier_arms import EXPLORED, HELD_OUT, MAIN, MODE, TILED_DIFFUSION, frontier_arms
from bench.frontier_tables import Frontier, cost_table, frontier_csv, frontier_table
from bench.generate import generate
from bench.graphs import graph_of
from bench.measures import Taken, taken_by_arm
from bench.meter import Passes
from bench.profiles import write_profile
from bench.protocol import DEMO, FRONTIER, SAVINGS
from bench.score import borders, score_all
from bench.settled import digest_of, settle
from bench.shapes import Measured, measure_shapes, shape_table
from bench.surface import lacking
from bench.wrong_spectra import noise, ramps, upload_pictures
from syncdiffusion_core.views.windows import WindowLayout

SEEDS = 20


@pytest.fixture
def toy(protocol):
    return replace(protocol, widths_px=(64,), references=20)


@pytest.fixture
def rows(toy):
    return {arm.name: arm for arm in frontier_arms(toy, range(HELD_OUT, HELD_OUT + SEEDS))}


def taken(model, decoder, peak):
    return Taken(Passes(model, 0.0), Passes(decoder, decoder), Passes(), peak, "toy")


def graph(arm):
    return graph_of(FRONTIER, arm, 0)


def test_windows_are_the_papers_quarter_apart():
    width = FRONTIER.widths_px[0]
    side, stride = FRONTIER.window_px, FRONTIER.stride_px
    windows = WindowLayout(side, side, stride, stride).resolve((side, width), cell_px=1)
    assert (len(windows.origins), side // stride, FRONTIER.steps, FRONTIER.cfg) == (21, 4, 25, DEMO.cfg)


def test_main_rows_have_all_seeds_and_the_others_the_first_of_them(rows):
    assert {rows[name].seeds for name in MAIN} == {range(200_000, 200_000 + SEEDS)}
    assert {arm.seeds for name, arm in rows.items() if name not in MAIN} == {range(200_000, 200_000 + EXPLORED)}
    assert not set(reference_set(FRONTIER).seeds) & set(range(200_000, 200_064))


def test_names_are_the_rows_own():
    names = [arm.name for arm in frontier_arms(FRONTIER, range(64))]
    assert len(set(names)) == len(names)
    assert {*MAIN, TILED_DIFFUSION} < set(names)


def test_a_saving_alone_differs_from_the_reference_in_that_widget(rows):
    reference, rolled = graph(rows[MODE]), graph(rows["rolled"])
    assert reference["guidance"]["inputs"]["weight"] == 10
    assert rolled["savings"]["inputs"].pop("grid") == "rolled"
    nothing = {name: value for name, value in SAVINGS.items() if name != "grid"}
    assert rolled.pop("savings")["inputs"] == nothing
    assert rolled["guidance"]["inputs"].pop("savings") == ["savings", 0]
    assert rolled == reference


def test_a_patch_stands_before_the_sampler(rows):
    [windowed] = (graph(arm) for arm in frontier_arms(FRONTIER, range(1)) if arm.name == "context_windows")
    merged = graph(rows["mad"])
    assert merged["patch_0"]["inputs"]["model"] == ["model", 0]
    assert merged["sampler"]["inputs"]["model"] == ["patch_0", 0]
    assert windowed["sampler"]["class_type"] == "KSampler"
    names = ("dim", "context_length", "context_overlap")
    assert [windowed["patch_0"]["inputs"][name] for name in names] == [3, 16, 12]
    two = replace(rows["mad"], patches=(*rows["mad"].patches, ("Other", {"a": 1})))
    assert graph(two)["patch_1"] == {"class_type": "Other", "inputs": {"model": ["patch_0", 0], "a": 1}}
    assert graph(two)["sampler"]["inputs"]["model"] == ["patch_1", 0]


def test_a_wrong_spectrum_is_measured_from_pictures(rows, runner):
    wrong = graph(rows["spectrum_noise"])
    assert wrong["spectrum"]["inputs"]["images"] == ["pictures", 0]
    assert wrong["guidance"]["inputs"]["spectrum"] == ["spectrum", 0]
    files = {}
    runner.upload = files.__setitem__
    upload_pictures(runner)
    assert wrong["pictures"]["inputs"]["image"] in files
    rough, smooth = (pixels.astype(float).std(axis=(0, 1)).mean() for pixels in (noise(), ramps()))
    steps = [abs(np.diff(pixels.astype(float), axis=1)).mean() for pixels in (noise(), ramps())]
    assert steps[0] / rough > 20 * steps[1] / smooth


def test_other_strides_have_other_borders(toy, rows):
    assert borders(toy, rows["no_overlap"], 64) == [16, 32, 48]
    assert borders(toy, rows[MODE], 64) == list(range(8, 64, 8))


def test_the_papers_rows_are_the_graphs_of_the_kept_table():
    kept = Path(__file__).parents[2] / "bench" / "results" / "demo" / "rows.json"
    assert {arm.name: digest_of(DEMO, arm) for arm in paper_arms(DEMO)} == json.loads(kept.read_text())


def test_what_a_host_lacks_is_said():
    info = {"required": {"a": ("INT", {}), "b": (["x", "y"],)}, "optional": {"c": ("COMBO", {"options": ["z"]})}}
    nodes = {"Node": info}

    def asked(**inputs):
        return lacking({"n": {"class_type": "Node", "inputs": inputs}}, nodes.get)

    assert asked(a=3, b="x") is None
    assert asked(a=3, b="x", c=["link", 0]) is None
    assert asked(a=3) == "Node wants 'b'"
    assert asked(a=3, b="x", d=1) == "Node has no input 'd'"
    assert asked(a=3, b="z") == "Node has no b 'z'"
    assert asked(a=3, b="y", c="x") == "Node has no c 'x'"
    assert lacking({"n": {"class_type": "Other", "inputs": {}}}, nodes.get) == "no node Other"


def test_a_table_of_toys(tmp_path, toy, rows, runner, judges):
    arms = [rows[name] for name in (UNGUIDED, MODE, "all_steps", "no_overlap")]
    settle(toy, arms, tmp_path)
    generate(toy, [reference_set(toy), *arms], tmp_path, [runner])
    scores, problems = score_all(toy, arms, tmp_path, judges)
    assert not problems
    seconds = {UNGUIDED: 2.0, MODE: 8.0, "all_steps": 16.0}
    counts = {UNGUIDED: taken(100, 2, 2**20), MODE: taken(200, 20, 2**22)}
    table = Frontier(figures(toy, arms, scores, True, against=MODE), seconds, counts)
    text = frontier.write_results(toy, arms, table, tmp_path, "toy score")
    titles = [line.split("|")[1].strip() for line in frontier_table(table).splitlines()[2:]]
    assert titles == [arm.title for arm in arms]
    base, mode, same, other = (line.split("|") for line in frontier_table(table).splitlines()[2:])
    assert [cell.strip() for cell in base[2:8]] == ["20", "1.00", "0.25", "0.50", "0.10", "0.25"]
    assert [cell.strip() for cell in mode[3:12]] == ["4.00", *["1.00"] * 4, "–", *["1.00"] * 3]
    assert [cell.strip() for cell in same[3:8]] == ["8.00", "2.00", "–", "–", "–"]
    assert mode[-5].strip() in ("100% (100% to 100%)", "–")
    assert table.share(table.row("all_steps"), "Intra-LPIPS").value == pytest.approx(1)  # toys see the weight alone
    assert table.share(table.row("no_overlap"), "Intra-LPIPS").value == pytest.approx(0)
    assert "| 2.00 | 100 | 0 | 2 | 2 | 0 | 0 | 1 | 1.00 | 1.00 | 1.00 |" in cost_table(table)
    assert "against the reference mode" in text
    for name in ("table.md", "figures.csv", "seeds.json", "frontier.png", "contact_sheet.jpg"):
        assert (tmp_path / name).stat().st_size > 0, name
    records = {record["arm"]: record for record in csv.DictReader(frontier_csv(table).splitlines())}
    assert float(records[MODE]["time_over_multidiffusion"]) == 4
    assert float(records[MODE]["Intra-LPIPS kept at least"]) == 1


def test_counts_of_other_graphs_are_dropped(tmp_path, toy, rows):
    row = {"arm": MODE, "graph": digest_of(toy, rows[MODE])}
    counts = {"model": {"forward": 3.0, "backward": 1.0}, "decoder": {}, "light": {"backward": 2.0}}
    lines = [{**row, **counts, "peak_bytes": 5, "how": "toy"}, {"arm": UNGUIDED, "graph": "another", **counts}]
    (tmp_path / "measures.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = taken_by_arm(toy, list(rows.values()), tmp_path)
    assert found == {MODE: Taken(Passes(3.0, 1.0), Passes(), Passes(0.0, 2.0), 5, "toy")}
    assert found[MODE].model.total == 4


def test_what_is_made_again_is_dropped_everywhere(tmp_path, toy, rows, runner):
    arms = [rows[UNGUIDED], rows[MODE]]
    generate(toy, arms, tmp_path, [runner])
    for name in ("measures.jsonl", "timing.jsonl"):
        (tmp_path / name).write_text("".join(json.dumps({"arm": arm.name}) + "\n" for arm in arms))
    frontier.forget([rows[MODE]], tmp_path)
    assert [path.name for path in (tmp_path / "pictures").iterdir()] == [UNGUIDED]
    for name in ("measures.jsonl", "timing.jsonl"):
        assert json.loads((tmp_path / name).read_text()) == {"arm": UNGUIDED}


def test_a_profile_is_kept_as_text(tmp_path, toy, rows, runner):
    text = write_profile(toy, rows[MODE], tmp_path, runner)
    assert (tmp_path / f"profile_{MODE}.txt").read_text() == text
    assert text.startswith("reference, 50 steps, 64x16 px")


def test_an_unknown_row_is_refused(rows):
    with pytest.raises(ValueError, match="no row is called nobody"):
        frontier.chosen(list(rows.values()), ["nobody"])


def test_shapes_need_cuda(tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert "no CUDA here" in measure_shapes(tmp_path, [])
    with pytest.raises(ValueError, match="there is no sd9"):
        measure_shapes(tmp_path, ["sd9"])


def test_a_table_of_shapes():
    rows = [
        Measured("sd15", "512x3072", UNGUIDED, 0.5, 2**31),
        Measured("sd15", "512x3072", MODE, 2.0, 2**32, held_bytes=2**31, estimate_bytes=2**30),
        Measured("sd15", "512x3072", "fast", float("nan"), 0, failed="out of memory"),
    ]
    lines = shape_table(rows).splitlines()
    assert lines[2] == "| SD 1.5 | 512x3072 | w0 | 0.500 | 1.00 | 0.25 | 2.00 | 0.00 | – |"
    assert lines[3] == "| SD 1.5 | 512x3072 | reference_mode | 2.000 | 4.00 | 1.00 | 4.00 | 2.00 | 0.50 |"
    assert lines[4] == "| SD 1.5 | 512x3072 | fast | out of memory | – | – | – | – | – |"
