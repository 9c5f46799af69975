"""Brushes of the procedural scenes: smooth noise, ridges, discs, clouds on one supersampled strip.

Convention: y runs down, in supersampled pixels; masks are in [0, 1]; colours are float32 [3] or [h, W, 3].
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .palettes import Palette

SUPERSAMPLE = 2


@dataclass
class Strip:
    """One picture in the making: image [H, W, 3] float32, its palette and its randomness.

    land [H, W] in [0, 1]: how much of the sky the ground and what grows on it hide so far.
    loops: whether its right end is its left one.
    """

    image: np.ndarray
    palette: Palette
    rng: np.random.Generator
    land: np.ndarray
    loops: bool = False

    @property
    def height(self) -> int:
        return self.image.shape[0]

    @property
    def width(self) -> int:
        return self.image.shape[1]

    def columns(self, start: int, stop: int) -> slice | np.ndarray:
        """Those of start .. stop that there are; of a strip that loops, all of them, around."""
        return np.arange(start, stop) % self.width if self.loops else slice(max(0, start), max(0, stop))

    def within(self, index: np.ndarray, count: int) -> np.ndarray:
        """Numbers below count of places [...] of which some lie beyond: around, or at the ends."""
        index = index.astype(np.int64)
        return index % count if self.loops else np.clip(index, 0, count - 1)


def _interpolation(samples: int, knots: int) -> np.ndarray:
    """Cosine interpolation matrix [samples, knots]."""
    position = np.linspace(0, knots - 1.001, samples, dtype=np.float32)
    left = position.astype(np.int64)
    weight = 0.5 - 0.5 * np.cos(np.pi * (position - left))
    matrix = np.zeros((samples, knots), np.float32)
    matrix[np.arange(samples), left] = 1 - weight
    matrix[np.arange(samples), left + 1] = weight
    return matrix


def noise_1d(
    rng: np.random.Generator, width: int, wavelength: float, octaves: int, gain: float = 0.5, loops: bool = False
) -> np.ndarray:
    """Fractal value noise [width] in about [-1, 1]; wavelength of the first octave in samples. loops: end to end."""
    total = np.zeros(width, np.float32)
    for octave in range(octaves):
        knots = max(3, int(width * 2**octave / wavelength) + 2)
        values = rng.uniform(-1, 1, knots).astype(np.float32)
        if loops:
            values[-1] = values[0]
        total += gain**octave * (_interpolation(width, knots) @ values)
    return total


def noise_2d(
    rng: np.random.Generator,
    height: int,
    width: int,
    wavelength: tuple[float, float],
    octaves: int,
    loops: bool = False,
) -> np.ndarray:
    """Fractal value noise [height, width] in about [-1, 1]; wavelength (y, x) of the first octave; loops: in x."""
    total = np.zeros((height, width), np.float32)
    for octave in range(octaves):
        rows = max(3, int(height * 2**octave / wavelength[0]) + 2)
        columns = max(3, int(width * 2**octave / wavelength[1]) + 2)
        grid = rng.uniform(-1, 1, (rows, columns)).astype(np.float32)
        if loops:
            grid[:, -1] = grid[:, 0]
        total += 0.5**octave * (_interpolation(height, rows) @ grid @ _interpolation(width, columns).T)
    return total


def smoothstep(low: float, high: float, value: np.ndarray) -> np.ndarray:
    """0 at low, 1 at high (which may be the smaller), flat at both ends."""
    t = np.clip((value - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def mix(a: np.ndarray, b: np.ndarray, weight) -> np.ndarray:
    """a at weight 0, b at weight 1."""
    return a + (b - a) * weight


def paint(strip: Strip, top: int, mask: np.ndarray, colour: np.ndarray) -> None:
    """Lay colour over rows top .. top + len(mask) with opacity mask [h, W]."""
    region = strip.image[top : top + len(mask)]
    region += (colour - region) * mask[..., None]


def lit(strip: Strip, colour: np.ndarray, depth: float = 0.0) -> np.ndarray:
    """A ground colour under the time's light, seen through haze; depth 0 is near, 1 is all haze."""
    colour = np.asarray(colour, np.float32)
    return mix(colour * strip.palette.light + strip.palette.ambient, strip.palette.haze, depth)


def paint_ground(strip: Strip, profile: np.ndarray, upper: np.ndarray, lower: np.ndarray, texture: float = 0.0):
    """Fill below profile [W] (y of the edge), upper colour to lower; gives top row and depth below the edge."""
    top = int(np.clip(np.floor(profile.min()) - 1, 0, strip.height - 1))
    below = np.arange(top, strip.height, dtype=np.float32)[:, None] - profile[None]
    fade = smoothstep(0, 0.30 * strip.height, below)[..., None]
    colour = mix(np.asarray(upper, np.float32), np.asarray(lower, np.float32), fade)
    if texture:
        grain = noise_2d(strip.rng, len(below), strip.width, (14, 44), 2, strip.loops)[..., None]
        colour = colour * (1 + texture * grain)
    ground = np.clip(below + 0.5, 0, 1)
    paint(strip, top, ground, colour)
    _hide(strip.land[top:], ground)
    return top, below


def _hide(land: np.ndarray, mask: np.ndarray) -> None:
    """Land over land, in place: what shows through the one is hidden by the other."""
    land += (1 - land) * mask


def paint_blob(
    strip: Strip, x: float, y: float, radius: tuple[float, float], colour, softness: float = 2.0, in_sky: bool = False
) -> None:
    """A soft-edged ellipse; radius (y, x) in supersampled pixels; in_sky: it is no land."""
    pad = softness + 1
    rows = slice(max(0, int(y - radius[0] - pad)), max(0, int(y + radius[0] + pad) + 1))
    first, last = int(x - radius[1] - pad), int(x + radius[1] + pad) + 1
    columns = strip.columns(first, last)
    region = strip.image[rows, columns]
    yy = (np.arange(region.shape[0], dtype=np.float32) + rows.start - y)[:, None] / radius[0]
    left = first if strip.loops else max(0, first)
    xx = (np.arange(region.shape[1], dtype=np.float32) + left - x)[None] / radius[1]
    edge = (1 - np.sqrt(yy * yy + xx * xx)) * min(radius) / softness
    mask = np.clip(edge + 0.5, 0, 1)
    strip.image[rows, columns] = region + (np.asarray(colour, np.float32) - region) * mask[..., None]
    if not in_sky:
        land = strip.land[rows, columns]
        strip.land[rows, columns] = land + (1 - land) * mask


def conifers(strip: Strip, count: int, height: tuple[float, float], slim: float) -> np.ndarray:
    """Tree tops [W] above a line: the upper hull of triangles with slightly stepped sides."""
    rng, width = strip.rng, strip.width
    hull = np.zeros(width, np.float32)
    for centre, tall in zip(rng.uniform(-8, width + 8, count), rng.uniform(*height, count), strict=True):
        low, high = centre - tall * slim, centre + tall * slim + 1
        low, high = (int(np.floor(low)), int(high)) if strip.loops else (int(max(0, low)), int(min(width, high)))
        if low < high:
            side = 1 - np.abs(np.arange(low, high, dtype=np.float32) - centre) / (tall * slim)
            stepped = side + 0.05 * np.sin(side * 22)
            columns = strip.columns(low, high)
            hull[columns] = np.maximum(hull[columns], tall * np.clip(stepped, 0, 1))
    return hull
