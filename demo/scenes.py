"""Procedural landscapes: five times of day x five biomes, drawn as wide strips, deterministic by seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .brushes import (
    SUPERSAMPLE,
    Strip,
    conifers,
    lit,
    mix,
    noise_1d,
    noise_2d,
    paint,
    paint_blob,
    paint_ground,
    smoothstep,
)
from .palettes import BIOMES, PALETTES, TIMES, jittered

HEIGHT = 128

GRASS, PINE, LEAF = (0.36, 0.62, 0.20), (0.10, 0.32, 0.20), (0.20, 0.48, 0.14)
ROCK, SNOW, SAND = (0.44, 0.44, 0.52), (0.96, 0.98, 1.00), (0.95, 0.76, 0.46)
FLOWERS = ((0.98, 0.30, 0.34), (1.00, 0.88, 0.25), (0.98, 0.97, 0.95), (0.72, 0.45, 0.95))


def paint_sky(strip: Strip, horizon: float) -> None:
    """Zenith to middle to horizon; what is below the horizon gets painted over."""
    p = strip.palette
    y = (np.arange(strip.height, dtype=np.float32) / horizon)[:, None]
    upper = mix(p.zenith, p.middle, smoothstep(0, 0.62, y))
    strip.image[:] = mix(upper, p.horizon, smoothstep(0.45, 1.05, y))[:, None]


def paint_disc(strip: Strip, horizon: float) -> float | None:
    """Sun or moon with its glow, in a bit more than half of the strips; returns its x."""
    if strip.rng.random() > 0.55:
        return None
    p = strip.palette
    x, y = strip.rng.uniform(0, strip.width), strip.rng.uniform(*p.disc_height) * strip.height
    y = min(y, horizon)
    rows = np.arange(strip.height, dtype=np.float32)[:, None] - y
    columns = np.arange(strip.width, dtype=np.float32)[None] - x
    distance = np.sqrt(rows**2 + columns**2) / strip.height
    paint(strip, 0, p.glow * np.exp(-((distance / 0.17) ** 1.3)), p.disc)
    paint(strip, 0, smoothstep(0.008, -0.008, distance - p.disc_radius), p.disc)
    return x


def paint_stars(strip: Strip, horizon: float) -> None:
    """Soft discs, large enough to survive an 8x autoencoder, denser near the zenith."""
    count = int(strip.palette.stars * strip.width / (384 * SUPERSAMPLE))
    for _ in range(count):
        x, y = strip.rng.uniform(0, strip.width), horizon * 0.8 * strip.rng.random() ** 1.3
        radius = strip.rng.uniform(2.2, 3.6)
        colour = mix(strip.palette.middle, np.float32(1), 0.75)
        paint_blob(strip, x, y, (radius, radius), colour, softness=2.5, in_sky=True)


def paint_clouds(strip: Strip, horizon: float, cover: float) -> None:
    """Fractal clouds, lit from above; cover in [0, 1]."""
    rows = int(horizon * 0.95)
    field = noise_2d(strip.rng, rows, strip.width, (0.34 * strip.height, 0.85 * strip.height), 4, strip.loops)
    band = smoothstep(0.0, 0.25, np.linspace(0, 1, rows)) * smoothstep(1.0, 0.7, np.linspace(0, 1, rows))
    density = smoothstep(0.0, 0.55, field + 0.9 * cover - 0.62) * band[:, None].astype(np.float32)
    under = np.roll(field, 7, axis=0) - field
    shade = smoothstep(-0.25, 0.35, -under)[..., None]
    colour = mix(strip.palette.cloud_lit, strip.palette.cloud_shade, 1 - shade)
    paint(strip, 0, 0.88 * density, colour)


def ridge(strip: Strip, base: float, height: float, wavelength: float, octaves: int, sharp: bool = False) -> np.ndarray:
    """Edge [W] of a chain of hills (or, sharp, of peaks) standing on row base."""
    noise = noise_1d(strip.rng, strip.width, wavelength, octaves, 0.48, strip.loops)
    shape = 1 - np.abs(noise) if sharp else 0.5 + 0.45 * noise
    return base - height * shape


def paint_peaks(strip: Strip, base: float, height: float, depth: float, snow: float) -> None:
    """A chain of peaks with slanting facets; snow: share of the height that is white."""
    edge = ridge(strip, base, height, 190, 4, sharp=True)
    top, below = paint_ground(strip, edge, lit(strip, ROCK, depth), lit(strip, (0.30, 0.36, 0.34), depth))
    columns = np.arange(strip.width, dtype=np.float32)[None]
    span = strip.width if strip.loops else 3 * strip.width
    facets = noise_1d(strip.rng, span, 46, 3, loops=strip.loops)
    facet = facets[strip.within(columns + 0.9 * below + strip.width // 2, span)]
    inside = np.clip(below + 0.5, 0, 1) * smoothstep(0.5 * height, 0.1 * height, below)
    paint(strip, top, inside * smoothstep(0.0, 0.5, facet) * 0.45, lit(strip, (0.22, 0.22, 0.32), depth))
    line = snow * height * (1 + 0.5 * facet) - below - 0.9 * np.clip(edge - (base - height), 0, None)[None]
    paint(strip, top, np.clip(below + 0.5, 0, 1) * smoothstep(-3, 3, line) * 0.92, lit(strip, SNOW, depth * 0.8))


def paint_trees(strip: Strip, base: float, height: tuple[float, float], count: int, depth: float, colour=PINE) -> None:
    """A row of conifers standing on row base; count per 384 px."""
    ground = ridge(strip, base, 0.05 * strip.height, 260, 2)
    edge = ground - conifers(strip, int(count * strip.width / 768), height, 0.30)
    paint_ground(strip, edge, lit(strip, np.multiply(colour, 1.15), depth), lit(strip, np.multiply(colour, 0.6), depth))


def paint_round_tree(strip: Strip, x: float, y: float, size: float, depth: float) -> None:
    """A trunk at (x, y) and six overlapping leafy discs."""
    paint_blob(strip, x, y, (0.55 * size, 0.07 * size), lit(strip, (0.34, 0.22, 0.14), depth))
    for _ in range(6):
        dx, dy = strip.rng.normal(0, 0.26, 2) * size
        shade = strip.rng.uniform(0.75, 1.2) - 0.3 * dy / size
        radius = size * strip.rng.uniform(0.30, 0.42)
        paint_blob(
            strip,
            x + dx,
            y - 0.8 * size + 0.6 * dy,
            (0.85 * radius, radius),
            lit(strip, np.multiply(LEAF, shade), depth),
            softness=3,
        )


def draw_mountains(strip: Strip, horizon: float, disc_x: float | None) -> None:
    """Two chains of peaks, a green slope, a few conifers."""
    h = strip.height
    paint_peaks(strip, horizon + 0.02 * h, 0.40 * h, 0.50, 0.42)
    paint_peaks(strip, horizon + 0.08 * h, 0.27 * h, 0.18, 0.30)
    paint_ground(
        strip,
        ridge(strip, horizon + 0.16 * h, 0.10 * h, 280, 2),
        lit(strip, GRASS, 0.10),
        lit(strip, np.multiply(GRASS, 0.55)),
        0.10,
    )
    paint_trees(strip, h * 0.99, (0.06 * h, 0.17 * h), 26, 0.0)


def draw_forest(strip: Strip, horizon: float, disc_x: float | None) -> None:
    """Four rows of conifers in thinning haze."""
    h = strip.height
    for step, depth in enumerate((0.62, 0.40, 0.20, 0.04)):
        grow = 1 + 0.55 * step
        paint_trees(
            strip,
            horizon + (0.02 + 0.085 * step) * h,
            (0.05 * h * grow, 0.11 * h * grow),
            int(95 / grow),
            depth,
            np.multiply(PINE, 1.25 - 0.12 * step),
        )
    paint_ground(strip, ridge(strip, h * 0.97, 0.05 * h, 300, 2), lit(strip, LEAF), lit(strip, np.multiply(LEAF, 0.6)))


def paint_cactus(strip: Strip, x: float, y: float, size: float) -> None:
    """A column with two raised arms."""
    colour = lit(strip, (0.16, 0.36, 0.18))
    paint_blob(strip, x, y - 0.5 * size, (0.55 * size, 0.11 * size), colour)
    for side, at in ((-1, 0.55), (1, 0.42)):
        paint_blob(strip, x + side * 0.16 * size, y - at * size, (0.07 * size, 0.17 * size), colour)
        paint_blob(strip, x + side * 0.28 * size, y - (at + 0.13) * size, (0.19 * size, 0.07 * size), colour)


def draw_desert(strip: Strip, horizon: float, disc_x: float | None) -> None:
    """Mesas far away, three rows of dunes, some cactuses."""
    h, rng = strip.height, strip.rng
    mesa = smoothstep(0.0, 0.16, noise_1d(rng, strip.width, 210, 2, loops=strip.loops)) * rng.uniform(0.10, 0.20) * h
    paint_ground(strip, horizon - mesa, lit(strip, (0.74, 0.40, 0.28), 0.42), lit(strip, (0.70, 0.42, 0.30), 0.5))
    for step, depth in enumerate((0.34, 0.16, 0.0)):
        edge = ridge(strip, horizon + (0.05 + 0.11 * step) * h, 0.11 * h, 300, 2)
        top, below = paint_ground(strip, edge, lit(strip, SAND, depth), lit(strip, np.multiply(SAND, 0.82), depth))
        slope = np.gradient(edge)[None]
        side = smoothstep(-0.05, 0.16, slope + 0.06 * np.sin(below / 9)) * smoothstep(0.22 * h, 0.0, below)
        paint(strip, top, 0.75 * side * np.clip(below + 0.5, 0, 1), lit(strip, (0.62, 0.38, 0.26), depth))
    for _ in range(rng.integers(1, 5)):
        paint_cactus(strip, rng.uniform(0, strip.width), rng.uniform(0.80, 0.97) * h, rng.uniform(0.12, 0.22) * h)


def paint_water(strip: Strip, shore: int, disc_x: float | None) -> None:
    """Mirror the rows above the shore, darken them, and let rows sway."""
    rows = strip.height - shore
    sway = noise_1d(strip.rng, rows, 12, 2) * np.linspace(1, 7, rows, dtype=np.float32)
    source = np.clip(shore - 1 - (np.arange(rows) * 1.25).astype(np.int64), 0, None)
    columns = strip.within(np.arange(strip.width)[None] + sway[:, None].astype(np.int64), strip.width)
    mirror = strip.image[source[:, None], columns]
    water = lit(strip, (0.12, 0.36, 0.52), 0.12)
    depth = np.linspace(0.18, 0.62, rows, dtype=np.float32)[:, None, None]
    strip.image[shore:] = mix(mirror, water, depth)
    ripples = smoothstep(0.35, 0.9, noise_2d(strip.rng, rows, strip.width, (7, 60), 2, strip.loops))
    paint(strip, shore, 0.22 * ripples, strip.palette.horizon)
    if disc_x is not None:
        spread = np.linspace(7, 30, rows, dtype=np.float32)[:, None]
        column = np.exp(-(((np.arange(strip.width)[None] - disc_x) / spread) ** 2))
        sparkle = smoothstep(-0.3, 0.5, noise_2d(strip.rng, rows, strip.width, (9, 40), 2, strip.loops))
        paint(strip, shore, (0.7 * column * sparkle).astype(np.float32), strip.palette.disc)


def draw_lake(strip: Strip, horizon: float, disc_x: float | None) -> None:
    """Peaks and trees in the mirror of a lake, often a near bank."""
    h = strip.height
    paint_peaks(strip, horizon, 0.24 * h, 0.50, 0.34)
    paint_trees(strip, horizon + 0.025 * h, (0.025 * h, 0.07 * h), 80, 0.26)
    paint_water(strip, int(horizon + 0.02 * h), disc_x)
    if strip.rng.random() < 0.6:
        bank = ridge(strip, h * 1.03, 0.14 * h, 360, 2)
        paint_ground(strip, bank, lit(strip, np.multiply(GRASS, 0.7)), lit(strip, np.multiply(GRASS, 0.35)), 0.1)


def paint_flowers(strip: Strip, top: float) -> None:
    """Two colours of flowers below row top, larger and denser nearby."""
    colours = [FLOWERS[i] for i in strip.rng.choice(len(FLOWERS), 2, replace=False)]
    for _ in range(int(52 * strip.width / 768)):
        near = strip.rng.random() ** 0.7
        y, size = top + near * (strip.height - top), 3.0 + 4.4 * near
        colour = lit(strip, colours[strip.rng.integers(2)])
        paint_blob(strip, strip.rng.uniform(0, strip.width), y, (0.8 * size, size), colour)


def draw_meadow(strip: Strip, horizon: float, disc_x: float | None) -> None:
    """Three hills, round trees, flowers in front."""
    h, rng = strip.height, strip.rng
    paint_ground(strip, ridge(strip, horizon, 0.12 * h, 330, 2), lit(strip, LEAF, 0.55), lit(strip, GRASS, 0.5))
    for step, depth in enumerate((0.26, 0.06)):
        edge = ridge(strip, horizon + (0.06 + 0.12 * step) * h, 0.10 * h, 360, 2)
        bright = np.multiply(GRASS, 1.25 - 0.1 * step)
        paint_ground(strip, edge, lit(strip, bright, depth), lit(strip, np.multiply(bright, 0.7), depth), 0.10)
        for _ in range(rng.integers(1, 4)):
            x = rng.integers(0, strip.width)
            paint_round_tree(strip, x, edge[x], rng.uniform(0.08, 0.13) * h * (1 + 0.6 * step), depth)
    paint_flowers(strip, horizon + 0.20 * h)


DRAW = dict(zip(BIOMES, (draw_mountains, draw_forest, draw_desert, draw_lake, draw_meadow), strict=True))


def cloud_cover(seed: int) -> float:
    """How cloudy a scene is, in [0, 1]; captions and pictures agree on it."""
    return float(np.random.default_rng([seed, 7]).random())


@dataclass(frozen=True)
class Scene:
    """A finished strip. image: uint8 [128, width, 3]. skyline: float32 [width], the rows of sky above the land."""

    image: np.ndarray
    skyline: np.ndarray


def scene(seed: int, time: str, biome: str, width: int = 384) -> Scene:
    """Draw one strip, the same for the same arguments."""
    rng = np.random.default_rng([seed, TIMES.index(time), BIOMES.index(biome)])
    shape = (HEIGHT * SUPERSAMPLE, width * SUPERSAMPLE)
    strip = Strip(np.zeros((*shape, 3), np.float32), jittered(PALETTES[time], rng), rng, np.zeros(shape, np.float32))
    horizon = rng.uniform(0.56, 0.62) * strip.height
    paint_sky(strip, horizon)
    paint_stars(strip, horizon)
    disc_x = paint_disc(strip, horizon)
    if cloud_cover(seed) > 0.3:
        paint_clouds(strip, horizon, cloud_cover(seed))
    DRAW[biome](strip, horizon, disc_x)
    small = strip.image.reshape(HEIGHT, SUPERSAMPLE, width, SUPERSAMPLE, 3).mean(axis=(1, 3))
    return Scene((np.clip(small, 0, 1) * 255 + 0.5).astype(np.uint8), skyline_of(strip))


def skyline_of(strip: Strip) -> np.ndarray:
    """Pixels of sky above the topmost land of each column, a soft edge by its share: float32 [width]."""
    sky = 1 - np.maximum.accumulate(strip.land, axis=0)
    return sky.sum(axis=0).reshape(-1, SUPERSAMPLE).mean(axis=1) / SUPERSAMPLE


def render(seed: int, time: str, biome: str, width: int = 384) -> np.ndarray:
    """The picture of a scene alone; uint8 [128, width, 3]."""
    return scene(seed, time, biome, width).image
