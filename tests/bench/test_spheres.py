"""The table of spheres: scores that tell broken spheres from true ones, rows that run, a report that is written."""

import math

import numpy as np
import pytest
import torch

from bench.circular import around
from bench.sphere_maker import SphereMaker, prompts, weights_of
from bench.sphere_report import Line, distances_of, write_report
from bench.sphere_rows import BALANCED, EIGHTEEN, FAST, REFERENCE, RING, ROWS, TEN, Cameras, SphereRow, prompt_at
from bench.sphere_scores import CLASSES, HORIZON, POLES, Scores, SphereJudge, all_distances, held_out
from bench.sphere_truth import shrunk, true_globes
from bench.spheres import Bench, chosen, measure
from demo.judge import load_judge
from demo.pipeline import load_demo
from syncdiffusion_core.canvases.rigs import RigKind
from syncdiffusion_core.perceptual.distance import pairwise
from syncdiffusion_core.reference import official_sigmas

SMALL = Cameras(RigKind.CUBE, 6, 100.0)
TWO_TIMES = (0, 12)
"""Seeds of the table: mountains at dawn, desert at sunset."""


@pytest.fixture(scope="module")
def judge():
    """The judge of landscapes: the tests ask it for the horizon only."""
    return SphereJudge(load_judge())


@pytest.fixture(scope="module")
def globes():
    """Two true globes, as large as what the rows make: uint8 [2, 3, H, W]."""
    return shrunk(true_globes(TWO_TIMES)).mul(255).round().byte()


@pytest.fixture(scope="module")
def true(judge, globes):
    """Their scores."""
    return judge.scores(globes).values


def test_true_globes_have_no_seam_no_pinch_one_time_of_day_and_a_whole_skyline(true):
    assert (true["wrap"] < 1.5 * true["elsewhere"]).all()
    assert ((true["pinch"] > 0.5) & (true["pinch"] < 1.5)).all()
    assert true["agree_horizon"].tolist() == [1, 1]
    assert true["broken"].tolist() == [0, 0]


def test_a_seam_that_is_cut_in_shows_at_the_wrap(judge, globes, true):
    cut = torch.nn.functional.interpolate(globes[..., :-64].float(), globes.shape[-2:], mode="area").byte()
    values = judge.scores(cut).values
    assert (values["wrap"] / values["elsewhere"] > 1.7 * true["wrap"] / true["elsewhere"]).all()


def test_poles_where_the_horizon_is_are_pinched(judge, globes, true):
    half = globes.shape[-2] // 2
    pinched = judge.scores(globes.roll(half, -2)).values["pinch"]
    assert (pinched > 2).all()
    assert (pinched > 2 * true["pinch"]).all()


def test_two_times_of_day_in_one_picture_do_not_agree(judge, globes, true):
    mixed, half = globes[:1].clone(), globes.shape[-1] // 2
    mixed[..., half:] = globes[1:, ..., half:]
    scores = judge.scores(mixed).values
    assert scores["agree_horizon"] <= 0.75
    assert scores["distance_horizon"] > 5 * true["distance_horizon"].max()


def test_land_that_stands_higher_beside_a_meridian_is_a_broken_skyline(judge, globes):
    lifted = globes.clone()
    for left in range(0, 512, 64):
        lifted[..., left : left + 32] = globes[..., left : left + 32].roll(-24, -2)
    assert judge.scores(lifted).values["broken"].mean() >= 0.5


def test_distances_are_those_of_the_network(judge):
    views = torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = pairwise(judge.judge, judge.judge.features(views))
        found = all_distances(judge.judge, judge.judge.taps(views))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def test_views_that_score_are_beside_those_of_every_rig():
    towards = -held_out().rotations[:, :, 2]
    for cameras in (RING, TEN, EIGHTEEN):
        alike = towards @ -cameras.rig.rotations[:, :, 2].T
        beside = alike[: CLASSES[POLES].start].amax(dim=1).clamp(max=1).acos().rad2deg()
        assert beside.min() > 14
    assert sum(len(numbers) for numbers in CLASSES.values()) == len(towards) == 26


