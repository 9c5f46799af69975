"""View Prompts: lines of text as conditioning that says to which views it belongs."""

import pytest

NODE = "SyncDiffusionViewPrompts"
MARK = "syncdiffusion_views"


@pytest.fixture
def ask(small, run_node):
    """ask(prompts, **inputs) -> (texts that were encoded, marks of what came out)."""

    def run(prompts: str, **inputs) -> tuple[list[str], list]:
        clip = small.Clip()
        (conditioning,) = run_node(NODE, clip=clip, prompts=prompts, **inputs)
        return clip.texts, [options.get(MARK) for _, options in conditioning]

    return run


def test_a_line_a_view_with_the_words_for_all(ask):
    texts, marks = ask("a cat\n\n  a dog \n", before=" an oil painting of ", common="dim light ")
    assert texts == ["an oil painting of a cat, dim light", "an oil painting of a dog, dim light"]
    assert marks == [(0,), (1,)]
    assert ask("a cat")[0] == ["a cat"]


def test_lines_may_name_their_views(ask):
    texts, marks = ask("all views: fog\na cat\nViews 1, 4-6 : a forest\nview 3: a skull\na dog")
    assert texts == ["fog", "a cat", "a forest", "a skull", "a dog"]
    assert marks == [None, (0,), (0, 3, 4, 5), (2,), (1,)]


def test_nothing_behind_the_colon_is_an_empty_prompt(ask):
    assert ask("a cat\nview 2:") == (["a cat", ""], [(0,), (1,)])
    assert ask("view 2:", before="a photo", common="soft")[0] == ["a photo, soft"]


@pytest.mark.parametrize(
    "prompt",
    [
        "(sea:1.2), calm",
        "view 16:9 of a city",
        "a view: the sea",
        "view of the sea: calm",
        "2: a story",
        "0,1: a story",
        "all: nothing",
        "views: many",
        "portrait, view 2: of three",
        "reviews 2: bad",
        "12:30, noon",
    ],
)
def test_other_colons_belong_to_the_prompt(ask, prompt):
    assert ask(f"{prompt}\nsecond") == ([prompt, "second"], [(0,), (1,)])


@pytest.fixture
def rig(run_node):
    """Eight views at the horizon (0 to 7, the first to the front), four above, four below, zenith and nadir."""
    return run_node("SyncDiffusionCameraRig")[0]


def test_with_a_rig_lines_may_name_directions(ask, rig):
    words = "all views: dusk\nup: sky\nDown : grass\nfront, right: a castle\nback: a lake\nleft: a wood\nhorizon: hills"
    texts, marks = ask(words, rig=rig)
    assert texts == ["dusk", "sky", "grass", "a castle", "a lake", "a wood", "hills"]
    assert marks == [None, (8, 9, 10, 11, 16), (12, 13, 14, 15, 17), (0, 1, 2, 7), (3, 4), (5, 6), tuple(range(8))]


def test_with_a_rig_lines_may_name_degrees(ask, rig):
    words = "elevation 60 to 90: zenith\nAzimuth 135 to -135 , elevation -30 to 30: a wall\nazimuth 80 to 100: a door"
    texts, marks = ask(words, rig=rig)
    assert texts == ["zenith", "a wall", "a door"]
    assert marks == [(16,), (3, 4, 5), (2,)]


def test_degrees_that_cannot_be_are_refused(ask, rig):
    with pytest.raises(ValueError, match="'elevation 30 to -30' ends below where it begins"):
        ask("elevation 30 to -30: a", rig=rig)
    with pytest.raises(ValueError, match="'azimuth 1.2.3 to 4' are no degrees"):
        ask("azimuth 1.2.3 to 4: a", rig=rig)
    with pytest.raises(ValueError, match="no view of this rig looks at azimuth 5 to 10; leave the line"):
        ask("azimuth 5 to 10: a", rig=rig)


def test_without_a_rig_directions_are_words(ask):
    assert ask("up: sky\nfront: a house") == (["up: sky", "front: a house"], [(0,), (1,)])


def test_with_a_rig_other_words_stay_words(ask, rig):
    assert ask("upper: sky\nview 2: a\nleft of it: b", rig=rig)[1] == [(0,), (1,), (1,)]


def test_directions_that_no_view_looks_in_are_refused(ask, run_node):
    ring = run_node("SyncDiffusionCameraRig", rig="ring")[0]
    with pytest.raises(ValueError, match="prompts: no view of this rig looks up; leave the line 'up:' out"):
        ask("horizon: a\nup: b", rig=ring)
    with pytest.raises(ValueError, match="rig: these are no cameras"):
        ask("a", rig=3)


@pytest.mark.parametrize("line", ["view 0: a", "views 4-2: a", "views 1,,2: a", "views 1 2: a", "view 99999: a"])
def test_views_that_cannot_be_are_refused(ask, pack, line):
    words = "prompts: views are counted from 1"
    with pytest.raises(ValueError, match=words):
        ask(line)
    assert words in pack[NODE].validate_inputs(prompts=line)


def test_no_text_is_refused(ask, pack):
    with pytest.raises(ValueError, match="prompts: no text; write a prompt a line"):
        ask(" \n ")
    assert "no text" in pack[NODE].validate_inputs(prompts="")
    assert pack[NODE].validate_inputs(prompts="a") is True
    assert pack[NODE].validate_inputs(prompts=None) is True


def test_no_text_encoder_is_refused(run_node):
    with pytest.raises(ValueError, match="clip: nothing is connected"):
        run_node(NODE, clip=None, prompts="a")


def test_marks_are_read_from_conditions(module_of):
    own_view = module_of("host.conditioning.own_view")
    conds = [{}, {own_view.MARK: (0, 2)}, {own_view.MARK: (1,), "mask": None}]
    assert [[own_view.belongs(cond, view) for view in range(3)] for cond in conds] == [
        [True, True, True],
        [True, False, True],
        [False, True, False],
    ]


def test_marks_live_through_stock_nodes(ask, run_node, small):
    (conditioning,) = run_node(NODE, clip=small.Clip(), prompts="a\nbb")
    (ranged,) = run_node("ConditioningSetTimestepRange", conditioning=conditioning, start=0.0, end=0.5)
    (both,) = run_node("ConditioningCombine", conditioning_1=ranged, conditioning_2=small.conditioning(1))
    assert [options.get(MARK) for _, options in both] == [(0,), (1,), None]


def test_the_demo_models_text_encoder_reads_them(run_node):
    _, clip, _, _ = run_node("SyncDiffusionLoadDemoModel")
    (conditioning,) = run_node(NODE, clip=clip, prompts="mountains\nlake", common="at dusk")
    assert [options[MARK] for _, options in conditioning] == [(0,), (1,)]
    assert not conditioning[0][0].equal(conditioning[1][0])
