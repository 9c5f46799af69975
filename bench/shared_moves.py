"""Whether moves of guidance should pass the canvas where views resample: each view its own move, or F(m).

    python -m bench.shared_moves               # 16 seeds, a table
    python -m bench.shared_moves --seeds 4 --out /tmp/moves

A strip of the demo world seen through windows that stand half a cell beside its cells, so that every view is a mean of
cells; SyncTweedies, 20 steps, image prior, the first two fifths guided. Neither paper says which it should be: views
that move by themselves drift apart where they overlap, and F(m) takes from a move what the resampling takes. Measured:
distance between views that share nothing (judge), how far views are from the canvas at the end, and the judge's fit.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor
from tqdm import tqdm

from bench.networks import DemoCaptionScore
from bench.strategies import SEEDS, sampled
from bench.tables import markdown
from demo.export import WEIGHTS
from demo.judge import load_judge
from demo.palettes import BIOMES
from demo.pipeline import DemoModel, load_demo
from syncdiffusion_core.denoiser import Rows
from syncdiffusion_core.guidance.loss import PerceptualLoss
from syncdiffusion_core.guidance.perceptual import Limits, Passes, PerceptualGuidance
from syncdiffusion_core.guidance.pullbacks import ImagePrior
from syncdiffusion_core.guidance.turns import Turns
from syncdiffusion_core.metrics.coherence import distances, mean_of_pairs
from syncdiffusion_core.perceptual.distance import PerceptualDistance
from syncdiffusion_core.perceptual.files import load_perceptual
from syncdiffusion_core.reference import official_sigmas
from syncdiffusion_core.sampling import Method
from syncdiffusion_core.schedule import Clock, GuidanceSchedule
from syncdiffusion_core.strategies import Synchronisation
from syncdiffusion_core.views.schedule import Still
from syncdiffusion_core.views.tables import ResampledViews

RESULTS = Path(__file__).parent / "results" / "shared_moves"
SIDE, WIDTH, STRIDE = 16, 96, 12
"""Cells: of a view, of the strip, which closes to a ring, and between views."""
STEPS, CFG, WEIGHT, GUIDED_PART, MAX_MOVE = 20, 7.5, 10.0, 0.4, 0.1
MODES = {"no guidance": None, "own moves": Turns(), "shared moves, F(m)": Turns(shared=True)}


def half_beside() -> ResampledViews:
    """Views of a ring, half a cell to the right and half a cell down of its cells; at the lower edge of one cell."""
    lefts = torch.arange(0, WIDTH, STRIDE)
    rows, columns = torch.arange(SIDE), torch.arange(SIDE)
    taps = [
        (rows + down).clamp(max=SIDE - 1)[:, None] * WIDTH + (left + columns + right) % WIDTH
        for left in lefts
        for down in (0, 1)
        for right in (0, 1)
    ]
    stacked = torch.stack(taps).unflatten(0, (len(lefts), 4))  # [V, 4, h, w]
    return ResampledViews(stacked, torch.full(stacked.shape, 0.25), (SIDE, WIDTH))


class Study:
    """The demo model, what guides it, and what judges."""

    def __init__(self, model: DemoModel, guide: PerceptualDistance) -> None:
        self.model, self.guide, self.judge, self.captions = model, guide, load_judge(), DemoCaptionScore()
        self.views, self.sigmas = half_beside(), [*official_sigmas(STEPS)[:-1], 0.0]

    @torch.no_grad()
    def measure(self, seed: int, turns: Turns | None) -> dict[str, float]:
        """Figures of one strip."""
        prompt, count = BIOMES[seed % len(BIOMES)], len(self.views)
        predict = self.model.denoiser(self.model.encode([prompt]), self.model.encode([""]), CFG)

        def denoiser(x: Tensor, sigma: float, rows: Rows) -> Tensor:
            return predict(x, sigma, rows.samples)

        method = Method(Synchronisation.SYNCTWEEDIES, guidance=self._guidance(turns), batches=count)
        made = sampled(denoiser, Still(self.views), [seed], self.sigmas, method)
        shown = self.views.project(made.canvas)
        pictures = self.model.decode(shown)
        return {
            "Intra distance (judge)": mean_of_pairs(distances(pictures[::2], self.judge)),
            "views off the canvas": float((made.x0 - shown).square().mean().sqrt()),
            "caption score": float(self.captions.score(pictures, [prompt]).mean()),
        }

    def _guidance(self, turns: Turns | None) -> PerceptualGuidance | None:
        if turns is None:
            return None
        schedule = GuidanceSchedule(WEIGHT, end=GUIDED_PART, clock=Clock.INDEX)
        weights, count = schedule.weights([k / STEPS for k in range(STEPS + 1)]), len(self.views)
        loss = PerceptualLoss(self.model.decode, self.guide, batches=count)
        return PerceptualGuidance(weights, loss, ImagePrior(), turns, Passes(count, count), Limits(MAX_MOVE))


def table(frame: pd.DataFrame) -> str:
    """Means and standard errors of the paired differences to own moves."""
    lines = []
    for mode, rows in frame.groupby("moves", sort=False):
        cells = [mode]
        for figure in frame.columns[2:]:
            change = rows[figure].to_numpy() - frame[frame.moves == "own moves"][figure].to_numpy()
            error = change.std(ddof=1) / len(change) ** 0.5 if len(change) > 1 else float("nan")
            cells.append(f"{rows[figure].mean():.4f} ({change.mean():+.4f} ± {error:.4f})")
        lines.append(cells)
    note = f"\n{frame.seed.nunique()} seeds; in brackets against own moves, paired, with its standard error.\n"
    return markdown(["moves", *frame.columns[2:]], lines) + note


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the table; see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--seeds", type=int, default=SEEDS // 4)
    options = parser.parse_args(arguments)
    study = Study(load_demo(), load_perceptual(WEIGHTS / "scene_perceptual.safetensors"))
    jobs = [(mode, seed) for seed in range(options.seeds) for mode in MODES]
    rows = [{"moves": mode, "seed": seed, **study.measure(seed, MODES[mode])} for mode, seed in tqdm(jobs)]
    frame = pd.DataFrame(rows)
    options.out.mkdir(parents=True, exist_ok=True)
    frame.to_csv(options.out / "figures.csv", index=False, float_format="%.6g")
    (options.out / "table.md").write_text(table(frame), encoding="utf-8")


if __name__ == "__main__":
    main()
