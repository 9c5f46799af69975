"""The judge: a scene net that no guidance has seen says which time of day a picture shows.

Run from the root of the pack; the runtime of the pack never imports this file.
"""

from __future__ import annotations

import torch
from torch import Tensor

from syncdiffusion_core.perceptual.files import load_perceptual
from syncdiffusion_core.perceptual.scene_net import SceneNet

from .export import REMEDY, WEIGHTS

AROUND_FILE = WEIGHTS / "around_judge.safetensors"
OBJECTS_FILE = WEIGHTS / "objects_judge.safetensors"


def load_judge(around: bool = False) -> SceneNet:
    """The shipped judge, float32, frozen. around: the one that knows views in all directions."""
    return load_perceptual(AROUND_FILE if around else WEIGHTS / "judge.safetensors", REMEDY)


def load_objects_judge() -> SceneNet:
    """The judge of objects: its logits are of materials.MATERIALS and of materials.COLOURS, in their order."""
    return load_perceptual(OBJECTS_FILE, REMEDY)


@torch.no_grad()
def times_of_day(judge: SceneNet, windows: Tensor) -> Tensor:
    """Index into palettes.TIMES of each window [W, 3, H, W] in [0, 1]: [W]."""
    return judge.logits(windows)[0].argmax(dim=1)


@torch.no_grad()
def label_probabilities(judge: SceneNet, windows: Tensor) -> tuple[Tensor, Tensor]:
    """Of each window [W, 3, H, W] in [0, 1], over palettes.TIMES and over palettes.BIOMES: [W, 5] each, sums 1.

    Of the judge of objects, over materials and colours: [W, 6] each.
    """
    times, biomes = judge.logits(windows)
    return times.softmax(dim=1), biomes.softmax(dim=1)
