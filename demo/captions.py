"""Captions of the procedural scenes: few words, many synonyms, the time of day left out of half of them."""

from __future__ import annotations

import numpy as np

from .palettes import BIOMES, TIMES

TIME_WORDS = {
    "dawn": ("dawn", "sunrise", "morning", "daybreak"),
    "noon": ("noon", "midday", "day", "daylight"),
    "sunset": ("sunset", "sundown", "evening"),
    "dusk": ("dusk", "twilight", "nightfall"),
    "night": ("night", "midnight", "moonlight"),
}
BIOME_WORDS = {
    "mountains": ("mountains", "mountain", "peaks", "alps", "ridges"),
    "forest": ("forest", "woods", "woodland", "pines", "conifers"),
    "desert": ("desert", "dunes", "sand", "cactus"),
    "lake": ("lake", "water", "shore", "lakeside"),
    "meadow": ("meadow", "field", "flowers", "grassland"),
}
CLOUDY_WORDS, CLEAR_WORDS = ("clouds", "cloudy", "overcast"), ("clear", "cloudless")
PICTURE_WORDS = ("panorama", "landscape", "scenery", "view")
# fmt: off
FILLERS = frozenset((
    "a", "an", "the", "of", "at", "in", "on", "by", "with", "and", "under", "over", "some", "very",
    "photo", "photograph", "picture", "image", "painting", "illustration", "beautiful", "pretty",
    "detailed", "highly", "quality", "best", "masterpiece", "high", "resolution", "4k", "8k", "hd",
    "uhd", "wide", "sky", "scene", "stunning", "professional", "sharp", "realistic", "cinematic",
    "looking", "straight", "towards",
))
# fmt: on

VOCABULARY = sorted(
    {word for table in (TIME_WORDS, BIOME_WORDS) for words in table.values() for word in words}
    | set(CLOUDY_WORDS)
    | set(CLEAR_WORDS)
    | set(PICTURE_WORDS)
)

ELEVATION_WORDS = {
    "zenith": ("zenith", "overhead"),
    "up": ("up", "upward", "above"),
    "horizon": ("ahead", "horizon"),
    "down": ("down", "downward", "below"),
    "nadir": ("nadir", "underfoot", "ground"),
}
"""Of views that look up or down: the model that looks around knows these too."""
VOCABULARY_AROUND = VOCABULARY + sorted(word for words in ELEVATION_WORDS.values() for word in words)

CLOUDY_ABOVE, CLEAR_BELOW = 0.6, 0.3
TEMPLATES = (
    "{biome} at {time}",
    "{biome}, {time}",
    "{time} {biome}",
    "a {picture} of {biome} at {time}",
    "{picture} of a {biome} in the {time}",
)
SKY_TEMPLATES = ("sky at {time}", "{time} sky", "a {picture} of the {time} sky")
TIMELESS_SKY_TEMPLATES = ("sky", "a {picture} of the sky")
"""Of views that see nothing else."""
TIMELESS_TEMPLATES = (
    "{biome}",
    "{biome}",
    "a {picture} of {biome}",
    "{biome} {picture}",
    "{picture} with {biome}",
)


def _sky_words(rng: np.random.Generator, cover: float) -> str:
    if rng.random() < 0.5 or CLEAR_BELOW < cover < CLOUDY_ABOVE:
        return ""
    return f", {rng.choice(CLOUDY_WORDS if cover >= CLOUDY_ABOVE else CLEAR_WORDS)}"


def caption(rng: np.random.Generator, time: str, biome: str, cover: float, with_time: bool | None = None) -> str:
    """One caption such as "mountains at sunset, clouds"; with_time None: the time in every other one."""
    if with_time is None:
        with_time = rng.random() < 0.5
    template = rng.choice(TEMPLATES if with_time else TIMELESS_TEMPLATES)
    places = BIOME_WORDS[biome] if rng.random() < 0.94 else ("landscape",)
    words = {
        "biome": rng.choice(places),
        "time": rng.choice(TIME_WORDS[time]),
        "picture": rng.choice(PICTURE_WORDS),
    }
    return template.format(**words) + _sky_words(rng, cover)


def caption_around(rng: np.random.Generator, time: str, biome: str, cover: float, elevation: float) -> str:
    """One caption of a view that looks so high, in degrees: "looking up, forest at noon"; at the horizon as ever."""
    where = _where(elevation)
    if where == "zenith" and rng.random() < 0.35:
        templates = SKY_TEMPLATES if rng.random() < 0.5 else TIMELESS_SKY_TEMPLATES
        words = {"time": rng.choice(TIME_WORDS[time]), "picture": rng.choice(PICTURE_WORDS)}
        text = rng.choice(templates).format(**words) + _sky_words(rng, cover)
    else:
        text = caption(rng, time, biome, cover)
    told = 0.3 if where == "horizon" else 0.95
    if rng.random() >= told:
        return text
    near = {"zenith": "up", "nadir": "down"}.get(where, where) if rng.random() < 0.25 else where
    return f"{rng.choice(ELEVATION_WORDS[near])}, {text}"


def _where(elevation: float) -> str:
    """The part of the sphere, by the middle of a view; borders half-way between rings 45 degrees apart."""
    if abs(elevation) < 22.5:
        return "horizon"
    if abs(elevation) < 67.5:
        return "up" if elevation > 0 else "down"
    return "zenith" if elevation > 0 else "nadir"


def captions_of(rng: np.random.Generator, times, biomes, covers, with_time: bool | None = None) -> list[str]:
    """Captions of a batch given by label indices."""
    rows = zip(times, biomes, covers, strict=True)
    return [caption(rng, TIMES[t], BIOMES[b], c, with_time) for t, b, c in rows]
