"""Texture to Views: the texture of an object as its cameras see it."""

import torch
import torch.nn.functional as F
from comfy_api.latest import io

from .bake import check_mesh_views
from .equirect import covered
from .host.inputs import check_widgets, picture
from .sockets import CATEGORY, Views

GREY = 0.5
"""Of the background."""
SAMPLES = 4
"""Most along the side of a pixel, where the texture is finer than its views."""
FINE = 0.6
"""Texels beside each other for a pixel, of a texture as wide as a view: about half of it shows at once."""


class TextureToViews(io.ComfyNode):
    """VIEWS of a mesh, IMAGE of its texture and MASK -> IMAGE and MASK of each view."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SyncDiffusionTextureToViews",
            display_name="Texture to Views",
            category=CATEGORY,
            description=(
                "Takes a picture of a textured mesh from each camera, without light: to repaint its texture by VAE "
                "Encode and a View Sampler of denoise below 1, or for any node that works on pictures."
            ),
            search_aliases=["texture", "edit texture", "render", "retexture", "img2img", "mesh", "reproject"],
            inputs=[
                Views.Input("views", tooltip="From Mesh Views."),
                io.Image.Input(
                    "texture", tooltip="Square, of any size: Mesh Texture to Image gives that of a mesh (base_color)."
                ),
                io.Int.Input(
                    "view_size",
                    default=0,
                    min=0,
                    max=8192,
                    step=8,
                    advanced=True,
                    tooltip="Side of a picture in pixels; 0 for that of the views.",
                ),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="Of the texture and as large: what may change, for Set Latent Noise Mask.",
                ),
            ],
            outputs=[
                io.Image.Output(
                    display_name="images",
                    tooltip="A picture from each camera, on grey; of a batch, all first views before all second ones.",
                ),
                io.Mask.Output(
                    display_name="masks", tooltip="A mask for each of them; without a mask, white where the object is."
                ),
            ],
        )

    @classmethod
    def execute(cls, views, texture, view_size, mask=None) -> io.NodeOutput:
        check_mesh_views(views)
        check_widgets(cls, view_size=view_size)
        pixels = picture("texture", texture).movedim(-1, 1)
        height, width = pixels.shape[-2:]
        if height != width:
            raise ValueError(
                f"texture: that of a mesh is square here, got {width} x {height} px; scale it to {height} x {height}"
            )
        side = view_size or views.view_px[0]
        samples = min(max(round(FINE * height / side), 1), SAMPLES)
        both = torch.cat([pixels - GREY, covered(mask, pixels)], dim=1)
        looks = views.looks((height, width), (side * samples, side * samples))
        seen = torch.cat([F.avg_pool2d(look.project(both), samples) for look in looks])
        images, masks = (seen[:, :3] + GREY).clamp(0, 1), seen[:, 3].clamp(0, 1)
        return io.NodeOutput(images.movedim(1, -1).contiguous(), masks.contiguous())
