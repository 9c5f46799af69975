"""Camera Rig: cameras in one point that look around, or around an object."""

import math

import torch
from comfy_api.latest import io

from ..syncdiffusion_core.canvases.cameras import camera_of, joined, rig_of, stand_apart
from ..syncdiffusion_core.canvases.rigs import Rig, RigKind, make_rig
from ..syncdiffusion_core.canvases.sphere import seen_at, share_seen
from .drawing.rig import draw_rig
from .host.inputs import check_widgets, told
from .host.panoramas import to_image
from .host.progress import say, warn
from .sockets import CATEGORY
from .sockets import Rig as RigSocket
from .sphere_views import check_rig

PICTURE = (512, 1024)
BORDER = 0.97
"""From there on a view's border is drawn."""
CAMERAS = tuple(f"camera_{number}" for number in range(1, 7))
APART = (
    "the cameras stand in different places, and a rig looks around from one: only where they look counts, but for Mesh "
    "Views, whose cameras stand there"
)
LEAST_SHARED = 0.05
"""Share of the sphere that two views have to see: below it hardly anything brings views together."""


class CameraRig(io.ComfyNode):
    """A kind of rig and a field of view, or the host's cameras -> RIG."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SyncDiffusionCameraRig",
            display_name="Camera Rig",
            category=CATEGORY,
            description=(
                "Places cameras that look around from one point, for panoramas of 360 degrees, or inward at an object "
                "(Mesh Views). Views have to overlap to become one scene, and to see everything: the line under the "
                "node says how much they do around a point."
            ),
            search_aliases=["360", "cameras", "sphere", "equirectangular", "cubemap", "multi-view", "panorama"],
            inputs=[
                io.Combo.Input(
                    "rig",
                    options=RigKind,
                    default=RigKind.THREE_RINGS,
                    tooltip="Where the cameras look. ring: around the horizon, nothing above and below. three rings "
                    "and poles: half as many 45 degrees above and below it. icosahedron: twelve views, all alike. "
                    "cube: six; at 90 degrees they only touch. fibonacci: spread evenly. texture: around an object, "
                    "and two that look down at its front and back.",
                ),
                io.Int.Input(
                    "count",
                    default=8,
                    min=1,
                    max=128,
                    tooltip="Views of a ring, or of all for fibonacci. Of no effect on icosahedron and cube.",
                ),
                io.Float.Input(
                    "fov",
                    default=80.0,
                    min=10.0,
                    max=150.0,
                    step=1.0,
                    tooltip="Vertical field of view in degrees. 80 to 90 sees everything with 18 to 10 views; models "
                    "know little of pictures that are wider.",
                ),
                io.Float.Input(
                    "tilt",
                    default=0.0,
                    min=-180.0,
                    max=180.0,
                    step=1.0,
                    advanced=True,
                    tooltip="Degrees by which the whole rig is turned, its front upwards.",
                ),
                *_camera_inputs(),
                RigSocket.Input(
                    "more",
                    optional=True,
                    tooltip="Another rig of the same field of view, whose cameras come after these: a ring for poles "
                    "of your own, or more than six cameras.",
                ),
            ],
            outputs=[
                RigSocket.Output(
                    display_name="rig", tooltip="For Sphere Views, Mesh Views, Equirect to Views, Views to Equirect."
                ),
                io.Image.Output(
                    display_name="coverage",
                    tooltip="How many square views see each place of the sphere, bright where most do, black where "
                    "none does; views outlined and numbered.",
                ),
                io.Int.Output(display_name="count", tooltip="How many views there are."),
            ],
        )

    @classmethod
    def validate_inputs(cls, rig=None, count=None, fov=None, tilt=None):
        """Whether the widgets are in their ranges."""
        return told(lambda: check_widgets(cls, rig=rig, count=count, fov=fov, tilt=tilt))

    @classmethod
    def execute(cls, rig, count, fov, tilt, more=None, **given) -> io.NodeOutput:
        check_widgets(cls, rig=rig, count=count, fov=fov, tilt=tilt)
        cameras = {name: camera_of(name, given[name]) for name in CAMERAS if given.get(name) is not None}
        made = rig_of(cameras) if cameras else make_rig(RigKind(rig), count, math.radians(fov), math.radians(tilt))
        if more is not None:
            check_rig(more, "more")
            made = joined(made, "more", more)
        if RigKind(rig) is RigKind.TEXTURE and not cameras and more is None:
            say(f"{len(made)} views: in Mesh Views and Splat Views the cameras stand around the object and look inward")
        else:
            _say_shares(made, *([APART] if stand_apart(cameras) else []))
        return io.NodeOutput(made, to_image([_drawn(made)]), len(made))


def _camera_inputs() -> list[io.Input]:
    first, *others = CAMERAS
    return [
        io.Load3DCamera.Input(
            first,
            optional=True,
            tooltip="A camera from Create Camera Info or Load 3D. With one, the rig is of these cameras, by their "
            "direction, roll and vertical field of view, and the widgets are of no effect. Around an object they stand "
            "where they say.",
        ),
        *[
            io.Load3DCamera.Input(name, optional=True, tooltip="A further one, with the same field of view.")
            for name in others
        ],
    ]


def _say_shares(rig: Rig, *remarks: str) -> None:
    once, twice = share_seen(rig), share_seen(rig, 2)
    views = f"{len(rig)} views, at every step: {once:.0%} of the sphere is seen, {twice:.0%} by two or more"
    say("\n".join([views, *remarks]))
    if len(rig) > 1 and twice < LEAST_SHARED:
        warn(
            "the views hardly overlap, so nothing makes one scene of them; choose more views or a wider fov, unless "
            "they look inward at an object"
        )


def _drawn(rig: Rig) -> object:
    height, width = PICTURE
    inside = seen_at(rig, PICTURE).abs().amax(dim=-1)  # [V, H, W]
    azimuth, elevation = rig.directions.unbind(-1)
    middles = torch.stack([0.5 - elevation / math.pi, azimuth / math.tau + 0.5], dim=-1)
    return draw_rig((inside <= 1).sum(dim=0), ((inside > BORDER) & (inside <= 1)).any(dim=0), middles)
