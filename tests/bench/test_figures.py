"""Rows of a table against closed forms and the metrics themselves."""

import json
import math
from dataclasses import replace

import pytest
import torch

from bench.arms import paper_arms
from bench.figures import FURTHER_COLUMNS, Column, Row, figures, further_columns, interval, paper_columns
from bench.paper_table import write_results
from bench.protocol import DEMO
from bench.score import Score, score_all
from bench.tables import change_table, interval_table, paper_table
from syncdiffusion_core.metrics.diversity import Diversity
from syncdiffusion_core.metrics.giqa import giqa
from syncdiffusion_core.metrics.kernel import KernelDistance


def row_of(rows, name):
    return next(row for row in rows if row.arm.name == name)


def scores_of(name, values, features=None, first=0):
    """One score a value of Intra-LPIPS, features [P, K, D]."""
    return [
        Score(name, first + k, f"{name}{k}", {"Intra-LPIPS": v}, None if features is None else features[k])
        for k, v in enumerate(values)
    ]


def random_features(count, crops, seed):
    return torch.randn(count, crops, 4, generator=torch.Generator().manual_seed(seed))


def test_means_and_deviations_are_over_prompts(protocol):
    values = [1.0, 2.0, 3.0, 4.0, 5.0, 3.0, 4.0, 5.0, 6.0, 7.0]  # prompt k has k + 1 and k + 3
    [row] = figures(protocol, paper_arms(protocol), scores_of("w0", values), False)
    mean, deviation = row.by_prompt["Intra-LPIPS"]
    assert (row.count, mean) == (10, 4.0)
    assert deviation == pytest.approx(math.sqrt(2.5))  # of 2, 3, 4, 5, 6


def test_an_interval_is_the_bootstraps_of_the_mean():
    values = torch.randn(400, generator=torch.Generator().manual_seed(0)).double()
    mean, low, high = interval(values)
    error = float(values.std()) / 20
    assert mean == pytest.approx(float(values.mean()))
    assert [low, high] == pytest.approx([mean - 1.96 * error, mean + 1.96 * error], abs=0.15 * error)


def test_a_change_is_paired_by_seed(protocol):
    base = [0.1 * k for k in range(10)]
    scores = [*scores_of("w0", base), *scores_of("w20", [value - 0.25 for value in base[3:]], first=3)]
    rows = figures(protocol, paper_arms(protocol), scores, False)
    assert row_of(rows, "w20").change["Intra-LPIPS"] == pytest.approx((-0.25, -0.25, -0.25))
    assert row_of(rows, "w0").change == {}


def test_a_narrow_canvas_is_held_against_its_own_baseline(protocol):
    scores = [*scores_of("w0", [9.0] * 5), *scores_of("w0_32", [1.0] * 5), *scores_of("w20_32", [0.5] * 5)]
    rows = figures(protocol, paper_arms(protocol), scores, False)
    assert row_of(rows, "w20_32").change["Intra-LPIPS"] == pytest.approx((-0.5, -0.5, -0.5))


def test_figures_of_crops_are_the_metrics(protocol):
    own, reference = random_features(10, 3, 0), random_features(50, 1, 1)
    scores = [*scores_of("w0", [0.0] * 10, own), *scores_of("reference", [0.0] * 50, reference, first=1_000_000)]
    row = row_of(figures(protocol, paper_arms(protocol), scores, False), "w0")
    flat = reference[:, 0]
    assert row.interval["kid"][0] == pytest.approx(KernelDistance(own, flat).of(), rel=1e-6)
    prompts = torch.arange(10) % 5
    expected = Diversity(own, prompts).of() / Diversity(flat, torch.arange(50) % 5).of()
    assert row.interval["diversity"][0] == pytest.approx(expected, rel=1e-6)
    each = [float(giqa(own[k], flat[k % 5 :: 5], 8).mean()) for k in range(10)]
    assert row.interval["giqa"][0] == pytest.approx(sum(each) / 10, rel=1e-6)
    kids = [KernelDistance(own[k::5], flat[k::5]).of() for k in range(5)]
    assert row.by_prompt["kid"][0] == pytest.approx(sum(kids) / 5, rel=1e-6)
    assert "fid" not in row.by_prompt


def test_kernel_distance_of_crops_is_that_of_one_crop_each_averaged():
    own, reference = random_features(6, 2, 0), random_features(20, 1, 1)[:, 0]
    pairs = [own[i, a] @ own[j, b] for i in range(6) for j in range(6) if i != j for a in (0, 1) for b in (0, 1)]
    kernel = (reference @ reference.T / 4 + 1) ** 3
    cross = ((own.flatten(0, 1) @ reference.T / 4 + 1) ** 3).mean()
    expected = (torch.stack(pairs) / 4 + 1).pow(3).mean() - 2 * cross
    expected += (kernel.sum() - kernel.diagonal().sum()) / (20 * 19)
    assert KernelDistance(own, reference).of() == pytest.approx(float(expected), rel=1e-4)


