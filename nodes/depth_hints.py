"""Panorama Depth Hints: the depth of a 360 degree picture, as a hint for each of its views."""

from enum import Enum

import torch
from comfy_api.latest import io
from torch import Tensor

from ..syncdiffusion_core.canvases.depth import disparities, disparity_of, ends_of, in_one_range
from .equirect import check_sphere, each_camera
from .host.inputs import check_widgets, picture
from .sockets import CATEGORY
from .sockets import Rig as RigSocket
from .sphere_views import check_rig
from .view_widgets import view_size_widget

Geometry = io.Custom("MOGE_GEOMETRY")
"""The host's, of Run MoGe Panorama Inference: depth [N, H, W] along the ray, and a mask of what has any."""


class Measure(str, Enum):
    """What a hint shows of a place."""

    PLANAR = "planar"
    RADIAL = "radial"


class Shown(str, Enum):
    """What the brightness of a depth picture is."""

    DISPARITY = "disparity"
    DISTANCE = "distance"


class PanoramaDepthHints(io.ComfyNode):
    """Depth of the sphere and RIG -> IMAGE of each view."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SyncDiffusionPanoramaDepthHints",
            display_name="Panorama Depth Hints",
            category=CATEGORY,
            description=(
                "Makes a depth hint for each view of a 360 degree picture, near white and the sky black, in one range "
                "for all of them: for a depth ControlNet that View Sampler shows each view its own."
            ),
            search_aliases=["360", "depth", "moge", "controlnet", "equirectangular", "hint per view"],
            inputs=[
                RigSocket.Input("rig", tooltip="From Camera Rig: the same that Sphere Views has."),
                view_size_widget("Side of every hint in pixels: that of a view in Sphere Views."),
                io.Combo.Input(
                    "measure",
                    options=Measure,
                    default=Measure.PLANAR,
                    tooltip="planar: depth along the camera's axis, by which a wall that faces the camera is one grey; "
                    "what depth ControlNets have learned. radial: distance from the camera.",
                ),
                io.Combo.Input(
                    "depth_shows",
                    options=Shown,
                    default=Shown.DISPARITY,
                    tooltip="What is bright in the depth picture; of no effect on moge_geometry. disparity: what is "
                    "near (Render MoGe Geometry). distance: what is far, and black is nothing.",
                ),
                Geometry.Input(
                    "moge_geometry",
                    optional=True,
                    tooltip="From Run MoGe Panorama Inference. Its mask, where it finds no depth, is the sky.",
                ),
                io.Image.Input(
                    "depth",
                    optional=True,
                    tooltip="Instead of it, a 360 degree picture of depth along the ray: drawn, rendered or estimated.",
                ),
            ],
            outputs=[
                io.Image.Output(
                    display_name="hints",
                    tooltip="A hint for each view in their order, for a ControlNet's apply node; of a batch, all first "
                    "views before all second ones.",
                )
            ],
        )

    @classmethod
    def execute(cls, rig, view_size, measure, depth_shows, moge_geometry=None, depth=None) -> io.NodeOutput:
        check_rig(rig)
        check_widgets(cls, view_size=view_size, measure=measure, depth_shows=depth_shows)
        if (moge_geometry is None) == (depth is None):
            which = "neither" if depth is None else "both"
            raise ValueError(f"depth: one of moge_geometry and depth has to be connected, got {which}; connect one")
        disparity = _of_geometry(moge_geometry) if depth is None else _of_picture(depth, Shown(depth_shows))
        ends_of(disparity[None])  # of the views alone it would not be seen: a dome of one distance is no plane
        size, planar = (view_size, view_size), measure == Measure.PLANAR
        seen = [disparities(one, disparity, size, planar) for one in each_camera(rig)]  # [N, 1, h, w] each
        hints = in_one_range(torch.stack(seen)).flatten(0, 1)
        return io.NodeOutput(hints.movedim(1, -1).expand(-1, -1, -1, 3).contiguous())


def _of_geometry(given: object) -> Tensor:
    """MOGE_GEOMETRY -> 1 / distance, [N, 1, H, W]. Raises ValueError for what is no panorama's."""
    distance = given.get("depth") if isinstance(given, dict) else None
    if not isinstance(distance, Tensor) or distance.ndim != 3 or not len(distance):
        raise ValueError("moge_geometry: it holds no depth [N, H, W]; connect Run MoGe Panorama Inference")
    if "intrinsics" in given:
        raise ValueError(
            "moge_geometry: it is of an ordinary picture, seen by one camera; use Run MoGe Panorama Inference"
        )
    check_sphere("moge_geometry", tuple(distance.shape[-2:]))
    known = given.get("mask")
    if known is not None and (not isinstance(known, Tensor) or known.shape != distance.shape):
        raise ValueError(
            "moge_geometry: its mask is not of the shape of its depth, so that it is no panorama's; connect Run MoGe "
            "Panorama Inference"
        )
    distance = distance.float()
    if bool((distance.isnan() | (distance < 0)).any()):
        raise ValueError(
            "moge_geometry: its depth holds NaN or negative values; the step that made it has failed, try its model in "
            "full precision"
        )
    disparity = disparity_of(distance)
    return (disparity if known is None else disparity * (known > 0).to(disparity))[:, None]


def _of_picture(image: object, shown: Shown) -> Tensor:
    """IMAGE -> 1 / distance up to a factor, [N, 1, H, W]: of a grey picture, any of its colours."""
    grey = picture("depth", image).mean(dim=-1)
    check_sphere("depth", tuple(grey.shape[-2:]))
    return (grey if shown is Shown.DISPARITY else disparity_of(grey))[:, None]
