"""How near do the cheaper gradients come to the true one? `python -m bench.gradients`.

On states of unguided trajectories of the demo model in plain torch, g = dL/dx0 of the scene network through the VAE,
and J^T g by each pullback, against reverse-mode differentiation in float32: forward-only by difference step, forward or
central, float32 or bfloat16; the exact J g (`torch.func.jvp`), which no difference can beat; Wiener's filter by
spectrum, right and wrong; the plain decoder gradient. Seeds and prompts are none that anything was tuned on.
Resumable: writes a line a state into runs.jsonl under bench/results/gradients, then table.md, figures.csv, cosine.png.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import torch
from torch import Tensor

from bench.gradient_report import write_report
from bench.journal import Journal
from bench.wrong_spectra import bent
from demo.export import WEIGHTS
from demo.palettes import BIOMES, TIMES
from demo.pipeline import DemoModel, load_demo
from demo.scenes import scene
from syncdiffusion_core.canvases.window_layout import WindowLayout
from syncdiffusion_core.denoiser import Denoiser, Rows, denoise_views
from syncdiffusion_core.guidance.pullbacks import ImagePrior, Pullback, ThroughModel, decoder_only
from syncdiffusion_core.guidance.spectrum import Spectrum, SpectrumSource, fit_spectrum
from syncdiffusion_core.moment import Moment
from syncdiffusion_core.perceptual.files import load_perceptual
from syncdiffusion_core.process import variance_exploding
from syncdiffusion_core.reference import official_sigmas
from syncdiffusion_core.views.schedule import CellGrid
from syncdiffusion_core.views.view_set import aggregate

RESULTS = Path(__file__).parent / "results" / "gradients"
SEEDS, FIRST_SCENE, SCENES = range(700_000, 700_008), 21_600_000, 40
CFGS, STEPS = (1.0, 3.0, 7.5), 25
EARLY, LATE = (0, 2, 4), (7, 13)
"""Steps at which gradients are taken: those that guidance acts in, the first fifth, for all seeds first."""
DIFFERENCES = (0.01, 0.03, 0.1, 0.3)
CANVAS, WINDOW, STRIDE = (16, 64), 16, 8  # cells of 8 px
MOVING = (0, -1)
VE = variance_exploding()


@dataclass(frozen=True)
class State:
    """All windows of a step: x and x0 [V, 4, 16, 16]."""

    sigma: float
    x: Tensor
    x0: Tensor


class Study:
    """The demo model in both precisions, and what the surrogates know."""

    def __init__(self, model: DemoModel, measured: Spectrum) -> None:
        half = copy.deepcopy(model.unet).bfloat16()
        self.model = model
        self.half = replace(model, unet=lambda x, t, context: half(x.bfloat16(), t, context.bfloat16()).float())
        self.distance = load_perceptual(WEIGHTS / "scene_perceptual.safetensors")
        self.windows = WindowLayout(WINDOW, WINDOW, STRIDE, STRIDE).tiled(CANVAS, CellGrid(1))
        self.anchor = self.windows.reference
        self.moving = [range(len(self.windows))[view] for view in MOVING]
        self.measured = measured

    def denoiser(self, model: DemoModel, seed: int, cfg: float) -> Denoiser:
        """The denoiser of a seed's prompt, of this precision."""
        prompt = model.encode([BIOMES[seed % len(BIOMES)]])
        conditions = model.denoiser(prompt, model.encode([""]), cfg)
        return lambda x, sigma, rows: conditions(x, sigma, rows.samples)

    @torch.no_grad()
    def states(self, seed: int, cfg: float, steps: Sequence[int]) -> Iterator[tuple[int, State]]:
        """MultiDiffusion without guidance: (step, state) at each of the steps."""
        denoiser, sigmas = self.denoiser(self.model, seed, cfg), official_sigmas(STEPS)
        canvas = sigmas[0] * torch.randn(1, 4, *CANVAS, generator=torch.manual_seed(seed))
        for step, sigma in enumerate(sigmas[: max(steps) + 1]):
            x = self.windows.project(canvas)
            x0 = denoise_views(denoiser, x, sigma, 1, len(self.windows))
            if step in steps:
                yield step, State(sigma, x, x0)
            canvas = aggregate(self.windows, VE.step(x, x0, sigma, sigmas[step + 1]))

    def decoder_gradient(self, state: State) -> Tensor:
        """g = dL/dx0 of the moving windows: [M, 4, 16, 16]."""
        with torch.no_grad():
            anchor = self.distance.features(self.model.decode(state.x0[[self.anchor]]))
        leaf = state.x0[self.moving].clone().requires_grad_(True)
        loss = self.distance.distance(self.distance.features(self.model.decode(leaf)), anchor)
        return torch.autograd.grad(loss.sum(), leaf)[0]

    def measure(self, state: State, seed: int, cfg: float) -> dict[str, list[tuple[float, float]]]:
        """(cosine, norm ratio) of each moving window with the true gradient, by name of the surrogate."""
        g, rows = self.decoder_gradient(state), Rows.grid(1, tuple(self.moving))
        x, x0 = state.x[self.moving], state.x0[self.moving]
        single, half = (self.denoiser(model, seed, cfg) for model in (self.model, self.half))

        def pulled(pullback: Pullback, denoiser: Denoiser) -> Tensor:
            views = self.windows.subset(self.moving)
            return pullback(Moment(views, x, 0, state.sigma, 1, VE, denoiser), x0, g)

        with torch.no_grad():
            true = pulled(ThroughModel(), single)
            found = {"autograd, bfloat16": pulled(ThroughModel(), half)}
            found["exact J g (jvp)"] = exact_product(lambda x: single(x, state.sigma, rows), x, g)
            for name, denoiser in (("", single), (", bfloat16", half)):
                evaluate = lambda x, denoiser=denoiser: denoiser(x, state.sigma, rows)  # noqa: E731
                found |= {key + name: value for key, value in differences(evaluate, x, g, state.sigma).items()}
            for name, prior in self.priors(state).items():
                found[name] = pulled(prior, single)
            found["decoder gradient, plain"] = pulled(decoder_only, single)
        return {name: compare(value, true) for name, value in found.items()}

    def priors(self, state: State) -> dict[str, ImagePrior]:
        """Wiener's filter with every spectrum."""
        online = ImagePrior(source=SpectrumSource.ONLINE)
        online.observe(Moment(self.windows, state.x, 0, state.sigma, 1, VE, None), state.x0)
        priors = {
            "natural images": ImagePrior(),
            "this picture (online)": online,
            "measured": ImagePrior(self.measured),
        }
        wrong = {f"measured, {name}": ImagePrior(value) for name, value in bent(self.measured).items()}
        return {f"Wiener, {name}": prior for name, prior in (priors | wrong).items()}


