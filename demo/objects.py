"""The demo model that paints objects: solids of six materials on a grey ground, and the ControlNet of their depth.

Views of one object that are painted alone have colours of their own, wherever the prompt says none.
"""

from __future__ import annotations

from .export import WEIGHTS
from .low_rank import World
from .object_captions import VOCABULARY_OBJECTS

OBJECTS = World(WEIGHTS / "objects.safetensors", VOCABULARY_OBJECTS, "the demo model that paints objects")
CONTROL_FILE = WEIGHTS / "depth_control.safetensors"