def test_diversity_counts_pairs_of_different_panoramas_of_one_prompt():
    features = torch.tensor([[0.0, 0], [3, 4], [100, 0], [100, 1]])
    diversity = Diversity(features, torch.tensor([0, 0, 1, 1]))
    assert diversity.of() == pytest.approx(3.0)  # of 5 and 1
    assert diversity.resampled(torch.tensor([[0, 0, 1, 2], [0, 1, 1, 3]])).tolist() == pytest.approx([5.0, 5.0])
    assert diversity.resampled(torch.tensor([[1, 1, 2]])).isnan().all()
    crops = features.reshape(2, 2, 2)
    expected = (100 + 100.004999 + math.hypot(97, 4) + math.hypot(97, 3)) / 4
    assert Diversity(crops, torch.tensor([0, 0])).of() == pytest.approx(expected, rel=1e-6)
    with pytest.raises(ValueError, match="a row and a prompt for each panorama"):
        Diversity(features, torch.tensor([0]))


def test_a_change_of_crops_is_that_of_the_panoramas_both_have(protocol):
    own, base, reference = random_features(6, 2, 0), random_features(10, 2, 1), random_features(50, 1, 2)
    scores = [*scores_of("w0", [0.0] * 10, base), *scores_of("w20", [0.0] * 6, own, first=4)]
    scores += scores_of("reference", [0.0] * 50, reference, first=1_000_000)
    change = row_of(figures(protocol, paper_arms(protocol), scores, False), "w20").change
    flat, prompts = reference[:, 0], torch.arange(4, 10) % 5
    expected = KernelDistance(own, flat).of() - KernelDistance(base[4:], flat).of()
    assert change["kid"][0] == pytest.approx(expected, rel=1e-6)
    scale = Diversity(flat, torch.arange(50) % 5).of()
    expected = (Diversity(own, prompts).of() - Diversity(base[4:], prompts).of()) / scale
    assert change["diversity"][0] == pytest.approx(expected, rel=1e-6)


def test_a_row_that_is_the_baseline_again_differs_by_nothing_in_any_draw(protocol):
    """Means, KID and diversity alike: the bootstrap draws the same panoramas of both."""
    own, reference = random_features(10, 2, 0), random_features(50, 1, 1)
    values = [0.1 * k * k for k in range(10)]
    scores = [*scores_of("w0", values, own), *scores_of("w20", values, own)]
    scores += [*scores_of("w5", values[3:], own[3:], first=3)]
    scores += scores_of("reference", [0.0] * 50, reference, first=1_000_000)
    rows = figures(protocol, paper_arms(protocol), scores, False)
    for name in ("w20", "w5"):
        change = row_of(rows, name).change
        assert {"Intra-LPIPS", "giqa", "kid", "diversity"} <= change.keys()
        for key, triple in change.items():
            assert triple == pytest.approx((0, 0, 0), abs=1e-12), (name, key)


def test_pictures_that_all_failed_alike_cost_their_row_its_giqa_only(protocol):
    black = torch.zeros(10, 1, 4)
    scores = [*scores_of("w0", [0.0] * 10, random_features(10, 1, 0)), *scores_of("w20", [0.0] * 10, black)]
    scores += scores_of("reference", [0.0] * 50, torch.cat([random_features(49, 1, 1), black[:1]]), first=1_000_000)
    with pytest.warns(UserWarning, match="a row has no GIQA, for prompt 5: 2 rows of features are in reference too"):
        rows = figures(protocol, paper_arms(protocol), scores, False)
    assert "giqa" in row_of(rows, "w0").by_prompt
    assert "giqa" not in row_of(rows, "w20").by_prompt
    assert "kid" in row_of(rows, "w20").by_prompt


def test_standardised_features_do_not_mind_their_units(protocol):
    own, reference = random_features(10, 1, 0), random_features(50, 1, 1)

    def kid(scale, offset):
        scores = [*scores_of("w0", [0.0] * 10, own * scale + offset)]
        scores += scores_of("reference", [0.0] * 50, reference * scale + offset, first=1_000_000)
        return row_of(figures(protocol, paper_arms(protocol), scores, True), "w0").interval["kid"]

    assert kid(1.0, 0.0) == pytest.approx(kid(7.0, 3.0), rel=1e-3)


def test_a_handful_of_panoramas_gives_what_they_allow(protocol):
    own, reference = random_features(2, 1, 0), random_features(5, 1, 1)
    scores = [*scores_of("w0", [0.1, 0.2], own), *scores_of("w5", [0.1, 0.2], own)]
    scores += scores_of("reference", [0.0] * 5, reference, first=1_000_000)
    row = row_of(figures(protocol, paper_arms(protocol), scores, False), "w5")
    assert all(math.isfinite(v) for v in row.interval["kid"])
    assert "giqa" not in row.interval
    assert "diversity" not in row.interval


