"""The demo panoramas without ComfyUI: `python -m demo.headless`. The pack's core on the demo model in plain torch.

Run from the root of the pack; nothing in the pack imports this file.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from PIL import Image

from syncdiffusion_core.blending import Blend
from syncdiffusion_core.canvases.window_layout import WindowLayout
from syncdiffusion_core.denoiser import Rows
from syncdiffusion_core.guidance.loss import PerceptualLoss
from syncdiffusion_core.guidance.perceptual import Limits, Moved, Passes, PerceptualGuidance
from syncdiffusion_core.guidance.pullbacks import ImagePrior
from syncdiffusion_core.guidance.trace import GuidanceTrace
from syncdiffusion_core.metrics.coherence import coherence
from syncdiffusion_core.moment import Moment
from syncdiffusion_core.perceptual.distance import PerceptualDistance
from syncdiffusion_core.perceptual.files import load_perceptual
from syncdiffusion_core.process import variance_exploding
from syncdiffusion_core.reference import official_sigmas
from syncdiffusion_core.sampling import Method, sample
from syncdiffusion_core.schedule import Clock, GuidanceSchedule
from syncdiffusion_core.views.schedule import CellGrid

from .export import WEIGHTS
from .pipeline import DemoModel, load_demo

CANVAS_PX, WINDOW_PX, STRIDE_PX, CELL_PX = (128, 768), 128, 64, 8
CFG = 7.5
WINDOWS_PER_BATCH = 21
WEIGHT, GUIDED_PART = 10.0, 0.2
MAX_MOVE = 0.1


def panorama(
    model: DemoModel,
    distance: PerceptualDistance,
    prompt: str,
    seed: int,
    steps: int = 50,
    schedule: GuidanceSchedule | None = None,
    cfg: float = CFG,
    stride_px: int = STRIDE_PX,
    trace: list[GuidanceTrace] | None = None,
) -> torch.Tensor:
    """A panorama image [3, 128, 768] in [0, 1]; MultiDiffusion where there is no schedule."""
    canvas = tuple(length // CELL_PX for length in CANVAS_PX)
    layout = WindowLayout(WINDOW_PX, WINDOW_PX, stride_px, stride_px, blend=Blend.FEATHERED)
    windows = layout.resolve(canvas, CellGrid(CELL_PX)).latent
    sigmas = [*official_sigmas(steps)[:-1], 0.0]
    conditions = model.denoiser(model.encode([prompt]), model.encode([""]), cfg)

    def denoiser(x: torch.Tensor, sigma: float, rows: Rows) -> torch.Tensor:
        return conditions(x, sigma, rows.samples)

    guidance = None
    if schedule is not None:
        weights = schedule.weights([k / steps for k in range(steps + 1)])
        loss = PerceptualLoss(model.decode, distance, batches=WINDOWS_PER_BATCH)
        passes, limits = Passes(WINDOWS_PER_BATCH, WINDOWS_PER_BATCH), Limits(MAX_MOVE)
        moves = PerceptualGuidance(weights, loss, ImagePrior(), passes=passes, limits=limits)
        guidance = moves if trace is None else partial(_traced, moves, trace)
    noise = torch.randn(1, 4, *canvas, generator=torch.manual_seed(seed))
    method = Method(guidance=guidance, batches=WINDOWS_PER_BATCH)
    made = sample(denoiser, variance_exploding(), windows, noise * sigmas[0], sigmas, method)
    with torch.no_grad():
        return model.decode(made.canvas)[0]


def _traced(guidance: PerceptualGuidance, trace: list[GuidanceTrace], moment: Moment) -> Moved:
    moved = guidance(moment)
    trace.extend(filter(None, [moved.trace]))
    return moved


def main(arguments: Sequence[str] | None = None) -> None:
    """Make both panoramas and their figures; see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompt", default="mountains")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--out", type=Path, default=Path("demo_output"))
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    model, distance = load_demo(), load_perceptual(WEIGHTS / "scene_perceptual.safetensors")
    methods = {"multidiffusion": None, "syncdiffusion": GuidanceSchedule(WEIGHT, end=GUIDED_PART, clock=Clock.INDEX)}
    figures: dict[str, dict[str, object]] = {}
    for name, schedule in methods.items():
        started, trace = time.monotonic(), []
        image = panorama(model, distance, options.prompt, options.seed, options.steps, schedule, trace=trace)
        seconds = round(time.monotonic() - started, 2)
        _save(image, options.out / f"{name}.png")
        result = coherence(image, distance, WINDOW_PX)
        figures[name] = {"intra_distance": result.intra, "seam": result.seam, "seconds": seconds}
        figures[name]["trace"] = [step.describe() for step in trace]
        print(f"{name:16} intra distance {result.intra:.3f}  seam {result.seam:.2f}  {seconds:.0f} s", flush=True)
    (options.out / "figures.json").write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def _save(image: torch.Tensor, path: Path) -> None:
    Image.fromarray((image.permute(1, 2, 0) * 255).round().byte().numpy()).save(path)


if __name__ == "__main__":
    main()
