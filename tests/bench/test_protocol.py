"""The settings of a table, its rows and the graphs they become."""

from dataclasses import replace

import pytest

from bench.arms import paper_arms, reference_set
from bench.graphs import graph_of
from bench.paper_table import chosen_arms, parse, protocol_of
from bench.protocol import DEMO, PAPER_PROMPTS, Protocol, load_protocol, save_protocol
from bench.settled import settle

PAPER = Protocol("sd2.safetensors")


def by_name(protocol):
    return {arm.name: arm for arm in paper_arms(protocol)}


def test_the_papers_rows_in_the_papers_order():
    assert list(by_name(PAPER)) == [
        *("sd", "bld", "w0", "w5", "w10", "w15", "w20"),
        *("w0_2048", "w20_2048", "w0_1024", "w20_1024", "eq13", "style", "f5", "f10"),
    ]


def test_where_the_rows_over_w_guide_few_steps_all_steps_are_a_row_of_their_own():
    assert "f50" in by_name(DEMO)
    assert by_name(DEMO)["f50"].guidance == {"weight": 20.0, "end_percent": 1.0, "every_n": 1}


def test_a_graph_is_the_arms():
    arms = by_name(PAPER)
    graphs = {name: graph_of(PAPER, arm, seed=8) for name, arm in arms.items()}
    for name, graph in graphs.items():
        assert graph["prompt"]["inputs"]["text"] == PAPER_PROMPTS[2]
        assert graph["sampler"]["inputs"]["seed"] == 8
        assert graph["canvas"]["inputs"]["width"] == arms[name].width_px
        assert ("guidance" in graph) == ("guidance" in graph["sampler"]["inputs"]) == (arms[name].guidance is not None)
    assert graphs["sd"]["canvas"]["inputs"] == {"width": 512, "height": 512, "batch_size": 1}
    assert graphs["bld"]["sampler"]["inputs"]["algorithm"].startswith("sequential")
    assert graphs["w15"]["guidance"]["inputs"]["weight"] == 15
    assert graphs["f5"]["guidance"]["inputs"]["every_n"] == 10
    assert graphs["eq13"]["guidance"]["inputs"]["gradient"] == "noisy latent (Eq. 13)"
    assert graphs["style"]["perceptual"]["inputs"]["perceptual_name"] == PAPER.style
    assert graphs["w20"]["guidance"]["inputs"]["max_move"] == 0


def test_references_share_no_seed_with_a_row():
    assert not set(reference_set(PAPER).seeds) & set(paper_arms(PAPER)[0].seeds)


def test_settings_come_back_from_their_file(tmp_path):
    save_protocol(PAPER, tmp_path / "protocol.json")
    assert load_protocol(tmp_path / "protocol.json") == PAPER


def test_a_folder_takes_more_panoramas_but_no_other_settings(tmp_path):
    settle(DEMO, paper_arms(DEMO)[:2], tmp_path)
    settle(replace(DEMO, panoramas=100), paper_arms(replace(DEMO, panoramas=100))[:2], tmp_path)
    with pytest.raises(ValueError, match=r"other settings \(steps, cfg differ\)"):
        settle(replace(DEMO, steps=20, cfg=3.0), paper_arms(replace(DEMO, steps=20, cfg=3.0))[:2], tmp_path)


def test_a_row_that_is_made_in_another_way_now_is_refused(tmp_path):
    arm = by_name(DEMO)["w10"]
    settle(DEMO, [arm], tmp_path)
    other = replace(arm, guidance={"weight": 11.0})
    settle(DEMO, [other], tmp_path)  # nothing was made yet
    (tmp_path / "pictures" / "w10").mkdir(parents=True)
    settle(DEMO, [other, by_name(DEMO)["w5"]], tmp_path)
    with pytest.raises(ValueError, match="the graphs of w10 are not those"):
        settle(DEMO, [arm], tmp_path)


@pytest.mark.parametrize("text", ["", "[1]", "{", '{"stepps": 3}', '{"checkpoint": null, "prompts": []}'])
def test_what_is_no_protocol_is_named(tmp_path, text):
    (tmp_path / "protocol.json").write_text(text)
    with pytest.raises(ValueError, match=r"protocol\.json: not the settings|prompts: at least one"):
        settle(DEMO, paper_arms(DEMO)[:2], tmp_path)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"weights": (0.0, 20.0)}, "weights: above 0 and each once"),  # its folder would be MultiDiffusion's
        ({"widths_px": (3072, 1024, 1024)}, "widths_px: above 0 and each once"),
        ({"guidance": {"end_percnt": 0.2}}, "no widget is called end_percnt; there are end_percent"),
    ],
)
def test_settings_whose_rows_would_not_be_what_they_say(wrong, said):
    with pytest.raises(ValueError, match=said):
        replace(PAPER, **wrong)


def test_guided_steps_are_a_row_only_where_they_are_evenly_spread():
    assert {"f5", "f10"} & by_name(replace(PAPER, steps=25)).keys() == {"f5"}
    assert not {"f5", "f10"} & by_name(replace(PAPER, steps=4)).keys()


def test_a_kill_while_settings_are_kept_leaves_those_before(tmp_path, monkeypatch):
    settle(DEMO, paper_arms(DEMO)[:2], tmp_path)
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        settle(replace(DEMO, panoramas=100), paper_arms(replace(DEMO, panoramas=100))[:2], tmp_path)
    assert load_protocol(tmp_path / "protocol.json") == DEMO


@pytest.mark.parametrize("wrong", [{"prompts": ("a", " ")}, {"widths_px": (256,)}, {"widths_px": ()}, {"panoramas": 0}])
def test_settings_that_make_no_table(wrong):
    with pytest.raises(ValueError, match="at least"):
        replace(PAPER, **wrong)


def test_the_command_line_sets_any_setting(tmp_path):
    (tmp_path / "prompts.txt").write_text("a lake\n\na hill \n", encoding="utf-8")
    words = [
        "--checkpoint",
        "x.safetensors",
        "--out",
        "o",
        "--prompts",
        str(tmp_path / "prompts.txt"),
        "--panoramas",
        "4",
    ]
    words += ["--set", "steps=20", "widths_px=[2048]", 'guidance={"end_percent": 0.2}', "scheduler=karras"]
    protocol = protocol_of(parse(words))
    assert (protocol.prompts, protocol.panoramas, protocol.steps) == (("a lake", "a hill"), 4, 20)
    assert (protocol.widths_px, protocol.guidance, protocol.scheduler) == ((2048,), {"end_percent": 0.2}, "karras")


def test_prompts_of_a_windows_editor(tmp_path):
    (tmp_path / "prompts.txt").write_bytes(b"\xef\xbb\xbfa lake\r\na hill\r\n")
    words = ["--demo", "--out", "o", "--prompts", str(tmp_path / "prompts.txt")]
    assert protocol_of(parse(words)).prompts == ("a lake", "a hill")


@pytest.mark.parametrize(
    "text", ["steps=few", "widths_px=2048", "prompts=lake", "prompts=[1]", "steps=2.5", "cfg=true"]
)
def test_a_value_that_does_not_fit_its_setting(text):
    with pytest.raises(ValueError, match=r"--set: \w+ is something like"):
        protocol_of(parse(["--demo", "--out", "o", "--set", text]))


def test_a_setting_and_a_row_that_are_none():
    with pytest.raises(ValueError, match="no setting is called 'step'; there are prompts"):
        protocol_of(parse(["--demo", "--out", "o", "--set", "step=3"]))
    with pytest.raises(ValueError, match="no row is called w7; there are sd, bld"):
        chosen_arms(DEMO, ["w0", "w7"])
