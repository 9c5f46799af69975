"""Guidance Savings: every short cut of the presets by itself."""

from comfy_api.latest import io

from ..syncdiffusion_core.guidance import Guided
from ..syncdiffusion_core.views.windows import Grid
from .host.savings import Savings
from .sockets import CATEGORY
from .sockets import Savings as SavingsSocket


class GuidanceSavings(io.ComfyNode):
    """Options -> SYNC_SAVINGS."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SyncDiffusionSavings",
            display_name="Guidance Savings",
            category=CATEGORY,
            description=(
                "Every short cut of the presets balanced and fast by itself, for Perceptual Sync Guidance: what is "
                "left out of the paper's work, and what it costs. As it comes, nothing is left out."
            ),
            search_aliases=["fast", "speed", "vram", "spotdiffusion", "taesd", "preset", "cheap guidance"],
            inputs=[
                io.Combo.Input(
                    "grid",
                    options=Grid,
                    default=Grid.TILED,
                    tooltip="as tiled: the overlapping windows of the Window Tiler. rolled: windows side by side that "
                    "stand elsewhere at each step (SpotDiffusion), a third of the model's work at the paper's stride; "
                    "detail may be a little softer. alternating: two such grids in turn.",
                ),
                io.Combo.Input(
                    "windows_guided",
                    options=Guided,
                    default=Guided.ALL,
                    tooltip="all: every window follows its own gradient (the paper). rotating: only windows that do "
                    "not overlap, others at each step, and the canvas moves with them: a quarter of the decoder's work "
                    "at the paper's stride. Without effect on a grid that does not overlap.",
                ),
                io.Boolean.Input(
                    "second_pass",
                    default=True,
                    tooltip="Evaluate the model again at the moved windows (the paper). Off: the step is made with the "
                    "prediction from before the move, wrong by about a tenth of it.",
                ),
                io.Int.Input(
                    "shrink",
                    default=1,
                    min=1,
                    max=8,
                    tooltip="Shrink the decoded pictures by this factor before the perceptual network sees them: it "
                    "then compares coarser features, for less.",
                ),
                io.Float.Input(
                    "part",
                    default=1.0,
                    min=0.01,
                    max=1.0,
                    step=0.01,
                    tooltip="Guide only this first part of the guided steps, with the weight of all of them.",
                ),
            ],
            outputs=[SavingsSocket.Output(display_name="savings", tooltip="For Perceptual Sync Guidance.")],
        )

    @classmethod
    def execute(cls, grid, windows_guided, second_pass, shrink, part) -> io.NodeOutput:
        return io.NodeOutput(
            Savings(
                grid=Grid(grid),
                guided=Guided(windows_guided),
                second_pass=second_pass,
                shrink=shrink,
                part=part,
            )
        )
