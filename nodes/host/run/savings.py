"""What guidance may save, option by option, and the presets that are made of it."""

from dataclasses import dataclass, replace
from enum import Enum

from ....syncdiffusion_core.canvases.grids import Grid
from ....syncdiffusion_core.canvases.window_layout import WindowLayout
from ....syncdiffusion_core.guidance.pullbacks import Gradient
from ....syncdiffusion_core.guidance.turns import Guided
from ....syncdiffusion_core.schedule import GuidanceSchedule
from ..gradient.decoder import Look
from ..gradient.precision import Precision


class Preset(str, Enum):
    """How much of the paper's work is done."""

    REFERENCE = "reference"
    BALANCED = "balanced"
    FAST = "fast"


@dataclass(frozen=True)
class Savings:
    """The paper's algorithm, and what is left out of it.

    grid: where windows stand, unless the Window Tiler says more than TILED. guided, second_pass: see
    PerceptualGuidance. look, precision: how windows are decoded for guidance. shrink: side of the square of pixels that
    the perceptual network sees as one. part: of the guided steps, the first of which then carry the weight of all
    (``concentrate``), in (0, 1]. span: factor on how long guidance lasts, above 0, to the end of the schedule at most.
    strength: factor on the weight. gradient: for users who choose none.
    """

    grid: Grid = Grid.TILED
    guided: Guided = Guided.ALL
    second_pass: bool = True
    look: Look = Look.FULL
    shrink: int = 1
    precision: Precision = Precision.AS_LOADED
    part: float = 1.0
    span: float = 1.0
    strength: float = 1.0
    gradient: Gradient = Gradient.THROUGH_MODEL

    def over(self, schedule: GuidanceSchedule) -> GuidanceSchedule:
        """A user's schedule under these savings, before ``part`` and ``strength``."""
        end = schedule.start + self.span * (schedule.end - schedule.start)
        return replace(schedule, end=min(end, 1.0))

    def on(self, layout: WindowLayout) -> WindowLayout:
        """The windows of a user's Window Tiler under these savings; a grid that is chosen there stays."""
        return replace(layout, grid=self.grid) if layout.grid is Grid.TILED else layout


_ONE_PASS = Savings(second_pass=False, look=Look.CHEAPEST, span=2.0, gradient=Gradient.IMAGE_PRIOR)
PRESETS = {
    Preset.REFERENCE: Savings(),
    Preset.BALANCED: replace(_ONE_PASS, grid=Grid.HALF, strength=1.2),
    Preset.FAST: replace(_ONE_PASS, grid=Grid.ROLLED, strength=1.5),
}
