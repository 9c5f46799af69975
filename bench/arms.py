"""What is compared on the demo model: one arm is one setting of the demo graph."""

from dataclasses import dataclass

from demo.palettes import BIOMES

TUNING_SEEDS = range(100_000, 100_064)
"""Every setting was chosen on these; the table never uses them."""
TABLE_SEEDS = range(64)
CURVE_SEEDS = range(24)
"""The part of the table's seeds on which the weight is varied."""


@dataclass(frozen=True)
class Arm:
    """A column of the table. guidance: widgets of Perceptual Sync Guidance, None for plain MultiDiffusion."""

    name: str
    title: str
    seeds: range
    guidance: dict[str, object] | None = None

    @property
    def method(self) -> str:
        """The sampler of the demo graph that makes it."""
        return "multidiffusion" if self.guidance is None else "syncdiffusion"


def weight(w: float, seeds: range = CURVE_SEEDS, **widgets: object) -> Arm:
    """SyncDiffusion at weight w, other widgets as in the demo graph."""
    return Arm(f"w{w:g}", f"SyncDiffusion, w = {w:g}", seeds, {"weight": w, **widgets})


ARMS = (
    Arm("w0", "MultiDiffusion", TABLE_SEEDS),
    weight(5),
    weight(10, TABLE_SEEDS),
    weight(15),
    weight(20, TABLE_SEEDS),
    Arm("eq13", "Eq. 13, w = 20", CURVE_SEEDS, {"weight": 20, "gradient": "noisy latent (Eq. 13)"}),
)


def prompt_of(seed: int) -> str:
    """The place of a seed's panorama, the time of day left out; places take turns."""
    return BIOMES[seed % len(BIOMES)]
