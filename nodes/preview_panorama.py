"""Preview Panorama: stand inside a panorama, in the node."""

from enum import Enum

import torch
from comfy_api.latest import io, ui

from ..syncdiffusion_core.metrics.seam import wrap_seam
from .equirect import check_sphere
from .host.inputs import check_widgets, picture
from .host.progress import say
from .sockets import CATEGORY

KEY = "syncdiffusion_panorama"
"""Under which web/preview_panorama.js finds the pictures."""
ROWS = 2
"""Of pixels at a pole, which all lie within a pixel of it."""


class Shape(str, Enum):
    """What a panorama is wound around."""

    SPHERE = "360 x 180 degrees"
    CYLINDER = "loop"


class PreviewPanorama(io.ComfyNode):
    """IMAGE -> a viewer."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SyncDiffusionPreviewPanorama",
            display_name="Preview Panorama",
            category=CATEGORY,
            description=(
                "Shows a panorama from inside: drag or use the arrow keys to look around, the wheel to zoom. Nothing "
                "is saved and nothing sent; what is wrong with its sides and poles is said under the node."
            ),
            search_aliases=["360", "viewer", "equirectangular", "vr", "panorama", "look around"],
            inputs=[
                io.Image.Input("image", tooltip="Panoramas; of a batch, a click on the number shows the next."),
                io.Combo.Input(
                    "shape",
                    options=Shape,
                    default=Shape.SPHERE,
                    tooltip="360 x 180 degrees: equirectangular, twice as wide as high. loop: a strip whose ends meet, "
                    "wound around a cylinder.",
                ),
            ],
            outputs=[],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, image, shape) -> io.NodeOutput:
        check_widgets(cls, shape=shape)
        pixels = picture("image", image)
        if Shape(shape) is Shape.SPHERE:
            check_sphere("image", tuple(pixels.shape[1:3]))
        say("\n".join(_figures(each, Shape(shape)) for each in pixels.movedim(-1, 1)))
        shown = ui.PreviewImage(pixels, cls=cls).as_dict()["images"]
        return io.NodeOutput(ui={KEY: [{**dict(each), "shape": Shape(shape).name.lower()} for each in shown]})


def _figures(pixels: torch.Tensor, shape: Shape) -> str:
    """What stands out of a panorama [3, H, W] where it closes."""
    line = f"seam {wrap_seam(pixels):.2f} (1 where the ends meet)"
    if shape is Shape.CYLINDER:
        return line
    top, bottom = (rows.std(dim=2).mean() for rows in (pixels[:, :ROWS], pixels[:, -ROWS:]))
    return f"{line}, zenith {top:.3f}, nadir {bottom:.3f} (0 where a pole is one colour)"
