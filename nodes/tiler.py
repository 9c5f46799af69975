"""Window Tiler: how windows slide over the canvas."""

import torch
from comfy_api.latest import io

from ..syncdiffusion_core.blending import Blend
from ..syncdiffusion_core.views.grids import resolve_grid
from ..syncdiffusion_core.views.windows import Grid, Positions, WindowLayout
from .sockets import CATEGORY, Windows

PREVIEW_CELL_PX = 8


class WindowTiler(io.ComfyNode):
    """Window size, stride, wrap and blend -> WINDOWS."""

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
                    min=8,
                    max=16384,
                    step=8,
                    tooltip="Width of a window in pixels: the model's own resolution (512 for SD 1.5, 1024 for SDXL).",
                ),
                io.Int.Input(
                    "window_height",
                    default=512,
                    min=8,
                    max=16384,
                    step=8,
                    tooltip="Height of a window in pixels. As high as the canvas for a plain horizontal panorama.",
                ),
                io.Int.Input(
                    "stride_x",
                    default=128,
                    min=8,
                    max=16384,
                    step=8,
                    tooltip="Distance between neighbouring windows along the width in pixels, at most the window's "
                    "width. A quarter of the window is the paper's choice; half of it costs half as much.",
                ),
                io.Int.Input(
                    "stride_y",
                    default=128,
                    min=8,
                    max=16384,
                    step=8,
                    tooltip="Distance between neighbouring windows along the height in pixels, at most the window's "
                    "height. Without effect where one window spans the height.",
                ),
                io.Boolean.Input(
                    "wrap_x",
                    default=False,
                    tooltip="Let windows run over the right edge into the left one, for panoramas that close into a "
                    "loop. Decode with Panorama Decode, wrap_x on.",
                ),
                io.Boolean.Input(
                    "wrap_y", default=False, tooltip="The same over the bottom edge: textures that tile both ways."
                ),
                io.Combo.Input(
                    "blend",
                    options=Blend,
                    default=Blend.UNIFORM,
                    tooltip="How much each part of a window counts where windows overlap: all alike (the papers), "
                    "mostly the middle (gaussian), or fading linearly to the edge (feathered).",
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
                    "rolled: side by side, elsewhere at each step (SpotDiffusion), a third of the work at the paper's "
                    "stride, which does not count then. alternating: two such grids in turn.",
                ),
                io.Latent.Input(
                    "latent",
                    optional=True,
                    tooltip="The canvas, only to draw the coverage picture; sampling takes its canvas elsewhere.",
                ),
            ],
            outputs=[
                Windows.Output(display_name="windows", tooltip="The windows, for a sampler or Apply Windows."),
                io.Image.Output(
                    display_name="coverage",
                    tooltip="How many windows cover each place, brightest where most do; black without a latent.",
                ),
            ],
        )

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


def _coverage_image(layout: WindowLayout, latent: dict | None) -> torch.Tensor:
    """[1, H, W, 3] in [0, 1], a pixel for each cell of 8x8 canvas pixels."""
    if latent is None:
        return torch.zeros(1, 64, 64, 3)
    size = tuple(latent["samples"].shape[-2:])
    cell_px = int(latent.get("downscale_ratio_spacial", PREVIEW_CELL_PX))
    coverage = resolve_grid(layout, size, cell_px).at(0).coverage()
    return (coverage / coverage.max())[None, :, :, None].expand(1, *size, 3).contiguous()
