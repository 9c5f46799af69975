"""Skylines to draw: those of scenes that no training has drawn, exact or as a hand would draw them."""

import numpy as np
import torch

from bench.protocol import DEMO
from demo.horizon import smooth, straight
from demo.palettes import TIMES
from demo.scenes import scene

WIDTH = 768
FIRST_SCENE = 20_000_000
KINDS = ("exact", "smooth", "straight lines")
SMOOTH_PX, KNOT_PX = 8.0, 24


def kind_of(seed: int) -> str:
    """How a seed's skyline is drawn; kinds take turns once every place has had its own."""
    return KINDS[seed // 5 % len(KINDS)]


def horizon(seed: int) -> torch.Tensor:
    """The skyline [768] for a seed's panorama: of a scene of the same place, so that this world has such heights."""
    drawn = scene(FIRST_SCENE + seed, TIMES[seed % len(TIMES)], DEMO.prompt_of(seed), WIDTH).skyline
    if kind_of(seed) == "smooth":
        drawn = smooth(drawn, SMOOTH_PX)
    elif kind_of(seed) == "straight lines":
        drawn = straight(drawn, np.linspace(0, WIDTH - 1, WIDTH // KNOT_PX + 1))
    return torch.from_numpy(np.asarray(drawn, np.float32))
