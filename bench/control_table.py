"""Does the horizon ControlNet steer a guided panorama? `python -m bench.control_table`.

The demo graph at its own settings, a drawn skyline for each seed, four arms on the same seeds: guided without the
ControlNet, ControlNet without guidance, both, and both with the ControlNet at full strength. Makes what is missing
under bench/results/control, measures it, and writes table.md, scores.json and contact_sheet.jpg there.
"""

import argparse
import io
import json
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from bench.arms import Arm
from bench.generate import generate
from bench.graphs import Graph
from bench.horizons import horizon, kind_of
from bench.hosts import Runner, servers
from bench.intervals import interval
from bench.pictures import load_picture, picture
from bench.protocol import DEMO
from bench.tables import markdown
from demo.horizon import hint_of
from demo.judge import load_judge, times_of_day
from demo.palettes import BIOMES, TIMES
from demo.pipeline import load_demo
from demo.scenes import scene
from demo.skyline import detect, load_detector
from syncdiffusion_core.metrics.coherence import side_by_side
from syncdiffusion_core.metrics.labels import agreement

RESULTS = Path(__file__).parent / "results" / "control"
SEEDS = range(24)
DEMO_WEIGHT = {"weight": 10.0}
WIDTH, HEIGHT = DEMO.widths_px[0], DEMO.window_px
STRENGTH = 0.5
"""On windows of other scenes, the weakest of .5, .7 and 1 follows a drawing as closely as the others."""
REAL_SCENES, REAL_WIDTH, FIRST_REAL = 200, 256, 21_000_000
SHEET_SEEDS = 6


@dataclass(frozen=True)
class ControlledArm(Arm):
    """An arm whose prompt carries the ControlNet with the seed's skyline."""

    strength: float = STRENGTH


def arms_of(seeds: range) -> tuple[Arm, ...]:
    """The rows of the table."""
    return (
        Arm("guided", "guided", WIDTH, seeds, guidance=DEMO_WEIGHT),
        ControlledArm("control", "ControlNet", WIDTH, seeds),
        ControlledArm("control_guided", "ControlNet, guided", WIDTH, seeds, guidance=DEMO_WEIGHT),
        ControlledArm(
            "control_guided_full", "ControlNet at strength 1, guided", WIDTH, seeds, guidance=DEMO_WEIGHT, strength=1.0
        ),
    )


def add_control(graph: Graph, arm: Arm, seed: int, runner: Runner) -> None:
    """Put the seed's skyline in the host's input folder and the ControlNet on the prompt of the sampler.

    Not on the negative one: CFG then presses for the drawing as it does for the words.
    """
    if not isinstance(arm, ControlledArm):
        return
    name = f"horizon_{seed}.png"
    pixels = (hint_of(horizon(seed)[None])[0] * 255).round().byte().permute(1, 2, 0)
    file = io.BytesIO()
    Image.fromarray(pixels.contiguous().numpy()).save(file, "png")
    runner.upload(name, file.getvalue())
    graph["hint"] = {"class_type": "LoadImage", "inputs": {"image": name}}
    graph["control"] = {
        "class_type": "ControlNetApplyAdvanced",
        "inputs": {
            "positive": ["prompt", 0],
            "negative": ["negative", 0],
            "control_net": ["model", 3],
            "image": ["hint", 0],
            "strength": arm.strength,
            "start_percent": 0.0,
            "end_percent": 1.0,
        },
    }
    graph["sampler"]["inputs"]["positive"] = ["control", 0]


def skyline_errors(arm: Arm, folder: Path) -> Tensor:
    """|drawn - detected| in px, mean over the columns of each panorama: [P]."""
    images = torch.stack(_pictures(arm, folder))
    drawn = torch.stack([horizon(seed) for seed in arm.seeds])
    return (detect(load_detector(), images) - drawn).abs().mean(dim=1)


def agreements(arm: Arm, folder: Path) -> Tensor:
    """Share of the windows at the majority's time of day: [P]."""
    judge = load_judge()
    shares = [agreement(times_of_day(judge, side_by_side(image, HEIGHT))) for image in _pictures(arm, folder)]
    return torch.stack(shares)


def _pictures(arm: Arm, folder: Path) -> list[Tensor]:
    return [load_picture(picture(folder, arm, seed), WIDTH, HEIGHT) for seed in arm.seeds]


