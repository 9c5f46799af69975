"""The light of five times of day: every colour a scene uses is mixed from one of these palettes."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np

TIMES = ("dawn", "noon", "sunset", "dusk", "night")
BIOMES = ("mountains", "forest", "desert", "lake", "meadow")


@dataclass(frozen=True)
class Palette:
    """Display colours [3] in [0, 1]; `light` multiplies every ground colour, `haze` swallows distance."""

    zenith: np.ndarray
    middle: np.ndarray
    horizon: np.ndarray
    light: np.ndarray
    ambient: np.ndarray
    haze: np.ndarray
    cloud_lit: np.ndarray
    cloud_shade: np.ndarray
    disc: np.ndarray
    glow: float
    disc_radius: float
    disc_height: tuple[float, float]
    stars: int


def _palette(zenith, middle, horizon, light, ambient, haze, cloud_lit, cloud_shade, disc, **numbers) -> Palette:
    colours = (zenith, middle, horizon, light, ambient, haze, cloud_lit, cloud_shade, disc)
    return Palette(*(np.array(c, np.float32) for c in colours), **numbers)


PALETTES = {
    "dawn": _palette(
        (0.60, 0.70, 0.88),
        (0.92, 0.78, 0.84),
        (1.00, 0.86, 0.76),
        (0.95, 0.72, 0.74),
        (0.16, 0.10, 0.14),
        (0.98, 0.80, 0.79),
        (1.00, 0.90, 0.86),
        (0.88, 0.68, 0.76),
        (1.00, 0.96, 0.84),
        glow=0.35,
        disc_radius=0.060,
        disc_height=(0.40, 0.56),
        stars=0,
    ),
    "noon": _palette(
        (0.10, 0.40, 0.88),
        (0.32, 0.65, 0.97),
        (0.76, 0.91, 1.00),
        (1.08, 1.06, 0.98),
        (0.02, 0.04, 0.06),
        (0.66, 0.83, 0.97),
        (1.00, 1.00, 1.00),
        (0.74, 0.83, 0.93),
        (1.00, 1.00, 0.88),
        glow=0.25,
        disc_radius=0.050,
        disc_height=(0.08, 0.20),
        stars=0,
    ),
    "sunset": _palette(
        (0.52, 0.16, 0.26),
        (0.95, 0.38, 0.14),
        (1.00, 0.76, 0.22),
        (0.92, 0.46, 0.22),
        (0.07, 0.01, 0.02),
        (0.98, 0.55, 0.20),
        (1.00, 0.62, 0.30),
        (0.66, 0.20, 0.22),
        (1.00, 0.95, 0.62),
        glow=0.55,
        disc_radius=0.075,
        disc_height=(0.42, 0.56),
        stars=0,
    ),
    "dusk": _palette(
        (0.17, 0.12, 0.42),
        (0.42, 0.24, 0.64),
        (0.82, 0.46, 0.74),
        (0.46, 0.28, 0.64),
        (0.06, 0.01, 0.12),
        (0.54, 0.34, 0.68),
        (0.66, 0.42, 0.74),
        (0.30, 0.18, 0.48),
        (0.98, 0.84, 0.94),
        glow=0.22,
        disc_radius=0.040,
        disc_height=(0.14, 0.36),
        stars=9,
    ),
    "night": _palette(
        (0.02, 0.03, 0.12),
        (0.03, 0.08, 0.25),
        (0.07, 0.20, 0.40),
        (0.14, 0.25, 0.42),
        (0.01, 0.02, 0.06),
        (0.07, 0.17, 0.34),
        (0.17, 0.27, 0.44),
        (0.06, 0.11, 0.24),
        (0.96, 0.97, 0.88),
        glow=0.25,
        disc_radius=0.055,
        disc_height=(0.10, 0.30),
        stars=36,
    ),
}


def jittered(palette: Palette, rng: np.random.Generator, amount: float = 0.025) -> Palette:
    """A palette moved a little: days differ, but never as much as times of day do."""
    moved = {}
    for field in fields(palette):
        value = getattr(palette, field.name)
        if isinstance(value, np.ndarray):
            scale = 1 + amount * rng.standard_normal() + 0.6 * amount * rng.standard_normal(3)
            moved[field.name] = np.clip(value * scale, 0, 1.15).astype(np.float32)
    return replace(palette, **moved)
