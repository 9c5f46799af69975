"""Captions of solids: material and shape, the colour in every other one, and now and then the side that is seen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .captions import VOCABULARY_AROUND

MATERIAL_WORDS = {
    "wood": ("wood", "wooden", "timber"),
    "stone": ("stone", "rock", "marble"),
    "brick": ("brick", "bricks", "masonry"),
    "metal": ("metal", "steel", "iron"),
    "cloth": ("cloth", "fabric", "checked"),
    "moss": ("moss", "mossy"),
}
COLOUR_WORDS = {
    "red": ("red", "crimson"),
    "yellow": ("yellow",),
    "green": ("green",),
    "blue": ("blue",),
    "purple": ("purple", "violet"),
    "white": ("white",),
}
SHAPE_WORDS = {
    "sphere": ("sphere", "ball", "globe"),
    "cube": ("cube", "box", "block"),
    "torus": ("torus", "ring", "donut"),
    "capsule": ("capsule", "pill"),
    "vase": ("vase", "pot", "jar"),
    "arch": ("arch", "gate"),
    "chair": ("chair", "seat"),
    "union": ("sculpture", "statue"),
}
ANY_SHAPE = ("object", "thing", "solid")
SIDES = ("front", "back", "side", "left", "right", "top", "bottom")
"""As View Prompts calls what cameras around an object see of it."""

_TABLES = (MATERIAL_WORDS, COLOUR_WORDS, SHAPE_WORDS)
_WORDS = {word for table in _TABLES for words in table.values() for word in words}.union(ANY_SHAPE, SIDES)
VOCABULARY_OBJECTS = VOCABULARY_AROUND + sorted(_WORDS - {*VOCABULARY_AROUND})
"""Behind all words of the landscapes, which keep their numbers."""

PLAIN, TOLD = 0.2, 0.5
"""Shares of captions that say no shape, and that say which side is seen."""
COLOURED = ("{colour} {material} {shape}", "a {colour} {shape} of {material}", "{shape}, {colour} {material}")
UNCOLOURED = ("{material} {shape}", "a {shape} of {material}", "{shape}, {material}")


class Kind(NamedTuple):
    """Names of what a solid is: keys of the tables above."""

    material: str
    colour: str
    shape: str


def caption_object(
    rng: np.random.Generator, kind: Kind, sides: Sequence[str] = (), with_colour: bool | None = None
) -> str:
    """One caption such as "top view, a red vase of brick"; with_colour None: the colour in every other one."""
    if with_colour is None:
        with_colour = rng.random() < 0.5
    words = {
        "material": rng.choice(MATERIAL_WORDS[kind.material]),
        "colour": rng.choice(COLOUR_WORDS[kind.colour]),
        "shape": rng.choice(ANY_SHAPE if rng.random() < PLAIN else SHAPE_WORDS[kind.shape]),
    }
    text = str(rng.choice(COLOURED if with_colour else UNCOLOURED)).format(**words)
    if not sides or rng.random() >= TOLD:
        return text
    view = f"{rng.choice(sides)} view"
    return f"{view}, {text}" if rng.random() < 0.5 else f"{text}, {view}"