def exact_product(function: Callable[[Tensor], Tensor], x: Tensor, g: Tensor) -> Tensor:
    """J g by forward-mode differentiation."""
    return torch.func.jvp(function, (x,), (g,))[1]


def differences(function: Callable[[Tensor], Tensor], x: Tensor, g: Tensor, sigma: float) -> dict[str, Tensor]:
    """J g by finite differences along g, h in standard deviations of the state; all windows in one call."""
    size = g.square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
    steps = [h * VE.state_scale(sigma) for h in DIFFERENCES]
    moved = [x + sign * step * g / size for step in steps for sign in (1, -1)]
    here, *values = function(torch.cat([x, *moved])).split(len(x))
    found = {}
    for h, step, ahead, behind in zip(DIFFERENCES, steps, values[::2], values[1::2], strict=True):
        found[f"forward, h = {h:g}"] = size * (ahead - here) / step
        found[f"central, h = {h:g}"] = size * (ahead - behind) / (2 * step)
    return found


def compare(found: Tensor, true: Tensor) -> list[tuple[float, float]]:
    """(cosine, norm ratio) of each row."""
    one, other = found.flatten(1).double(), true.flatten(1).double()
    cosines = torch.nn.functional.cosine_similarity(one, other, dim=1)
    ratios = one.norm(dim=1) / other.norm(dim=1)
    return [(round(float(c), 4), float(f"{r:.4g}")) for c, r in zip(cosines, ratios, strict=True)]


@torch.no_grad()
def measured_spectrum(model: DemoModel) -> Spectrum:
    """Of the latents of drawn scenes that no training has seen."""
    latents = []
    for k in range(SCENES):
        drawn = scene(FIRST_SCENE + k, TIMES[k % len(TIMES)], BIOMES[k // len(TIMES) % len(BIOMES)], 384)
        image = torch.from_numpy(drawn.image).permute(2, 0, 1).float() / 255
        latents.append(model.encode_image(torch.stack(image.split(128, dim=2))))
    return fit_spectrum(torch.cat(latents))


def run(journal: Journal, seeds: range) -> None:
    """Measure what the journal lacks."""
    done = {(row["seed"], row["cfg"], row["step"]) for row in journal}
    todo = []
    for part, seed, cfg in product((EARLY, LATE), seeds, CFGS):
        steps = [step for step in part if (seed, cfg, step) not in done]
        todo += [(seed, cfg, steps)] if steps else []
    if not todo:
        return
    model = load_demo()
    study = Study(model, measured_spectrum(model))
    for seed, cfg, steps in todo:
        started = time.monotonic()
        for step, state in study.states(seed, cfg, steps):
            figures = study.measure(state, seed, cfg)
            row = {"seed": seed, "cfg": cfg, "step": step, "sigma": round(state.sigma, 4), "figures": figures}
            journal.append(row)
        print(f"seed {seed}, CFG {cfg:g}, steps {steps}: {time.monotonic() - started:.0f} s", flush=True)


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=RESULTS, help="results folder")
    parser.add_argument("--first-seed", type=int, default=SEEDS.start)
    parser.add_argument("--seeds", type=int, default=len(SEEDS), help="how many, from the first")
    parser.add_argument("--report-only", action="store_true", help="measure nothing, report what is there")
    options = parser.parse_args()
    journal = Journal(options.out / "runs.jsonl")
    if not options.report_only:
        run(journal, range(options.first_seed, options.first_seed + options.seeds))
    rows = list(journal)
    if not rows:
        raise SystemExit("nothing is measured yet: leave out --report-only")
    write_report(rows, options.out)
    print((options.out / "table.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
