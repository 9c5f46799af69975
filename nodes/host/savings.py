"""What guidance may save, option by option, and the presets that are made of it."""

from dataclasses import dataclass, replace
from enum import Enum

from ...syncdiffusion_core.guidance import Guided
from ...syncdiffusion_core.pullbacks import Gradient
from ...syncdiffusion_core.views.windows import Grid, WindowLayout
from .decoder import Look
from .precision import Precision


class Preset(str, Enum):
    """How much of the paper's work is done."""

    REFERENCE = "reference"
    BALANCED = "balanced"
    FAST = "fast"


@dataclass(frozen=True)
class Savings:
    """The paper's algorithm, and what is left out of it.

    grid: where windows stand, TILED for as the Window Tiler says. guided, second_pass: see PerceptualGuidance. look,
    precision: how windows are decoded for guidance. shrink: side of the square of pixels that the perceptual network
    sees as one. part: of the guided steps, the first of which then carry the weight of all (``concentrate``), in
    (0, 1]. strength: factor on the weight, which gives back what the other options take. gradient: for users who
    choose none.
    """

    grid: Grid = Grid.TILED
    guided: Guided = Guided.ALL
    second_pass: bool = True
    look: Look = Look.FULL
    shrink: int = 1
    precision: Precision = Precision.AS_LOADED
    part: float = 1.0
    strength: float = 1.0
    gradient: Gradient = Gradient.THROUGH_MODEL

    def on(self, layout: WindowLayout) -> WindowLayout:
        """The windows of a user's Window Tiler under these savings."""
        return layout if self.grid is Grid.TILED else replace(layout, grid=self.grid)


_ROLLED = Savings(grid=Grid.ROLLED, second_pass=False, strength=1.5, gradient=Gradient.IMAGE_PRIOR)
PRESETS = {
    Preset.REFERENCE: Savings(),
    Preset.BALANCED: _ROLLED,
    Preset.FAST: replace(_ROLLED, look=Look.CHEAPEST),
}
