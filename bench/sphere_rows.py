"""The rows of the table of spheres: every way to make a picture of 360 degrees that there is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from functools import cached_property

from demo.palettes import BIOMES
from syncdiffusion_core.canvases.rigs import Rig, RigKind, make_rig
from syncdiffusion_core.canvases.turning import Motion
from syncdiffusion_core.guidance.pullbacks import Gradient
from syncdiffusion_core.guidance.targets import AnchorKind
from syncdiffusion_core.strategies import Synchronisation

SIZE_PX, VIEW_PX, CELL_PX = (256, 512), (128, 128), 8
WEIGHT, STRONG = 10.0, 20.0
"""Of guidance: that of the demo's other tables, and the paper's."""
LEVEL_DEG, STEEP_DEG = 22.5, 67.5
"""Elevations from which a view's prompt says that it looks up or down, and that it sees nothing else."""


class Planar(str, Enum):
    """How a canvas of 2:1 is denoised that nobody knows to be a sphere."""

    WHOLE = "whole"
    CIRCULAR = "circular padding along the width"
    WINDOWS = "windows that wrap"


class Agree(str, Enum):
    """In what the views of a sphere agree, and through which codec."""

    LATENTS = "latents"
    LIGHT = "pictures, light codec"
    FULL = "pictures, full codec"


@dataclass(frozen=True)
class Preset:
    """What a preset of Perceptual Sync Guidance sets where views stay (``nodes/host/run/savings.py``)."""

    gradient: Gradient = Gradient.THROUGH_MODEL
    second_pass: bool = True
    light: bool = False
    span: float = 1.0
    strength: float = 1.0


REFERENCE = Preset()
BALANCED = Preset(Gradient.IMAGE_PRIOR, second_pass=False, light=True, span=2.0, strength=1.2)
FAST = Preset(Gradient.IMAGE_PRIOR, second_pass=False, light=True, span=2.0, strength=1.5)


@dataclass(frozen=True)
class Cameras:
    """A rig as people choose it. fov: degrees."""

    kind: RigKind
    count: int
    fov: float

    @cached_property
    def rig(self) -> Rig:
        """The cameras."""
        return make_rig(self.kind, self.count, math.radians(self.fov))


EIGHTEEN = Cameras(RigKind.THREE_RINGS, 8, 80.0)
TEN = Cameras(RigKind.RING_AND_POLES, 8, 90.0)
SIX = Cameras(RigKind.CUBE, 6, 95.0)
RING = Cameras(RigKind.RING, 8, 72.0)


@dataclass(frozen=True)
class SphereRow:
    """One row.

    planar: of a canvas without cameras, which has no use for the rest. target, weight: of a preset's guidance.
    """

    name: str
    title: str
    planar: Planar | None = None
    cameras: Cameras = EIGHTEEN
    agree: Agree = Agree.LIGHT
    synchronisation: Synchronisation = Synchronisation.SYNCTWEEDIES
    preset: Preset | None = None
    target: AnchorKind = AnchorKind.CENTRE
    weight: float = WEIGHT
    motion: Motion = Motion.STILL


TARGETS = {
    "front": (AnchorKind.CENTRE, "the front view"),
    "neighbours": (AnchorKind.NEIGHBOURS, "neighbours"),
    "mean": (AnchorKind.MEAN, "the mean"),
}
"""Of views that nothing but their own pictures guides. The first is the product's default."""


def _rows() -> list[SphereRow]:
    others = (each for each in Synchronisation if each is not Synchronisation.SYNCTWEEDIES)
    targets = TARGETS.items()
    return [
        SphereRow("whole", "one 2:1 canvas", Planar.WHOLE),
        SphereRow("circular", "one 2:1 canvas, circular padding", Planar.CIRCULAR),
        SphereRow("windows", "2:1 canvas, windows that wrap (MultiDiffusion)", Planar.WINDOWS),
        SphereRow("ring", "SyncTweedies' ring, 8 views of 72°", cameras=RING, agree=Agree.FULL),
        SphereRow("latents", "18 views, in latents", agree=Agree.LATENTS),
        SphereRow("light", "18 views, in pictures (light codec)"),
        SphereRow("full", "18 views, in pictures (full codec)", agree=Agree.FULL),
        SphereRow("ten", "10 views of 90°, in pictures (light codec)", cameras=TEN),
        SphereRow("turning", "6 views of 95° that turn, in pictures (light codec)", cameras=SIX, motion=Motion.TURNING),
        *(
            SphereRow(each.value, f"18 views, {each.value}, in latents", agree=Agree.LATENTS, synchronisation=each)
            for each in others
        ),
        *(
            SphereRow(f"balanced_{name}", f"18 views, light, balanced towards {title}", preset=BALANCED, target=kind)
            for name, (kind, title) in targets
        ),
        SphereRow(
            "strong_mean",
            "18 views, light, balanced towards the mean, weight 20",
            preset=BALANCED,
            target=AnchorKind.MEAN,
            weight=STRONG,
        ),
        SphereRow("reference", "18 views, light, reference towards the front view", preset=REFERENCE),
        SphereRow("fast", "18 views, light, fast towards the front view", preset=FAST),
    ]


ROWS = {row.name: row for row in _rows()}


def place_of(seed: int) -> str:
    """What the picture of a seed shows in every row: a place without its time of day."""
    return BIOMES[seed % len(BIOMES)]


def prompt_at(elevation_deg: float, place: str) -> str:
    """Of a view that looks so high: what View Prompts gives it."""
    if abs(elevation_deg) < LEVEL_DEG:
        return place
    up = elevation_deg > 0
    if abs(elevation_deg) <= STEEP_DEG:
        return f"looking {'up' if up else 'down'}, {place}"
    return f"{'zenith' if up else 'nadir'}, {place}"
