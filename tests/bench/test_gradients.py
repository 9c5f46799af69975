"""The study of gradients: its products in closed form, its comparison, its report, and that it goes on where it was."""

import csv
import math

import pytest
import torch

from bench import gradients
from bench.gradient_report import write_report
from bench.journal import Journal
from bench.wrong_spectra import WHITE, bent
from syncdiffusion_core.canvases.windows import full_canvas
from syncdiffusion_core.guidance.pullbacks import forward_only
from syncdiffusion_core.guidance.spectrum import Spectrum
from syncdiffusion_core.moment import Moment
from syncdiffusion_core.process import variance_exploding

SIGMA = 3.0


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.manual_seed(seed), dtype=torch.float64)


def test_products_of_a_quadratic_network():
    """D(x) = A x + x^2 / 2: J g = A g + x g; a central difference is exact, a forward one errs by h s g^2 / (2 rms)."""
    x, g, matrix = randn(2, 4, 4, 4), randn(2, 4, 4, 4, seed=1), randn(64, 64, seed=2) / 8

    def network(x):
        return (x.flatten(1) @ matrix.T).view_as(x) + x.square() / 2

    wanted = (g.flatten(1) @ matrix.T).view_as(x) + x * g
    torch.testing.assert_close(gradients.exact_product(network, x, g), wanted)
    rms = g.square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
    found = gradients.differences(network, x, g, SIGMA)
    for h in gradients.DIFFERENCES:
        torch.testing.assert_close(found[f"central, h = {h:g}"], wanted, rtol=1e-9, atol=1e-9)
        error = h * math.sqrt(1 + SIGMA**2) * g.square() / (2 * rms)
        torch.testing.assert_close(found[f"forward, h = {h:g}"], wanted + error, rtol=1e-9, atol=1e-9)


def test_the_usual_difference_is_the_packs_own():
    x, g = randn(2, 4, 4, 4), randn(2, 4, 4, 4, seed=1)
    found = gradients.differences(torch.tanh, x, g, SIGMA)["forward, h = 0.1"]
    moment = Moment(full_canvas((4, 4)), x, 0, SIGMA, 2, variance_exploding(), lambda x, sigma, rows: x.tanh())
    own = forward_only(moment, x.tanh(), g)
    torch.testing.assert_close(found, own)


def test_comparison_by_window():
    true = torch.tensor([[3.0, 0.0], [0.0, 2.0]])[:, None, None]
    found = torch.tensor([[3.0, 4.0], [0.0, -1.0]])[:, None, None]
    assert gradients.compare(found, true) == [(0.6, pytest.approx(5 / 3, rel=1e-3)), (-1.0, 0.5)]


def rows_of(seeds):
    names = ["exact J g (jvp)", "forward, h = 0.1", "forward, h = 0.1, bfloat16"]
    names += ["Wiener, natural images", "Wiener, this picture (online)", "Wiener, measured", "decoder gradient, plain"]
    for seed in seeds:
        for cfg in (1.0, 7.5):
            for sigma in (9.0, 3.0):
                figures = {name: [[0.1 * k, 2.0], [0.1 * k + 0.1 * seed, 4.0]] for k, name in enumerate(names)}
                yield {"seed": seed, "cfg": cfg, "step": int(sigma), "sigma": sigma, "figures": figures}


def test_the_report(tmp_path):
    rows = list(rows_of(range(3)))
    write_report([row for row in rows if (row["seed"], row["sigma"]) != (2, 3.0)] + rows[-1:], tmp_path)
    text = (tmp_path / "table.md").read_text(encoding="utf-8")
    assert "| *windows* | *6* | *4* |\n| *seeds* | *3* | *2* |" in text  # CFG 1
    assert "| *windows* | *6* | *6* |\n| *seeds* | *3* | *3* |" in text  # CFG 7.5
    assert "| CFG 1 | σ = 9.00 | σ = 3.00 |" in text
    assert "| forward, h = 0.1 | 0.15 (3) | 0.12 (3) |" in text  # (.1 + .1 + .1 + .2 + .1 + .3) / 6, and of the first 4
    with (tmp_path / "figures.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 2 * 7
    assert (rows[1]["gradient"], rows[1]["windows"], rows[1]["cosine mean"]) == ("forward, h = 0.1", "6", "0.15")
    assert rows[1]["norm ratio 50 %"] == "3"
    assert (tmp_path / "cosine.png").stat().st_size > 10_000


def test_what_is_there_is_not_measured_again(tmp_path, monkeypatch):
    measured = []

    class ToyStudy:
        def __init__(self, model, spectrum):
            pass

        def states(self, seed, cfg, steps):
            for step in steps:
                yield step, gradients.State(1.0 + step, None, None)

        def measure(self, state, seed, cfg):
            measured.append((seed, cfg, state.sigma))
            return {"decoder gradient, plain": [(0.5, 1.0)]}

    monkeypatch.setattr(gradients, "Study", ToyStudy)
    monkeypatch.setattr(gradients, "load_demo", lambda: None)
    monkeypatch.setattr(gradients, "measured_spectrum", lambda model: None)
    path = tmp_path / "runs.jsonl"
    gradients.run(Journal(path), range(2))
    whole = list(Journal(path))
    assert len(measured) == len(whole) == 2 * len(gradients.CFGS) * len(gradients.EARLY + gradients.LATE)
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join(lines[:5]) + lines[5][:10], encoding="utf-8")  # killed in its sixth line
    measured.clear()
    gradients.run(Journal(path), range(2))
    assert list(Journal(path)) == whole
    assert len(measured) == len(whole) - 5
    gradients.run(Journal(path), range(2))
    assert len(measured) == len(whole) - 5


def test_what_can_be_wrong_with_a_spectrum():
    law = Spectrum((0.004, 0.5), (0.02, 0.3))
    wrong = bent(law)
    assert list(wrong) == ["f0 x4", "f0 /4", "white", "c x4", "c /4"]
    assert wrong["f0 x4"] == Spectrum(law.scale, tuple(4 * f0 for f0 in law.bend))
    assert wrong["f0 /4"] == Spectrum(law.scale, tuple(f0 / 4 for f0 in law.bend))
    torch.testing.assert_close(wrong["c x4"].power(8, 8), 4 * law.power(8, 8))
    torch.testing.assert_close(wrong["c /4"].power(8, 8), law.power(8, 8) / 4)
    torch.testing.assert_close(WHITE.power(8, 8), torch.ones(1, 8, 8, dtype=torch.float64), rtol=1e-9, atol=0)
