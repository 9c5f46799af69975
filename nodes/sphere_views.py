"""Sphere Views: the whole sphere as one picture, seen by a rig."""

import math

from comfy_api.latest import io

from ..syncdiffusion_core.canvases.rigs import Rig
from ..syncdiffusion_core.canvases.sphere_spec import SphereViews as Spec
from ..syncdiffusion_core.canvases.turning import Motion
from ..syncdiffusion_core.views.schedule import Space
from .host.inputs import check_connected, check_widgets
from .host.progress import say
from .sockets import CATEGORY, Views
from .sockets import Rig as RigSocket
from .view_widgets import agree_in_widget, view_size_widget

COARSE = 0.75
"""Pixels of the picture for one of a view, at the horizon, below which views show more than the picture keeps."""


class SphereViews(io.ComfyNode):
    """RIG and sizes -> VIEWS."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SyncDiffusionSphereViews",
            display_name="Sphere Views",
            category=CATEGORY,
            description=(
                "Describes a picture of 360 x 180 degrees (equirectangular) by perspective views of it, which any "
                "model can paint: View Sampler denoises all of them into one picture without a seam or poles."
            ),
            search_aliases=["360", "equirectangular", "panorama", "sphere", "hdri", "skybox", "vr"],
            inputs=[
                RigSocket.Input("rig", tooltip="From Camera Rig."),
                io.Int.Input(
                    "width",
                    default=2048,
                    min=64,
                    max=16384,
                    step=16,
                    tooltip="Width of the finished picture in pixels; it is half as high.",
                ),
                view_size_widget(),
                agree_in_widget("bend with their pictures"),
                io.Combo.Input(
                    "moves",
                    options=Motion,
                    default=Motion.STILL,
                    optional=True,
                    advanced=True,
                    tooltip="turning: the rig stands elsewhere at every step, so that a cube of 95 degrees is enough, "
                    "six views instead of eighteen. Each step has noise of its own, which makes softer pictures. Only "
                    "in View Sampler with synctweedies and ddim or euler.",
                ),
            ],
            outputs=[
                Views.Output(display_name="views", tooltip="The views, for View Sampler or Synchronise Views."),
                io.Int.Output(display_name="count", tooltip="How many there are: the batch size of a latent of them."),
            ],
        )

    @classmethod
    def execute(cls, rig, width, view_size, agree_in, moves=Motion.STILL) -> io.NodeOutput:
        check_rig(rig)
        check_widgets(cls, width=width, view_size=view_size, agree_in=agree_in, moves=moves)
        own = math.pi * view_size / math.tan(rig.fov / 2)
        if width < COARSE * own:
            say(f"the picture is coarser than its views, which show more than it keeps; a width of {own:.0f} is theirs")
        spec = Spec(rig, (width // 2, width), (view_size, view_size), Space(agree_in), Motion(moves))
        return io.NodeOutput(spec, len(rig))


def check_rig(rig: object, name: str = "rig") -> None:
    """Raise ValueError for what is no rig; name: of its socket."""
    check_connected(name, rig, "add a Camera Rig node")
    if not isinstance(rig, Rig):
        raise ValueError(f"{name}: these are no cameras; connect a Camera Rig node")
