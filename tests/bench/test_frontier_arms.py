"""The frontier's rows and the graphs they become, and what a host has to have for them."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from bench.arms import paper_arms, reference_set
from bench.frontier_arms import EXPLORED, MAIN, MODE, TILED_DIFFUSION, frontier_arms
from bench.graphs import graph_of
from bench.protocol import DEMO, FRONTIER, SAVINGS
from bench.score import borders
from bench.settled import digest_of
from bench.surface import lacking
from bench.wrong_spectra import noise, ramps, upload_pictures
from syncdiffusion_core.canvases.window_layout import WindowLayout
from syncdiffusion_core.views.schedule import CellGrid


def graph(arm):
    return graph_of(FRONTIER, arm, 0)


def test_windows_are_the_papers_quarter_apart():
    width = FRONTIER.widths_px[0]
    side, stride = FRONTIER.window_px, FRONTIER.stride_px
    windows = WindowLayout(side, side, stride, stride).tiled((side, width), CellGrid(1))
    assert (len(windows.origins), side // stride, FRONTIER.steps, FRONTIER.cfg) == (21, 4, 25, DEMO.cfg)


def test_main_rows_have_all_seeds_and_the_others_the_first_of_them(rows):
    assert {rows[name].seeds for name in MAIN} == {range(200_000, 200_000 + 20)}
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


def test_what_the_rows_of_the_claims_are(rows):
    """Word for word: a preset that is another, or a saving beside it, would keep every table plausible."""
    paper = {"perceptual_name": "scene (built in)"}
    guided = {
        "weight": 10.0,
        "end_percent": 0.2,
        "anchor": "centre window",
        "anchor_index": 0,
        "gradient": "image prior (Wiener)",
        "decay": 0.95,
        "start_percent": 0.0,
        "every_n": 1,
        "schedule": "percent",
        "max_move": 0.1,
        "vae": ["model", 2],
        "perceptual_model": ["perceptual", 0],
    }
    found = {name: graph(rows[name]) for name in MAIN}
    assert list(found) == ["w0", "reference_mode", "balanced", "fast"]
    assert "guidance" not in found["w0"]
    assert found["reference_mode"]["guidance"]["inputs"] == guided
    assert found["balanced"]["guidance"]["inputs"] == {**guided, "preset": "balanced"}
    assert found["fast"]["guidance"]["inputs"] == {**guided, "preset": "fast"}
    for each in (found["reference_mode"], found["balanced"], found["fast"]):
        assert each.pop("perceptual")["inputs"] == paper
        assert each.pop("guidance")["class_type"] == "SyncDiffusionGuidance"
        assert each["sampler"]["inputs"].pop("guidance") == ["guidance", 0]
        assert each == found["w0"]
    windows = found["w0"]["windows"]["inputs"]
    assert [windows[name] for name in ("window_width", "stride_x", "blend")] == [128, 32, "feathered"]
    sampler = found["w0"]["sampler"]["inputs"]
    wanted = {"steps": 25, "cfg": 7.5, "sampler_name": "ddim", "scheduler": "ddim_uniform", "algorithm": "automatic"}
    assert {name: sampler[name] for name in wanted} == wanted
    assert found["w0"]["model"]["class_type"] == "SyncDiffusionLoadDemoModel"


SAVED_BY = {
    "part": {"part": 0.4},
    "span": {"span": 2.0},
    "dose": {"span": 2.0, "strength": 1.5},
    "second_pass": {"second_pass": False},
    "rotating": {"windows_guided": "rotating, none overlapping"},
    "light": {"decoder": "light decoder"},
    "pooled": {"decoder": "pooled latent"},
    "shrink_2": {"shrink": 2},
    "shrink_4": {"shrink": 4},
    "bfloat16": {"precision": "bfloat16"},
    "float16": {"precision": "float16"},
    "half": {"grid": "half overlapping"},
    "rolled": {"grid": "rolled"},
    "alternating": {"grid": "alternating"},
    "rolled_model": {"grid": "rolled"},
    "rolled_forward": {"grid": "rolled"},
    "rotating_reused": {"windows_guided": "rotating, none overlapping", "second_pass": False},
    "rolled_reused": {"grid": "rolled", "second_pass": False},
    "rolled_part": {"grid": "rolled", "second_pass": False, "part": 0.4},
    "rolled_light": {"grid": "rolled", "second_pass": False, "decoder": "light decoder"},
    "rolled_all": {"grid": "rolled", "second_pass": False, "decoder": "light decoder", "part": 0.4},
    "rolled_span": {"grid": "rolled", "second_pass": False, "decoder": "light decoder", "span": 2.0},
    "rolled_unguided": {"grid": "rolled"},
}

GUIDED_BY = {
    "official": {"weight": 20.0, "end_percent": 1.0, "gradient": "through the model", "max_move": 0.0},
    "straight": {"weight": 20.0, "end_percent": 1.0, "gradient": "through the model", "max_move": 0.0},
    "all_steps": {"end_percent": 1.0},
    "through_model": {"gradient": "through the model"},
    "forward_only": {"gradient": "forward only"},
    "decoder_only": {"gradient": "decoder only"},
    "spectrum_online": {"prior": "from this picture (online)"},
    "fewer_steps": {"end_percent": 0.1},
    "mad_guided": {"end_percent": 0.1},
    "rolled_model": {"gradient": "through the model"},
    "rolled_forward": {"gradient": "forward only"},
    "rolled_unguided": {"weight": 0.0},
    "balanced": {"preset": "balanced"},
    "fast": {"preset": "fast"},
}


def test_what_each_row_saves_and_guides_by(rows):
    assert {name: arm.savings for name, arm in rows.items() if arm.savings is not None} == SAVED_BY
    assert {name: arm.guidance for name, arm in rows.items() if arm.guidance} == GUIDED_BY


def test_titles_say_what_a_row_is_by_themselves(rows):
    titles = [arm.title for arm in rows.values()]
    assert len(set(titles)) == len(titles)
    assert not [title for title in titles if title.startswith("the same")]
    assert rows[MODE].title == "reference, image prior"  # the shipped preset's gradient goes through the model


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
