"""The demo world's ControlNet in the host: its own loader takes the file, and a guided panorama follows a drawing."""

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch

from bench.control_table import add_control, arms_of
from bench.graphs import graph_of
from bench.horizons import horizon
from bench.protocol import DEMO
from demo.judge import load_judge, times_of_day
from demo.palettes import BIOMES, TIMES
from demo.pipeline import load_demo
from demo.scenes import scene
from demo.skyline import detect, load_detector
from demo.train_control import FILE
from syncdiffusion_core.metrics.coherence import side_by_side
from syncdiffusion_core.metrics.labels import agreement

SEEDS = range(40_000, 40_003)
STEPS = 12
FOLLOWED_PX = 3.0
"""How far from the drawing a skyline may be, above the detector's own error (both means over columns)."""


def control_inputs(hint: torch.Tensor) -> dict[str, torch.Tensor]:
    """What the host hands a ControlNet's network, for a hint [1, 3, H, W]."""
    seeded = torch.Generator().manual_seed(0)
    return {
        "x": torch.randn(1, 4, hint.shape[-2] // 8, hint.shape[-1] // 8, generator=seeded),
        "hint": hint,
        "timesteps": torch.tensor([500.0]),
        "context": torch.randn(1, 16, 128, generator=seeded),
    }


def test_the_hosts_own_loader_reads_the_file_as_the_node_does(run_node, host):
    folder = host.base / "models" / "controlnet"
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(FILE, folder / FILE.name)
    stock = run_node("ControlNetLoader", control_net_name=FILE.name)[0]
    ours = run_node("SyncDiffusionLoadDemoModel")[3]
    assert type(stock) is type(ours)
    given = control_inputs(torch.rand(1, 3, 128, 192, generator=torch.Generator().manual_seed(1)))
    with torch.no_grad():
        theirs, own = stock.control_model(**given), ours.control_model(**given)
    for kind in ("output", "middle"):
        assert all(torch.equal(a.float(), b) for a, b in zip(theirs[kind], own[kind], strict=True))
        assert all(a.abs().max() > 0 for a in own[kind])


@pytest.fixture(scope="module")
def own_error() -> float:
    """The detector's mean error in px on decoded real scenes that no training has drawn."""
    model, net, errors = load_demo(), load_detector(), []
    for k in range(10):
        real = scene(41_000_000 + k, TIMES[k % 5], BIOMES[k // 2], 256)
        image = torch.from_numpy(real.image).permute(2, 0, 1)[None].float() / 255
        with torch.no_grad():
            decoded = model.decode(model.encode_image(image))
        errors.append((detect(net, decoded)[0] - torch.from_numpy(real.skyline)).abs().mean())
    return float(torch.stack(errors).mean())


@dataclass(frozen=True)
class InputFolder:
    """What ``add_control`` needs of a runner."""

    folder: Path

    def upload(self, name: str, data: bytes) -> None:
        (self.folder / name).write_bytes(data)


def made(run_graph, host, arm, seed: int) -> torch.Tensor:
    """The panorama [3, 128, 768] of the demo's protocol with fewer steps."""
    graph = graph_of(replace(DEMO, steps=STEPS), arm, seed)
    add_control(graph, arm, seed, InputFolder(host.base / "input"))
    return run_graph(graph).outputs["image"][0][0].movedim(-1, 0)


def coherence_of(panoramas: list[torch.Tensor]) -> float:
    """Mean share of a panorama's windows at its majority's time of day."""
    judge = load_judge()
    return float(torch.stack([agreement(times_of_day(judge, side_by_side(p, 128))) for p in panoramas]).mean())


def skyline_error(panoramas: list[torch.Tensor]) -> float:
    """Mean |drawn - detected| in px."""
    found = detect(load_detector(), torch.stack(panoramas))
    return float((found - torch.stack([horizon(seed) for seed in SEEDS])).abs().mean())


def test_a_guided_panorama_follows_the_drawn_horizon(run_graph, host, own_error):
    guided, _, steered, _ = arms_of(SEEDS)
    free = [made(run_graph, host, guided, seed) for seed in SEEDS]
    drawn = [made(run_graph, host, steered, seed) for seed in SEEDS]
    assert skyline_error(drawn) < own_error + FOLLOWED_PX
    assert skyline_error(free) > 2 * skyline_error(drawn)
    # One of these eighteen windows is 5.6 points: the 2 points themselves are the benchmark's to show.
    assert coherence_of(drawn) > coherence_of(free) - 0.12
