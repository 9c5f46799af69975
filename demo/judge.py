"""The judge: a scene net that no guidance has seen says which time of day and which place a picture shows.

Run from the root of the pack; the runtime of the pack never imports this file.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors import safe_open

from syncdiffusion_core.perceptual.scene_net import SceneNet

from .export import WEIGHTS
from .palettes import BIOMES, TIMES


def load_scene_net(path: str | Path) -> SceneNet:
    """Read a scene net with its constant, float32, frozen."""
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
        tensors = {key: file.get_tensor(key).float() for key in file.keys()}  # noqa: SIM118 (not a dict)
    net = SceneNet(**json.loads(metadata["config"]))
    net.load_state_dict(tensors)
    net.constant = float(metadata["constant"])
    return net.eval().requires_grad_(False)


def load_judge(path: str | Path | None = None) -> SceneNet:
    """The shipped judge."""
    return load_scene_net(path or WEIGHTS / "judge.safetensors")


@torch.no_grad()
def times_of_windows(judge: SceneNet, panorama: torch.Tensor, size: int = 128, stride: int = 64) -> torch.Tensor:
    """Time-of-day probabilities [N, windows, 5] of square windows along panoramas [N, 3, size, W] in [0, 1]."""
    windows = panorama.unfold(3, size, stride).permute(0, 3, 1, 2, 4)  # [N, windows, 3, H, size]
    return judge.logits(windows.flatten(0, 1))[0].softmax(dim=1).unflatten(0, windows.shape[:2])


def agreement(probabilities: torch.Tensor) -> torch.Tensor:
    """Share of windows that show the majority's time of day; [N, windows, 5] -> [N]."""
    return torch.stack([row.argmax(1).bincount(minlength=len(TIMES)).max() / len(row) for row in probabilities])


def names(logits: tuple[torch.Tensor, torch.Tensor]) -> list[str]:
    """Words for logits, such as "lake at dusk"."""
    return [f"{BIOMES[b]} at {TIMES[t]}" for t, b in zip(*(part.argmax(1) for part in logits), strict=True)]