def test_tables_as_written():
    arms = {arm.name: arm for arm in paper_arms(DEMO)}
    rows = [
        Row(arms["sd"], 5, {"Intra-LPIPS": (0.74, 0.07)}, {"Intra-LPIPS": (0.74, 0.7, 0.8)}),
        Row(arms["w0"], 5, {"Intra-LPIPS": (0.69, 0.09)}, {"Intra-LPIPS": (0.69, 0.6, 0.75)}),
        Row(
            arms["w20"],
            4,
            {"Intra-LPIPS": (0.56, 0.06)},
            {"Intra-LPIPS": (0.56, 0.5, 0.6)},
            {"Intra-LPIPS": (-0.13, -0.2, -0.1)},
        ),
    ]
    columns = paper_columns("caption score")
    assert paper_table(rows, columns).splitlines() == [
        "|  | n | Intra-LPIPS ↓ |",
        "|---|---|---|",
        "| Single images | 5 | 0.740 ± 0.070 |",
        "| **Weight w (Eq. 14)** |  |  |",
        "| w = 0 (MultiDiffusion) | 5 | 0.690 ± 0.090 |",
        "| w = 20 | 4 | 0.560 ± 0.060 |",
    ]
    assert interval_table(rows, columns).splitlines()[2] == "| Single images | 5 | 0.740 (0.700 to 0.800) |"
    assert change_table(rows, columns).splitlines()[2:] == ["| w = 20 | -0.130 (-0.200 to -0.100) |"]


def test_a_second_network_of_the_users_has_a_column():
    arms = {arm.name: arm for arm in paper_arms(DEMO)}
    values = {"Intra-LPIPS": (0.5, 0.4, 0.6), "Intra-LPIPS (alex)": (0.3, 0.2, 0.4), "wrap": (1.0, 1.0, 1.0)}
    rows = [Row(arms["w0"], 5, {}, values)]
    text = interval_table(rows, [*paper_columns("x"), *further_columns(rows)])
    assert text.splitlines()[0] == "|  | n | Intra-LPIPS ↓ | Intra-LPIPS (alex) ↓ | wrap seam ↓ |"


def test_a_figure_that_one_row_lacks_keeps_its_column():
    arms = {arm.name: arm for arm in paper_arms(DEMO)}
    rows = [
        Row(arms["sd"], 5, {"Intra-LPIPS": (0.7, 0.1), "giqa": (0.02, 0.001)}),
        Row(arms["bld"], 1, {"Intra-LPIPS": (0.5, 0)}),
    ]
    lines = paper_table(rows, paper_columns("x")).splitlines()
    assert lines[0] == "|  | n | Intra-LPIPS ↓ | Mean-GIQA x 1000 ↑ |"
    assert lines[-1] == "| Blended Latent Diffusion | 1 | 0.500 ± 0.000 | – |"


def test_scaled_columns_say_so():
    assert Column("kid", "KID", "↓", 1000.0).heading == "KID x 1000 ↓"
    assert [c.heading for c in paper_columns("caption score")][-1] == "caption score ↑"
    assert len({c.key for c in (*paper_columns("x"), *FURTHER_COLUMNS)}) == 6 + len(FURTHER_COLUMNS)


def test_results_are_written_with_their_plots(folder, arms, protocol, judges):
    (folder / "timing.jsonl").write_text('{"arm": "w0", "seconds": 1.0}\n{"arm": "w20", "seconds": 3.0}\n')
    rows_of = [arm for arm in paper_arms(protocol) if arm.name in ("sd", "w0", "w20")]
    scores, _ = score_all(protocol, rows_of, folder, judges)
    rows = figures(protocol, rows_of, scores, False)
    text = write_results(protocol, rows_of, rows, "toy score", folder)
    assert (folder / "table.md").read_text(encoding="utf-8") == text
    assert "toy score" in text
    assert [row["arm"] for row in json.loads((folder / "figures.json").read_text())] == ["sd", "w0", "w20"]
    for name in ("weight.png", "time.png", "contact_sheet.jpg"):
        assert (folder / name).stat().st_size > 1000
    gained = row_of(rows, "w20").change["Intra-LPIPS"]
    assert gained[2] < 0  # the toys grow alike with the weight


def test_rows_without_a_part_leave_its_columns_out(folder, arms, protocol, judges):
    judges = replace(judges, name="distance only", features=None, captions=None, labels=None)
    scores, _ = score_all(protocol, arms[2:], folder, judges)
    rows = figures(protocol, arms[2:], scores, False)
    assert set(row_of(rows, "w0").interval) == {"Intra-LPIPS", "wrap", "border", "variance"}
