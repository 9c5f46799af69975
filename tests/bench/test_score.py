"""Scores of pictures: what is named and left out, what is kept, and when it is computed anew."""

import io
from dataclasses import replace

import pytest
import torch
from PIL import Image

from bench.arms import reference_set
from bench.journal import Journal
from bench.pictures import load_picture, picture
from bench.score import Score, borders, pictures_of, score, score_all
from syncdiffusion_core.metrics.coherence import distances, mean_of_pairs, side_by_side
from syncdiffusion_core.metrics.crops import random_crop


def test_a_score_is_the_metrics_of_its_picture(folder, arms, protocol, judges):
    arm, net = arms[2], judges.features
    image = load_picture(picture(folder, arm, 4), 64, 16)
    windows = side_by_side(image, 16)
    colours = windows.mean(dim=(2, 3))
    own = score(protocol, arm, 4, folder, judges)
    pairs = [float((colours[i] - colours[j]).abs().sum()) for i in range(4) for j in range(i)]
    assert own.values["Intra-LPIPS"] == pytest.approx(sum(pairs) / 6, rel=1e-5)
    crops = torch.stack([random_crop(image, 16, 4 * 3 + k) for k in range(3)])
    assert torch.allclose(own.features, net.embed(crops))
    assert own.values["caption"] == pytest.approx(float(crops.mean()) * 100, rel=1e-5)
    assert set(own.values) == {
        *("Intra-LPIPS", "caption", "wrap", "border", "variance", "agree", "alike", "label_distance"),
    }


def test_single_images_are_scored_side_by_side_with_others_of_their_prompt(folder, arms, protocol, judges):
    single = arms[1]
    own, *others = pictures_of(protocol, single, 7, folder)
    assert own == picture(folder, single, 7)
    assert len(set(others)) == 4  # as many as the panorama has windows
    assert {protocol.prompt_of(int(path.stem)) for path in others} == {protocol.prompt_of(7)}
    images = torch.stack([load_picture(path, 16, 16) for path in others])
    expected = mean_of_pairs(distances(images, judges.intra["Intra-LPIPS"]))
    assert score(protocol, single, 7, folder, judges).values["Intra-LPIPS"] == pytest.approx(expected)


def test_one_window_alone_has_no_coherence(folder, arms, protocol, judges):
    few = replace(protocol, references=5)  # one for each prompt: nothing to put beside it
    assert set(score(few, arms[1], 7, folder, judges).values) == {"caption", "wrap", "variance"}


def test_a_line_of_the_journal_is_the_score(folder, arms, protocol, judges):
    own = score(protocol, arms[3], 1, folder, judges)
    back = Score.from_row(own.row("toy"))
    assert (back.arm, back.seed, back.picture, back.values) == (own.arm, own.seed, own.picture, own.values)
    assert torch.equal(back.features, own.features.float())


def test_everything_is_scored_once(folder, arms, protocol, judges, monkeypatch):
    first, problems = score_all(protocol, arms[1:], folder, judges)
    assert problems == []
    assert len(first) == 50 + 3 * 10
    monkeypatch.setattr("bench.score.score", lambda *_: pytest.fail("scored again"))
    again, _ = score_all(protocol, arms[1:], folder, judges)
    assert [(s.arm, s.seed, s.values) for s in again] == [(s.arm, s.seed, s.values) for s in first]


def test_a_picture_made_anew_is_scored_anew_and_other_judges_do_not_mix(folder, arms, protocol, judges):
    score_all(protocol, arms[2:3], folder, judges)
    path, other = picture(folder, arms[2], 0), picture(folder, arms[2], 1)
    path.write_bytes(other.read_bytes())
    scores, _ = score_all(protocol, arms[2:3], folder, judges)
    own = {s.seed: s for s in scores if s.arm == "w0"}
    assert own[0].picture == own[1].picture
    assert own[0].values["Intra-LPIPS"] == own[1].values["Intra-LPIPS"]
    count = len(list(Journal(folder / "scores.jsonl")))
    score_all(protocol, arms[2:3], folder, type(judges)("others", judges.intra, judges.features))
    assert len(list(Journal(folder / "scores.jsonl"))) == count + 60


def spoil(path, how):
    if how == "missing":
        path.unlink()
    elif how == "damaged":
        path.write_bytes(path.read_bytes()[:60])
    else:
        file = io.BytesIO()
        Image.new("RGB", (48, 16)).save(file, "png")
        path.write_bytes(file.getvalue())


@pytest.mark.parametrize(
    ("how", "said"), [("missing", "is missing"), ("damaged", "cannot be read"), ("size", "is 48x16 px, not 64x16")]
)
def test_what_cannot_be_used_is_named_and_the_rest_is_scored(folder, arms, protocol, judges, how, said):
    path = picture(folder, arms[2], 3)
    spoil(path, how)
    scores, problems = score_all(protocol, arms[2:3], folder, judges)
    assert [s.seed for s in scores if s.arm == "w0"] == [0, 1, 2, 4, 5, 6, 7, 8, 9]
    assert len(problems) == 1
    assert said in problems[0]
    assert str(path) in problems[0]


def test_a_missing_reference_is_named_for_those_that_use_it(folder, arms, protocol, judges):
    used = pictures_of(protocol, arms[1], 0, folder)[1]
    used.unlink()
    scores, problems = score_all(protocol, arms[1:2], folder, judges)
    assert 0 not in [s.seed for s in scores if s.arm == "sd"]
    assert all(str(used) in problem for problem in problems)
    assert len([s for s in scores if s.arm == "reference"]) == len(reference_set(protocol).seeds) - 1


def test_a_damaged_line_is_named_and_scored_again(folder, arms, protocol, judges):
    first, _ = score_all(protocol, arms[2:3], folder, judges)
    path = folder / "scores.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:5], b"###\n", *lines[6:]]))
    again, problems = score_all(protocol, arms[2:3], folder, judges)
    assert [s.values for s in again] == [s.values for s in first]
    assert problems == [f"{path}, line 6 is damaged and left out"]


def test_borders_are_where_windows_begin_and_end(protocol, arms):
    assert borders(protocol, arms[2], 64) == [8, 16, 24, 32, 40, 48, 56]
    assert borders(replace(protocol, stride_px=14), arms[2], 40) == [14, 16, 24, 30]  # windows at 0, 14 and 24
    assert borders(protocol, arms[1], 64) == [16, 32, 48]
