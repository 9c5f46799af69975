"""Bake Views to Splat: pictures of the views as the colours of the splats."""

from enum import Enum

import torch
from comfy_api.latest import io
from torch import Tensor

from ..syncdiffusion_core.canvases.splat_bake import Bake, baked, from_beside
from ..syncdiffusion_core.canvases.splat_spec import SplatViews as Spec
from ..syncdiffusion_core.canvases.splat_tables import Strongest
from ..syncdiffusion_core.canvases.splats import splat_views
from .host.inputs import check_connected, check_widgets, picture
from .host.progress import say, warn
from .host.splats import colours_of, say_first, splats_of, with_colours
from .sockets import CATEGORY, Views
from .splat_views import look_around


class Orders(str, Enum):
    """What becomes of colours that change with the direction."""

    CLEARED = "cleared"
    KEPT = "kept"


class Unseen(str, Enum):
    """What colour splats have that no view sees."""

    BESIDE = "from beside"
    KEPT = "kept"


class BakeViewsToSplat(io.ComfyNode):
    """VIEWS, SPLAT and IMAGE of each view -> SPLAT."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SyncDiffusionBakeViewsToSplat",
            display_name="Bake Views to Splat",
            category=CATEGORY,
            description=(
                "Gives gaussian splats the colours that pictures of their views show, each splat from all the pixels "
                "that it is seen in. Places, shapes and opacities stay as they are."
            ),
            search_aliases=[
                "gaussian splatting",
                "3dgs",
                "splat colours",
                "texture splat",
                "project views",
                "unproject",
            ],
            inputs=[
                Views.Input("views", tooltip="From Splat Views."),
                io.Splat.Input("splat", tooltip="The splats that Splat Views was given."),
                io.Image.Input(
                    "images",
                    tooltip="A picture for each view in their order: View Sampler's canvas, or its views decoded; "
                    "square, of any size.",
                ),
                io.Combo.Input(
                    "method",
                    options=Bake,
                    default=Bake.LEAST_SQUARES,
                    tooltip="mean: of the pixels that a splat is seen in, softer than the pictures. least squares: "
                    "colours by which the views look like the pictures.",
                ),
                io.Int.Input(
                    "steps",
                    default=4,
                    min=1,
                    max=100,
                    advanced=True,
                    tooltip="Of least squares, each of which costs as much as the mean; of no effect on mean.",
                ),
                io.Combo.Input(
                    "directions",
                    options=Orders,
                    default=Orders.CLEARED,
                    advanced=True,
                    tooltip="How the splats' own colours change with the direction that they are seen from. cleared: "
                    "not at all any more. kept: as before, on top of the new colours.",
                ),
                io.Combo.Input(
                    "unseen",
                    options=Unseen,
                    default=Unseen.BESIDE,
                    advanced=True,
                    tooltip="Splats that hardly any view sees. from beside: the mean colour of those nearby that are "
                    "seen. kept: their own.",
                ),
            ],
            outputs=[io.Splat.Output(display_name="splat", tooltip="The splats in their new colours.")],
        )

    @classmethod
    def execute(cls, views, splat, images, method, steps, directions, unseen) -> io.NodeOutput:
        check_connected("views", views, "add a Splat Views node")
        if not isinstance(views, Spec):
            raise ValueError("views: these are no views of splats; connect Splat Views")
        check_widgets(cls, method=method, steps=steps, directions=directions, unseen=unseen)
        own = colours_of(splat)
        _check_same(views, splats_of(splat))
        say_first(splat)
        pixels = _pictures(views, images)
        looks, count = _looks(views, (pixels.shape[-2], pixels.shape[-1])), len(views.scene.splats)
        colours = baked(splat_views(looks, count), pixels, steps if method == Bake.LEAST_SQUARES else 0)
        seen = views.scene.seen(looks)
        say(f"{seen.float().mean():.0%} of {count} splats have their colour from the pictures")
        if unseen == Unseen.BESIDE:
            colours = from_beside(colours, seen, views.scene.splats.positions)
        else:
            colours = torch.where(seen[:, None], colours, own)
        return io.NodeOutput(with_colours(splat, colours, directions == Orders.KEPT))


def _check_same(views: Spec, splats: object) -> None:
    if len(splats) != len(views.scene.splats):
        raise ValueError(
            f"splat: it has {len(splats)} splats and those of the views are {len(views.scene.splats)}; connect the "
            "splats that Splat Views was given"
        )


def _pictures(views: Spec, images: object) -> Tensor:
    """One for each view: [V, 3, h, w]."""
    pixels, count = picture("images", images).movedim(-1, 1).cpu(), len(views.scene)
    if len(pixels) % count:
        raise ValueError(f"images: a batch of {len(pixels)} pictures for {count} views; give one for each")
    if pixels.shape[-2] != pixels.shape[-1]:
        raise ValueError(
            f"images: the views are square, and these are {pixels.shape[-1]} x {pixels.shape[-2]} px; give "
            "them as View Sampler makes them"
        )
    several = len(pixels) // count
    if several > 1:
        warn(f"images: {several} pictures of each view, of which the first is taken")
    return pixels[::several]


def _looks(views: Spec, size: tuple[int, int]) -> tuple[Strongest, ...]:
    """What the cameras see in pictures of that size."""
    return views.looks if size == views.view_px else look_around(views.scene, size, views.count)
