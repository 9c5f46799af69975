"""The toy experiment of strategies: its figures in closed form, its cells on a toy model, its files."""

import pytest
import torch
from bench_toys import Constant

from bench import strategies
from bench.strategy_report import Cell, alignment, concealment, fine_detail, write_report
from syncdiffusion_core.strategies import Synchronisation


def test_alignment_is_the_worst_view_and_concealment_tells_views_apart():
    sure, unsure = torch.tensor([[0.9, 0.0], [0.0, 0.6]]), torch.full((2, 2), 0.5)
    scores = torch.stack([sure, unsure])
    assert alignment(scores).tolist() == pytest.approx([0.6, 0.5])
    assert concealment(scores).tolist() == pytest.approx([1.0, 0.5])


def test_cosines_are_told_apart_by_a_softmax():
    cosines = torch.tensor([[[0.30, 0.25], [0.20, 0.26]]])
    by_view, by_prompt = cosines.mul(100).softmax(dim=2), cosines.mul(100).softmax(dim=1)
    both = (by_view + by_prompt).diagonal(dim1=1, dim2=2) / 2
    assert concealment(cosines, 100.0).tolist() == pytest.approx(both.mean(dim=1).tolist())
    assert 0.49 < concealment(cosines) < 0.6


def test_fine_detail_grows_with_noise_and_falls_with_blur():
    noise = torch.randint(256, (2, 2, 3, 32, 32), generator=torch.manual_seed(0), dtype=torch.uint8)
    ramp = torch.arange(32, dtype=torch.uint8).expand(2, 2, 3, 32, 32)
    assert fine_detail(torch.full_like(noise, 9)).tolist() == [0, 0]
    assert (fine_detail(noise) > 50 * fine_detail(ramp)).all()
    assert fine_detail(noise)[0] == pytest.approx((8 / 9 / 12) ** 0.5, rel=0.1)


def test_both_prompts_of_a_seed_differ_in_place_and_time():
    for seed in range(64):
        (place, _, time), (other, _, later) = (text.split() for text in strategies.prompts(seed))
        assert place != other
        assert time != later


@pytest.mark.parametrize("kind", strategies.KINDS)
@pytest.mark.parametrize("synchronisation", [Synchronisation.SYNCTWEEDIES, Synchronisation.CANONICAL_CLEAN])
def test_a_model_that_is_sure_is_believed(kind, synchronisation):
    """Where clean predictions are averaged, the canvas is what they say, and so are its views."""
    cell = strategies.Experiment(Constant()).cell(strategies.Ask(kind, synchronisation), [0, 1, 2])
    expected = torch.full((3, 2, 3, 128, 128), 0.25 * 0.5 + 0.5)
    torch.testing.assert_close(cell.seen, expected)
    torch.testing.assert_close(cell.shown, expected, rtol=0, atol=1e-5)


def test_a_run_goes_on_where_it_was_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(strategies, "BATCH", 2)
    asked = []

    def make(seeds):
        asked.append(list(seeds))
        return torch.stack([torch.full((2, 3, 4, 4), seed / 255) for seed in seeds])

    with strategies.tqdm(disable=True) as bar:
        strategies.made(tmp_path / "x.npy", make, range(3), bar)
        kept = strategies.made(tmp_path / "x.npy", make, range(5), bar)
    assert asked == [[0, 1], [2], [3, 4]]
    assert kept[:, 0, 0, 0, 0].tolist() == [0, 1, 2, 3, 4]


def test_the_report_has_a_row_for_each_cell(tmp_path):
    generator = torch.Generator().manual_seed(0)

    def pictures():
        return torch.randint(256, (40, 2, 3, 32, 32), generator=generator, dtype=torch.uint8)

    cells = {("one-to-one", name): Cell(pictures(), pictures()) for name in ("synctweedies", "view_noise")}
    write_report(tmp_path, cells, pictures(), [strategies.prompts(seed) for seed in range(40)])
    lines = (tmp_path / "table.md").read_text(encoding="utf-8").splitlines()
    assert [line.split(" | ")[1] for line in lines[2:4]] == ["synctweedies", "view_noise"]
    assert (tmp_path / "sheet.jpg").stat().st_size > 0
    assert len((tmp_path / "figures.csv").read_text(encoding="utf-8").splitlines()) == 1 + 2 * 6
