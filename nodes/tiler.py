"""Window Tiler: how windows slide over the canvas."""

import torch
from comfy_api.latest import io

from ..syncdiffusion_core.blending import Blend
from ..syncdiffusion_core.canvases.grids import Grid
from ..syncdiffusion_core.canvases.remarks import remarks
from ..syncdiffusion_core.canvases.window_layout import Positions, WindowLayout
from ..syncdiffusion_core.views.schedule import CellGrid
from .host.inputs import latent as latent_of
from .host.progress import say
from .sockets import CATEGORY, Views

PREVIEW_CELL_PX = 8
LEAST_PX, MOST_PX = 8, 16384
"""Of windows and strides."""


class WindowTiler(io.ComfyNode):
    """Window size, stride, wrap and blend -> VIEWS."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SyncDiffusionWindowTiler",
            display_name="Window Tiler",
            category=CATEGORY,
            description=(
                "Describes the overlapping windows through which a panorama is denoised. A window should have the "
                "size the model was trained at; a smaller stride costs more and joins windows better."
            ),
            search_aliases=["panorama", "tiles", "multidiffusion", "sliding window", "tiled diffusion", "360"],
            inputs=[
                io.Int.Input(
                    "window_width",
                    default=512,
                    min=LEAST_PX,
                    max=MOST_PX,
                    step=8,
                    tooltip="Width of a window in pixels: the model's own resolution (512 for SD 1.5, 1024 for SDXL).",
                ),
                io.Int.Input(
                    "window_height",
                    default=512,
                    min=LEAST_PX,
                    max=MOST_PX,
                    step=8,
                    tooltip="Height of a window in pixels. As high as the canvas for a plain horizontal panorama.",
                ),
                io.Int.Input(
                    "stride_x",
                    default=128,
                    min=LEAST_PX,
                    max=MOST_PX,
                    step=8,
                    tooltip="Distance between neighbouring windows along the width in pixels, at most the window's "
                    "width. A quarter of the window is the paper's choice; half of it costs half as much; "
                    "from three quarters of it borders begin to show.",
                ),
                io.Int.Input(
                    "stride_y",
                    default=128,
                    min=LEAST_PX,
                    max=MOST_PX,
                    step=8,
                    tooltip="Distance between neighbouring windows along the height in pixels, at most the window's "
                    "height. Without effect where one window spans the height.",
                ),
                io.Boolean.Input(
                    "wrap_x",
                    default=False,
                    tooltip="Let windows run over the right edge into the left one, for panoramas that close into a "
                    "loop; the stride has to be below the window's width. Decode with Panorama Decode, wrap_x on.",
                ),
                io.Boolean.Input(
                    "wrap_y", default=False, tooltip="The same over the bottom edge: textures that tile both ways."
                ),
                io.Combo.Input(
                    "blend",
                    options=Blend,
                    default=Blend.FEATHERED,
                    tooltip="How much each part of a window counts where windows overlap: fading linearly to the edge "
                    "(feathered), which hides borders best; all alike (uniform), as in the papers, whose borders show "
                    "at strides of half a window; or mostly the middle (gaussian).",
                ),
                io.Combo.Input(
                    "positions",
                    options=Positions,
                    default=Positions.WINDOW,
                    optional=True,
                    advanced=True,
                    tooltip="From where a model with rotary positions (Flux, Flux.2, Lumina 2, Z-Image, Wan, "
                    "PixelDiT) counts a window's patches: from the window's own corner, as in a picture "
                    "of its size, or from its place on the canvas, one window in a model call.",
                ),
                io.Combo.Input(
                    "grid",
                    options=Grid,
                    default=Grid.TILED,
                    optional=True,
                    advanced=True,
                    tooltip="Where windows stand at each step. as tiled: always there, overlapping by the stride. "
                    "half overlapping: the same at strides of half a window at least. rolled: side by side, elsewhere "
                    "at each step (SpotDiffusion), a third of the work at the paper's stride, which does not count "
                    "then. alternating: two such grids in turn.",
                ),
                io.Latent.Input(
                    "latent",
                    optional=True,
                    tooltip="The canvas, only to draw the coverage picture; sampling takes its canvas elsewhere.",
                ),
            ],
            outputs=[
                Views.Output(display_name="windows", tooltip="The windows, for a sampler or Apply Windows."),
                io.Image.Output(
                    display_name="coverage",
                    tooltip="How many windows cover each place, whatever their blend, brightest where most do; "
                    "black without a latent.",
                ),
            ],
        )

    @classmethod
    def validate_inputs(cls, window_width=None, window_height=None, stride_x=None, stride_y=None) -> bool | str:
        """What is wrong with the sizes, before the run; one that another node makes is not known yet."""
        across = {"window_width": window_width, "stride_x": stride_x}
        down = {"window_height": window_height, "stride_y": stride_y}
        for name, size in {**across, **down}.items():
            # The host checks no bounds of inputs that a node looks at itself.
            if isinstance(size, int) and not LEAST_PX <= size <= MOST_PX:
                return f"{name} must be between {LEAST_PX} and {MOST_PX} px, got {size}"
        try:
            (width, x), (height, y) = (_known(*axis.values()) for axis in (across, down))
            WindowLayout(width, height, x, y)
        except ValueError as error:
            return str(error)
        return True

    @classmethod
    def execute(
        cls,
        window_width,
        window_height,
        stride_x,
        stride_y,
        wrap_x,
        wrap_y,
        blend,
        positions=Positions.WINDOW,
        grid=Grid.TILED,
        latent=None,
    ) -> io.NodeOutput:
        layout = WindowLayout(
            window_width,
            window_height,
            stride_x,
            stride_y,
            wrap_x,
            wrap_y,
            Blend(blend),
            Positions(positions),
            Grid(grid),
        )
        return io.NodeOutput(layout, _coverage_image(layout, latent))


def _known(window: object, stride: object) -> tuple[int, int]:
    """Sizes of an axis; some that fit where either is not known yet, or is no number, which the host says."""
    return (window, stride) if isinstance(window, int) and isinstance(stride, int) else (LEAST_PX, LEAST_PX)


def _coverage_image(layout: WindowLayout, latent: dict | None) -> torch.Tensor:
    """[1, H, W, 3] in [0, 1], a pixel for each cell of 8x8 canvas pixels; says what the windows leave undone."""
    if latent is None:
        return torch.zeros(1, 64, 64, 3)
    size = tuple(latent_of("latent", latent).shape[-2:])
    cell_px = int(latent.get("downscale_ratio_spacial", PREVIEW_CELL_PX))
    cells, schedule = CellGrid(cell_px), layout.resolve(size, CellGrid(cell_px)).latent
    if said := remarks(layout, schedule.every, cells):
        say("\n".join(said))
    coverage = schedule.at(0).coverage(torch.ones(layout.view_px))
    return (coverage / coverage.max())[None, :, :, None].expand(1, *size, 3).contiguous()
