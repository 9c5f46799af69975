"""Equirect to Views and Views to Equirect: pictures of the sphere, taken apart and put together."""

from collections.abc import Iterator

import comfy.model_management
import torch
from comfy_api.latest import io
from torch import Tensor

from ..syncdiffusion_core.canvases.rigs import Rig
from ..syncdiffusion_core.canvases.sphere import looked_at, sphere_views
from ..syncdiffusion_core.views.fill import fill
from ..syncdiffusion_core.views.tables import ResampledViews
from .host.inputs import check_widgets, mask, picture
from .sockets import CATEGORY
from .sockets import Rig as RigSocket
from .sphere_views import check_rig


class EquirectToViews(io.ComfyNode):
    """IMAGE of the sphere, its MASK and RIG -> IMAGE and MASK of each view."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SyncDiffusionEquirectToViews",
            display_name="Equirect to Views",
            category=CATEGORY,
            description="Takes perspective pictures of a 360 degree picture, one for each camera of a rig.",
            search_aliases=["360", "equirectangular", "perspective", "cubemap", "e2p", "reproject"],
            inputs=[
                io.Image.Input("image", tooltip="Equirectangular pictures, twice as wide as high."),
                RigSocket.Input("rig", tooltip="From Camera Rig."),
                io.Int.Input("view_size", default=512, min=8, max=8192, step=8, tooltip="Side of a view in pixels."),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="Of the same size, one for all pictures or one for each: what may change, for Set Latent "
                    "Noise Mask.",
                ),
            ],
            outputs=[
                io.Image.Output(
                    display_name="views",
                    tooltip="A picture for each camera; of a batch, all first views before all second ones.",
                ),
                io.Mask.Output(display_name="masks", tooltip="A mask for each of them; white without a mask."),
            ],
        )

    @classmethod
    def execute(cls, image, rig, view_size, mask=None) -> io.NodeOutput:
        check_rig(rig)
        check_widgets(cls, view_size=view_size)
        pixels = picture("image", image).movedim(-1, 1)
        canvas = check_sphere("image", tuple(pixels.shape[-2:]))
        size, both = (view_size, view_size), torch.cat([pixels, covered(mask, pixels)], dim=1)
        seen = [ResampledViews(*looked_at(one, canvas, size), canvas).project(both) for one in each_camera(rig)]
        views = torch.cat(seen).clamp(0, 1)
        return io.NodeOutput(views[:, :3].movedim(1, -1).contiguous(), views[:, 3].contiguous())


class ViewsToEquirect(io.ComfyNode):
    """IMAGE of each view and RIG -> IMAGE of the sphere."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SyncDiffusionViewsToEquirect",
            display_name="Views to Equirect",
            category=CATEGORY,
            description=(
                "Puts perspective pictures, one for each camera of a rig, together into a 360 degree picture. Where "
                "views overlap they fade into each other; what none of them sees is filled from beside it."
            ),
            search_aliases=["360", "equirectangular", "stitch", "p2e", "skybox", "reproject"],
            inputs=[
                io.Image.Input("views", tooltip="A picture for each camera, or of a batch all first views first."),
                RigSocket.Input("rig", tooltip="The cameras that took them, from Camera Rig."),
                io.Int.Input(
                    "width",
                    default=2048,
                    min=16,
                    max=16384,
                    step=16,
                    tooltip="Width of the picture in pixels; it is half as high.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="image", tooltip="The equirectangular picture."),
                io.Mask.Output(display_name="unseen", tooltip="White where no view looks, for inpainting."),
            ],
        )

    @classmethod
    def execute(cls, views, rig, width) -> io.NodeOutput:
        check_rig(rig)
        check_widgets(cls, width=width)
        pixels, canvas = picture("views", views).movedim(-1, 1), (width // 2, width)
        if len(pixels) % len(rig):
            raise ValueError(
                f"views: a batch of {len(pixels)} pictures for {len(rig)} cameras; give one for each, or a multiple"
            )
        parts, sums = pixels.unflatten(0, (len(rig), -1)), None
        for part, camera in zip(parts, each_camera(rig), strict=True):
            more = sphere_views(camera, canvas, tuple(pixels.shape[-2:])).unproject(part)
            sums = more if sums is None else sums.plus(more)
        seen = sums.weight[0, 0] > 0
        whole = fill(sums.mean(), seen)
        return io.NodeOutput(whole.movedim(1, -1).clamp(0, 1).contiguous(), (~seen).float()[None])


def covered(given: Tensor | None, pixels: Tensor) -> Tensor:
    """The mask of pictures [N, 3, H, W], white without one: [N, 1, H, W]. Raises ValueError for one of another size."""
    if given is None:
        return torch.ones_like(pixels[:, :1])
    masks, (height, width) = mask("mask", given).to(pixels), pixels.shape[-2:]
    if masks.shape[-2:] != pixels.shape[-2:] or len(masks) not in (1, len(pixels)):
        raise ValueError(
            f"mask: {len(masks)} of {masks.shape[2]} x {masks.shape[1]} px for {len(pixels)} pictures of {width} x "
            f"{height}; give one of their size, or one for each"
        )
    return masks[:, None].expand(len(pixels), -1, -1, -1)


def each_camera(rig: Rig) -> Iterator[Rig]:
    """One camera after the other: of a large picture the maps of all at once would be larger than the picture."""
    for camera in rig.each():
        comfy.model_management.throw_exception_if_processing_interrupted()
        yield camera


def check_sphere(name: str, size: tuple[int, int]) -> tuple[int, int]:
    """The size (height, width) of a picture of the sphere. Raises ValueError for another shape."""
    height, width = size
    if width != 2 * height or height < 2:
        raise ValueError(
            f"{name}: a picture of 360 x 180 degrees is twice as wide as high, got {width} x {height} px; crop or "
            f"scale it to {2 * height} x {height}"
        )
    return size
