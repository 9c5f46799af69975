"""Splat Views: gaussian splats, seen by cameras around them."""

import comfy.model_management
import comfy.utils
import torch
from comfy_api.latest import io

from ..syncdiffusion_core.canvases.light import to_light
from ..syncdiffusion_core.canvases.splat_spec import SplatViews as Spec
from ..syncdiffusion_core.canvases.splat_spec import pictures
from ..syncdiffusion_core.canvases.splat_tables import Strongest
from ..syncdiffusion_core.canvases.splats import SplatScene, depth_hints, scene
from ..syncdiffusion_core.views.schedule import Space
from .host.inputs import check_widgets
from .host.progress import say, warn
from .host.splats import colours_of, say_first, splats_of
from .sockets import CATEGORY, Views
from .sockets import Rig as RigSocket
from .sphere_views import check_rig
from .view_widgets import agree_in_widget, distance_widget, view_size_widget

CPU = torch.device("cpu")
BYTES = 32
"""That a run holds for each splat that is kept of a pixel: its number and weight, there and back, and on the way."""
LEAST_KEPT = 0.9
"""Part of what a pixel shows that the splats kept of it have to make up, all pixels together."""


class SplatViews(io.ComfyNode):
    """SPLAT and RIG -> VIEWS, and IMAGE and MASK of each view."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SyncDiffusionSplatViews",
            display_name="Splat Views",
            category=CATEGORY,
            description=(
                "Describes gaussian splats by pictures that cameras around them take, for any model to paint: View "
                "Sampler denoises all of them into one set of colours, and Bake Views to Splat puts these on the "
                "splats, whose places and shapes stay."
            ),
            search_aliases=["gaussian splatting", "3dgs", "splat", "texture splat", "ply", "multi-view", "3d"],
            inputs=[
                io.Splat.Input("splat", tooltip="From Get Splat or a node that makes splats; the first of a batch."),
                RigSocket.Input(
                    "rig",
                    tooltip="From Camera Rig. The cameras stand around the splats and look at their middle: the first "
                    "of a ring sees the side that faces +Z.",
                ),
                view_size_widget(),
                distance_widget("the splats", "all but stray ones"),
                io.Int.Input(
                    "splats_per_pixel",
                    default=16,
                    min=1,
                    max=64,
                    advanced=True,
                    tooltip="Of each pixel that many of the strongest splats are kept; memory goes by it. 16 differ "
                    "little from all; faint splats need 32.",
                ),
                agree_in_widget("turn with their pictures"),
            ],
            outputs=[
                Views.Output(display_name="views", tooltip="The views, for View Sampler and Bake Views to Splat."),
                io.Int.Output(display_name="count", tooltip="How many there are: the batch size of a latent of them."),
                io.Image.Output(
                    display_name="depth",
                    tooltip="A depth hint for each view, near white, in one range for all, for a depth ControlNet.",
                ),
                io.Mask.Output(display_name="mask", tooltip="How opaque the splats are in each view."),
                io.Image.Output(
                    display_name="pictures",
                    tooltip="The splats in their present colours in front of grey, to begin from with denoise below 1.",
                ),
            ],
        )

    @classmethod
    def execute(cls, splat, rig, view_size, distance, splats_per_pixel, agree_in) -> io.NodeOutput:
        check_rig(rig)
        given = {"view_size": view_size, "distance": distance, "splats_per_pixel": splats_per_pixel}
        check_widgets(cls, **given, agree_in=agree_in)
        splats, light = splats_of(splat), to_light(colours_of(splat))
        say_first(splat)
        around = scene(splats, rig, distance)
        looks = look_around(around, (view_size, view_size), splats_per_pixel)
        spec = Spec(around, looks, Space(agree_in))
        _say_seen(spec)
        opacity = torch.stack([look.opacity for look in looks])
        depth = depth_hints(around.disparities(looks), opacity)[..., None].expand(-1, -1, -1, 3).contiguous()
        return io.NodeOutput(spec, len(rig), depth, opacity, pictures(looks, light))


def look_around(around: SplatScene, size: tuple[int, int], count: int) -> tuple[Strongest, ...]:
    """What each camera sees, on the host's device, between two of which the run can be stopped.

    Raises ValueError where memory does not hold it.
    """
    needed, free = len(around) * size[0] * size[1] * count * BYTES, comfy.model_management.get_free_memory(CPU)
    if needed > free:
        raise ValueError(
            f"view_size: {len(around)} views of {size[0]} px with {count} splats_per_pixel need {needed / 2**30:.1f} "
            f"GiB of memory and {free / 2**30:.1f} GiB are free; make views smaller or fewer, or splats_per_pixel"
        )
    looks, bar = [], comfy.utils.ProgressBar(len(around))
    for look in around.looks(size, count, comfy.model_management.get_torch_device()):
        comfy.model_management.throw_exception_if_processing_interrupted()
        looks.append(look)
        bar.update(1)
    return tuple(looks)


def _say_seen(spec: Spec) -> None:
    shown = sum(float(look.opacity.sum()) for look in spec.looks)
    kept = sum(float(look.weights.sum()) for look in spec.looks) / max(shown, 1e-9)
    seen = spec.scene.seen(spec.looks).float().mean()
    say(
        f"{len(spec.scene.splats)} splats, {seen:.0%} of which are seen by the {len(spec.scene)} views; the strongest "
        f"{spec.count} of each pixel make up {kept:.0%} of it"
    )
    if kept < LEAST_KEPT:
        warn(f"the strongest {spec.count} splats of a pixel make up {kept:.0%} of it; raise splats_per_pixel")