@torch.no_grad()
def own_error() -> tuple[float, float, float]:
    """The detector's error in px on decoded real scenes that no training has drawn, with its 95 % interval."""
    model, net, errors = load_demo(), load_detector(), []
    for k in range(REAL_SCENES):
        real = scene(FIRST_REAL + k, TIMES[k % len(TIMES)], BIOMES[k // len(TIMES) % len(BIOMES)], REAL_WIDTH)
        image = torch.from_numpy(real.image).permute(2, 0, 1)[None].float() / 255
        found = detect(net, model.decode(model.encode_image(image)))[0]
        errors.append((found - torch.from_numpy(real.skyline)).abs().mean())
    return interval(torch.stack(errors))


def finished(arms: list[Arm], folder: Path) -> list[Arm]:
    """The arms over the leading seeds for which all of them have a picture."""
    ready = (all(picture(folder, arm, seed).exists() for arm in arms) for seed in arms[0].seeds)
    count = sum(takewhile(bool, ready))
    return [replace(arm, seeds=arm.seeds[:count]) for arm in arms]


def measure(arms: list[Arm], folder: Path) -> dict:
    """Everything the table says, intervals as (mean, low, high)."""
    errors = {arm.name: skyline_errors(arm, folder) for arm in arms}
    agree = {arm.name: agreements(arm, folder) for arm in arms}
    followed = errors["control_guided"]
    groups = {
        "kind": [kind_of(seed) for seed in arms[0].seeds],
        "place": [DEMO.prompt_of(seed) for seed in arms[0].seeds],
    }
    return {
        "seeds": len(arms[0].seeds),
        "detector_px": own_error(),
        "skyline_px": {name: interval(values) for name, values in errors.items()},
        "agree": {name: interval(values) for name, values in agree.items()},
        "agree_gain": interval(agree["control_guided"] - agree["guided"]),
        "control_guided_px_by": {
            name: {key: float(followed[[k == key for k in keys]].mean()) for key in dict.fromkeys(keys)}
            for name, keys in groups.items()
        },
        "per_seed": {
            arm.name: {"skyline_px": errors[arm.name].tolist(), "agree": agree[arm.name].tolist()} for arm in arms
        },
    }


def table(arms: list[Arm], figures: dict) -> str:
    """Markdown: a row an arm, then what is compared."""

    def cell(values: tuple[float, float, float], digits: int) -> str:
        return "{:.{d}f} ({:.{d}f} to {:.{d}f})".format(*values, d=digits)

    shown, agree = figures["skyline_px"], figures["agree"]
    rows = ([arm.title, cell(shown[arm.name], 2), cell(agree[arm.name], 3)] for arm in arms)
    groups = "; ".join(
        ", ".join(f"{key} {value:.2f}" for key, value in values.items())
        for values in figures["control_guided_px_by"].values()
    )
    lines = [
        markdown([f"{figures['seeds']} seeds", "skyline error, px", "windows at the majority's time"], rows),
        f"The detector's own error on decoded real scenes: {cell(figures['detector_px'], 2)} px.",
        f"Coherence gained by the ControlNet over guided alone: {cell(figures['agree_gain'], 3)}.",
        f"Skyline error of the guided ControlNet, px: {groups}.",
    ]
    return "\n".join(lines) + "\n"


def contact_sheet(arms: list[Arm], folder: Path) -> Image.Image:
    """The first seeds: an arm a row, the drawn skyline dotted over the pictures."""
    width, height, label = 768, 128, 16
    sheet = Image.new("RGB", (width * 2, SHEET_SEEDS // 2 * (len(arms) * height + label)), "white")
    draw = ImageDraw.Draw(sheet)
    for k, seed in enumerate(arms[0].seeds[:SHEET_SEEDS]):
        left, top = k % 2 * width, k // 2 * (len(arms) * height + label)
        titles = ", ".join(arm.title for arm in arms)
        draw.text((left + 4, top + 2), f"seed {seed}, {DEMO.prompt_of(seed)}, {kind_of(seed)}: {titles}", "black")
        for row, arm in enumerate(arms):
            pixels = np.array(Image.open(picture(folder, arm, seed)).convert("RGB"))
            columns = np.arange(0, width, 4)
            pixels[horizon(seed)[columns].round().long().numpy().clip(0, height - 1), columns] = (255, 0, 255)
            sheet.paste(Image.fromarray(pixels), (left, top + label + row * height))
    return sheet


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=2, help="ComfyUI processes at once")
    parser.add_argument("--out", type=Path, default=RESULTS, help="results folder")
    parser.add_argument("--arms", nargs="*", default=[arm.name for arm in arms_of(SEEDS)], help="make these only")
    parser.add_argument("--seeds", type=int, default=len(SEEDS), help="how many")
    parser.add_argument("--score-only", action="store_true", help="make no picture, score the seeds that are there")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    arms = arms_of(SEEDS[: options.seeds])
    if not options.score_only:
        with servers(options.workers) as runners:
            wanted = [arm for arm in arms if arm.name in options.arms]
            generate(DEMO, wanted, options.out, runners, extend=add_control)
    ready = finished(list(arms), options.out)
    if not ready[0].seeds:
        raise SystemExit("no seed has the pictures of all arms yet")
    figures = measure(ready, options.out)
    text = table(ready, figures)
    (options.out / "table.md").write_text(text, encoding="utf-8")
    (options.out / "scores.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    contact_sheet(ready, options.out).save(options.out / "contact_sheet.jpg", quality=85)
    print(text)


if __name__ == "__main__":
    main()