def test_kernel_distances_are_by_pitch():
    generator = torch.Generator().manual_seed(0)
    reference, features = (torch.randn(40, 26, 8, generator=generator) for _ in range(2))
    features[:, list(CLASSES[POLES])] += 2
    found = distances_of(features, reference)
    assert abs(found[HORIZON][0]) < 0.1 < 1 < found[POLES][0]
    assert found[POLES][1] < found[POLES][0] < found[POLES][2]
    assert distances_of(features[:1], reference) == {}


def test_prompts_say_where_a_view_looks():
    elevations = (-90, -45, 0, 22.4, 22.5, 67.5, 90)
    words = ("nadir, ", "looking down, ", "", "", "looking up, ", "looking up, ", "zenith, ")
    assert [prompt_at(elevation, "lake") for elevation in elevations] == [f"{word}lake" for word in words]
    assert prompts(TEN, [1])[-2:] == ["zenith, forest", "nadir, forest"]
    assert prompts(EIGHTEEN, [0, 3])[18:][7:9] == ["lake", "looking up, lake"]


def test_guided_steps_are_a_fifth_or_two():
    sigmas = [*official_sigmas(25)[:-1], 0.0]
    guided = {preset: sum(weight > 0 for weight in weights_of(preset, sigmas)) for preset in (REFERENCE, BALANCED)}
    assert guided == {REFERENCE: 5, BALANCED: 10}
    first = {preset: weights_of(preset, sigmas)[0] for preset in (REFERENCE, BALANCED, FAST)}
    assert first[BALANCED] / first[REFERENCE] == pytest.approx(1.2)
    assert first[FAST] / first[REFERENCE] == pytest.approx(1.5)


@torch.no_grad()
def test_a_model_that_wraps_does_not_know_where_its_canvas_was_cut():
    model = around(load_demo())
    predict = model.denoiser(model.encode(["lake"]), model.encode([""]), 1.0)
    x = torch.randn(1, 4, 8, 32, generator=torch.Generator().manual_seed(0))
    rolled = predict(x.roll(8, -1), 2.0, [0])
    torch.testing.assert_close(rolled, predict(x, 2.0, [0]).roll(8, -1), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(model.decode(x.roll(8, -1)), model.decode(x).roll(64, -1), rtol=1e-3, atol=1e-3)


def test_names_of_rows_are_checked():
    assert [row.name for row in chosen("light,ten")] == ["light", "ten"]
    assert len(chosen(None)) == len(ROWS)
    with pytest.raises(ValueError, match="none called dark"):
        chosen("dark")


def test_a_guided_row_runs_from_seeds_to_a_report_and_goes_on_where_it_was_stopped(judge, tmp_path):
    row = SphereRow("small", "six views", cameras=SMALL, preset=BALANCED)
    maker = SphereMaker(load_demo(), steps=4)
    measure(Bench(maker, tmp_path), judge, [row], range(1), references=2)
    assert math.isclose(maker.evaluations, 6 * 4)  # guidance takes the step's own predictions
    maker.make = None  # nothing is made twice
    measure(Bench(maker, tmp_path), judge, [row], range(1), references=2)
    figures = (tmp_path / "figures.csv").read_text(encoding="utf-8").splitlines()
    assert figures[0].startswith("row,seed,place,agree,")
    assert [line.split(",")[:3] for line in figures[1:]] == [["globes", "0", "mountains"], ["small", "0", "mountains"]]
    assert "six views" in (tmp_path / "table.md").read_text(encoding="utf-8")
    assert (tmp_path / "sheet.jpg").stat().st_size > 0


def test_a_report_of_several_seeds_has_intervals(tmp_path):
    generator = torch.Generator().manual_seed(0)
    keys = ("agree", "agree_horizon", "distance", "distance_horizon", "wrap", "elsewhere", "pinch", "broken")
    values = {key: torch.rand(4, generator=generator).double() for key in keys}
    scores = Scores(values, torch.randn(4, 26, 8, generator=generator))
    line = Line("a", "a row", np.zeros((4, 3, 256, 512), np.uint8), scores)
    write_report(tmp_path, [line], torch.randn(6, 26, 8, generator=generator))
    assert " to " in (tmp_path / "table.md").read_text(encoding="utf-8").splitlines()[2]
