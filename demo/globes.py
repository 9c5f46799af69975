"""The procedural world all around one point: a sky to the zenith, land to the nadir, one sun or moon.

Convention: equirectangular, the middle of the picture looks along -Z, as ``syncdiffusion_core.canvases.sphere`` has it.
The band around the horizon is a strip whose ends meet; what is above and below it is painted on planes, which have no
poles.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from syncdiffusion_core.canvases.sphere import directions_of

from .brushes import SUPERSAMPLE, Strip, lit, mix, noise_2d, paint, paint_blob, smoothstep
from .palettes import BIOMES, PALETTES, TIMES, jittered
from .scenes import DRAW, FLOWERS, GRASS, LEAF, SAND, cloud_cover, paint_clouds, paint_sky, paint_stars

SIZE = (256 * SUPERSAMPLE, 512 * SUPERSAMPLE)
"""Of a globe: a degree is a bit more than one pixel of a scene, which a view of 80 degrees then shows as large."""
BAND = SIZE[0] // 2
"""Rows of the strip around the horizon: 90 degrees."""
PLAN = 512
"""Side of a plan, the picture of the ground or of the clouds from straight above or below."""
GROUND, CLOUDS = 2.4, 1.4
"""Half of what a plan shows, in heights of the eye above the ground or of the clouds above the eye."""
FLOORS = {"mountains": GRASS, "forest": LEAF, "desert": SAND, "lake": None, "meadow": GRASS}
"""Colours of the ground underfoot; water goes on as it is."""


@dataclass(frozen=True)
class Globe:
    """image: uint8 [512, 1024, 3]. skyline: float32 [1024], the elevation of the topmost land, in radians."""

    image: np.ndarray
    skyline: np.ndarray


def globe(seed: int, time: str, biome: str) -> Globe:
    """Draw a scene all around, the same for the same arguments."""
    rng = np.random.default_rng([seed, TIMES.index(time), BIOMES.index(biome), 360])
    palette, cover = jittered(PALETTES[time], rng), cloud_cover(seed)
    image, land = np.zeros((*SIZE, 3), np.float32), np.zeros(SIZE, np.float32)
    horizon = rng.uniform(0.56, 0.62) * BAND
    top = SIZE[0] // 2 - round(horizon)
    image[:top] = palette.zenith
    strip = Strip(image[top : top + BAND], palette, rng, land[top : top + BAND], loops=True)
    paint_sky(strip, horizon)
    paint_stars(strip, horizon)
    sky = Strip(image, palette, rng, land, loops=True)
    _paint_zenith_stars(sky)
    column = _paint_disc(sky, horizon)
    if cover > 0.3:
        paint_clouds(strip, horizon, cover)
        _paint_zenith_clouds(sky, cover)
    DRAW[biome](strip, horizon, column)
    _paint_ground(sky, biome, top + BAND)
    return Globe((np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8), _skyline(land))


def _paint_disc(sky: Strip, horizon: float) -> float | None:
    """Sun or moon, as ``scenes.paint_disc`` has it, but round in every view; returns its column."""
    if sky.rng.random() > 0.75:
        return None
    p = sky.palette
    column, row = sky.rng.uniform(0, sky.width), min(sky.rng.uniform(*p.disc_height) * BAND, horizon)
    elevation, azimuth = (horizon - row) / BAND * math.pi / 2, (column / sky.width - 0.5) * math.tau
    across = math.cos(elevation)
    towards = [across * math.sin(azimuth), math.sin(elevation), -across * math.cos(azimuth)]
    cosine = directions_of(SIZE).numpy() @ np.array(towards)
    distance = (np.arccos(np.clip(cosine, -1, 1)) / (math.pi / 2)).astype(np.float32)
    paint(sky, 0, p.glow * np.exp(-((distance / 0.17) ** 1.3)), p.disc)
    paint(sky, 0, smoothstep(0.008, -0.008, distance - p.disc_radius), p.disc)
    return column


def _paint_zenith_stars(sky: Strip) -> None:
    """Those above the strip, which has its own."""
    if not sky.palette.stars:
        return
    plan = _plan(sky, np.zeros(3, np.float32))
    colour, reach = np.ones(3, np.float32), math.tan(math.radians(38)) / CLOUDS * PLAN / 2
    for _ in range(sky.palette.stars):
        x, y = PLAN / 2 + sky.rng.uniform(-reach, reach, 2)
        radius = sky.rng.uniform(2.6, 4.2)
        paint_blob(plan, x, y, (radius, radius), colour, softness=2.5, in_sky=True)
    mask = _seen(plan.image, CLOUDS, above=True)[..., 0]
    paint(sky, 0, mask, mix(sky.palette.middle, np.float32(1), 0.75))


def _paint_zenith_clouds(sky: Strip, cover: float) -> None:
    """Fractal clouds on a plane overhead, where those of the strip end."""
    field = noise_2d(sky.rng, PLAN, PLAN, (0.3 * PLAN, 0.3 * PLAN), 4)
    density = smoothstep(0.0, 0.55, field + 0.9 * cover - 0.62)
    shade = smoothstep(-0.2, 0.4, np.roll(field, 9, axis=0) - field)
    both = _seen(np.stack([density, shade], axis=-1), CLOUDS, above=True)
    colour = mix(sky.palette.cloud_lit, sky.palette.cloud_shade, both[..., 1:])
    mask = 0.88 * both[..., 0] * smoothstep(math.radians(36), math.radians(54), _elevations())[:, None]
    paint(sky, 0, mask, colour)


def _paint_ground(sky: Strip, biome: str, bottom: int) -> None:
    """From where the strip ends to the nadir; it fades into the strip over its last rows."""
    last, p = sky.image[bottom - 1].mean(axis=0), sky.palette
    floor = GRASS if biome == "lake" and sky.land[bottom - 1].mean() > 0.5 else FLOORS[biome]  # a bank, or none
    base = last if floor is None else mix(last, lit(sky, np.multiply(floor, 0.75)), 0.5)
    plan = _plan(sky, base)
    grain = noise_2d(sky.rng, PLAN, PLAN, (0.12 * PLAN, 0.12 * PLAN), 3)[..., None]
    if floor is None:
        ripples = smoothstep(0.35, 0.9, noise_2d(sky.rng, PLAN, PLAN, (18, 60), 2))
        paint(plan, 0, 0.22 * ripples, p.horizon)
        plan.image *= 1 + 0.06 * grain
    elif biome == "desert":
        waves = np.sin((np.arange(PLAN)[:, None] + 26 * noise_2d(sky.rng, PLAN, PLAN, (150, 150), 2)) / 9)
        plan.image *= 1 + 0.10 * smoothstep(-1, 1, waves)[..., None] - 0.06 + 0.05 * grain
    else:
        plan.image *= 1 + 0.16 * grain
    if biome == "meadow":
        _paint_flowers(plan)
    elevation = _elevations()
    fade = smoothstep(elevation[bottom - 1] + math.radians(7), elevation[bottom - 1], elevation)
    paint(sky, 0, np.broadcast_to(fade[:, None], SIZE), _seen(plan.image, GROUND, above=False))
    sky.land[bottom:] = 1


def _paint_flowers(plan: Strip) -> None:
    """From above: discs, as large as those in front of the meadow."""
    colours = [FLOWERS[i] for i in plan.rng.choice(len(FLOWERS), 2, replace=False)]
    for _ in range(90):
        x, y = plan.rng.uniform(0, PLAN, 2)
        size = plan.rng.uniform(4.0, 7.0)
        paint_blob(plan, x, y, (size, size), lit(plan, colours[plan.rng.integers(2)]))


def _plan(sky: Strip, colour: np.ndarray) -> Strip:
    """An empty plan of one colour, under the same light."""
    image = np.broadcast_to(np.asarray(colour, np.float32), (PLAN, PLAN, 3)).copy()
    return Strip(image, sky.palette, sky.rng, np.zeros((PLAN, PLAN), np.float32))


def _seen(plan: np.ndarray, half: float, above: bool) -> np.ndarray:
    """A plan [P, P, C] as the eye sees it: [*SIZE, C]; 0 where it does not reach, and on the other half."""
    directions = directions_of(SIZE).float()
    height = directions[..., 1] if above else -directions[..., 1]
    places = directions[..., [0, 2]] / (height.clamp(min=1e-6) * half)[..., None]
    pixels = torch.from_numpy(np.ascontiguousarray(plan)).float().movedim(-1, 0)[None]
    seen = F.grid_sample(pixels, places[None].clamp(-9, 9), align_corners=False)
    return seen[0].movedim(0, -1).numpy() * (height > 0).numpy()[..., None]


def _elevations() -> np.ndarray:
    """Of the rows, in radians: [H]."""
    return ((0.5 - (np.arange(SIZE[0]) + 0.5) / SIZE[0]) * math.pi).astype(np.float32)


def _skyline(land: np.ndarray) -> np.ndarray:
    """Elevation of the topmost land of each column."""
    sky = (1 - np.maximum.accumulate(land, axis=0)).sum(axis=0)
    return ((0.5 - sky / SIZE[0]) * math.pi).astype(np.float32)
