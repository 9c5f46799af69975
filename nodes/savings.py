"""Guidance Savings: every short cut of the presets by itself."""

from comfy_api.latest import io

from ..syncdiffusion_core.canvases.grids import Grid
from ..syncdiffusion_core.guidance.turns import Guided
from .host.gradient.decoder import Look
from .host.gradient.precision import Precision
from .host.inputs import check_widgets
from .host.run.savings import Savings
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
                "out of the paper's work, and what it costs. As it comes, nothing is left out."
            ),
            search_aliases=["fast", "speed", "vram", "spotdiffusion", "taesd", "preset", "cheap guidance"],
            inputs=[
                io.Combo.Input(
                    "grid",
                    options=Grid,
                    default=Grid.TILED,
                    tooltip="Where windows stand, unless the Window Tiler has a grid of its own. as tiled: its "
                    "overlapping windows. half overlapping: at strides of "
                    "half a window, half of the model's work at the paper's stride. rolled: side by side, elsewhere "
                    "at each step (SpotDiffusion), a third of the work; borders may be a little softer. alternating: "
                    "two such grids in turn, as fast, but less coherent and with borders that show on the demo model.",
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
                io.Combo.Input(
                    "decoder",
                    options=Look,
                    default=Look.FULL,
                    tooltip="What decodes the windows that guidance looks at. full: the VAE. light: a small decoder of "
                    "the same latents, TAESD from models/vae_approx or the demo model's own. pooled: the VAE on "
                    "latents of half the size. The finished picture is always decoded by the VAE you choose.",
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
                io.Float.Input(
                    "span",
                    default=1.0,
                    min=0.1,
                    max=10.0,
                    step=0.1,
                    tooltip="How long guidance lasts, as a multiple of what its start and end percent say: 2 guides "
                    "twice as many steps, which cost little on a rolled grid with a light decoder.",
                ),
                io.Float.Input(
                    "strength",
                    default=1.0,
                    min=0.1,
                    max=10.0,
                    step=0.05,
                    tooltip="Factor on the weight, to give back what the other options take from the coherence. On the "
                    "demo model 1.5 does it for rolled windows without a second pass.",
                ),
                io.Combo.Input(
                    "precision",
                    options=Precision,
                    default=Precision.AS_LOADED,
                    advanced=True,
                    tooltip="In which numbers pictures are decoded for guidance. Up to 45 % less memory where the VAE "
                    "is loaded in float32, nothing where it is in half precision already. float16 needs a GPU; its "
                    "small gradients are scaled up on their way.",
                ),
            ],
            outputs=[SavingsSocket.Output(display_name="savings", tooltip="For Perceptual Sync Guidance.")],
        )

    @classmethod
    def execute(
        cls, grid, windows_guided, second_pass, decoder, shrink, part, span, strength, precision
    ) -> io.NodeOutput:
        check_widgets(
            cls,
            grid=grid,
            windows_guided=windows_guided,
            decoder=decoder,
            shrink=shrink,
            part=part,
            span=span,
            strength=strength,
            precision=precision,
        )
        return io.NodeOutput(
            Savings(
                grid=Grid(grid),
                guided=Guided(windows_guided),
                second_pass=second_pass,
                look=Look(decoder),
                shrink=shrink,
                precision=Precision(precision),
                part=part,
                span=span,
                strength=strength,
            )
        )
