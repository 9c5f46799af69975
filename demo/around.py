"""The demo model that looks around: one that has also seen the sky, the ground and everything between."""

from __future__ import annotations

from .captions import VOCABULARY_AROUND
from .export import WEIGHTS
from .low_rank import World

AROUND = World(WEIGHTS / "around.safetensors", VOCABULARY_AROUND, "the demo model that looks around")
