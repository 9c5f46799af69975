"""Bake Views to Texture: pictures of an object, put together in its texture."""

from comfy_api.latest import io
from torch import Tensor

from ..syncdiffusion_core.canvases.mesh_spec import MeshViews
from ..syncdiffusion_core.views.fill import fill
from ..syncdiffusion_core.views.view_set import Sums
from .host.inputs import check_connected, picture
from .sockets import CATEGORY, Views


class BakeViewsToTexture(io.ComfyNode):
    """VIEWS of a mesh and an IMAGE of each -> IMAGE of its texture."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SyncDiffusionBakeViewsToTexture",
            display_name="Bake Views to Texture",
            category=CATEGORY,
            description=(
                "Puts pictures of a mesh, one from each camera, together into its texture: decoded, upscaled or "
                "painted views. What a camera sees from the front counts most; what none sees is filled from beside it."
            ),
            search_aliases=["texture", "bake", "projection", "uv", "mesh", "atlas", "reproject"],
            inputs=[
                Views.Input("views", tooltip="From Mesh Views."),
                io.Image.Input(
                    "images", tooltip="A square picture for each view, of any size; of a batch all first views first."
                ),
            ],
            outputs=[
                io.Image.Output(
                    display_name="texture", tooltip="Of the size in Mesh Views, for Apply Texture to Mesh: base_color."
                ),
                io.Mask.Output(
                    display_name="unseen",
                    tooltip="White where no camera looks well, and it was filled; for inpainting.",
                ),
            ],
        )

    @classmethod
    def execute(cls, views, images) -> io.NodeOutput:
        check_mesh_views(views)
        pixels = picture("images", images).movedim(-1, 1)  # [V*N, 3, h, w]
        count, (height, width) = len(views.cameras), pixels.shape[-2:]
        if len(pixels) % count:
            raise ValueError(
                f"images: a batch of {len(pixels)} pictures for {count} views; give one for each, or a multiple"
            )
        if height != width:
            raise ValueError(f"images: views of a mesh are square, got {width} x {height} px; crop or scale them")
        sums: Sums | None = None
        for back, part in zip(views.ways_back((height, width)), pixels.unflatten(0, (count, -1)), strict=True):
            sums = sums or _empty(part, views.size_px)
            back.add(sums.total.flatten(-2), sums.weight.flatten(-2), part.flatten(-2))
        seen = sums.weight[0, 0] > 0
        texture = fill(sums.mean(), seen).clamp(0, 1)
        return io.NodeOutput(texture.movedim(1, -1).contiguous(), (~seen).float()[None])


def check_mesh_views(views: object) -> None:
    """Raise ValueError for views of anything else."""
    check_connected("views", views, "add a Mesh Views node")
    if not isinstance(views, MeshViews):
        raise ValueError("views: these are no views of a mesh; connect Mesh Views")


def _empty(pictures: Tensor, size: tuple[int, int]) -> Sums:
    return Sums(pictures.new_zeros(*pictures.shape[:2], *size), pictures.new_zeros(1, 1, *size))
