"""View Transition: frames in which an ambiguous image turns into one of its views."""

import comfy.model_management
import comfy.utils
import torch
from comfy_api.latest import io

from ..syncdiffusion_core.canvases.images import ImageViews
from ..syncdiffusion_core.canvases.transitions import Easing, pictures_between
from .host.inputs import check_widgets, picture
from .sockets import CATEGORY, Views


class ViewTransition(io.ComfyNode):
    """IMAGE and VIEWS -> IMAGE: frames."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SyncDiffusionViewTransition",
            display_name="View Transition",
            category=CATEGORY,
            description=(
                "Turns an ambiguous image into one of its views before your eyes: it is rotated, flipped over, skewed "
                "or negated, or its pieces fly to their new places. The frames are for Create Video or any other node "
                "that takes a batch of images."
            ),
            search_aliases=["animate", "morph", "visual anagrams", "video", "rotate", "frames"],
            inputs=[
                io.Image.Input(
                    "image",
                    tooltip="The picture, from View Sampler: of the size of Image Views, or enlarged to two, three … "
                    "times that. Pictures of a batch follow one another.",
                ),
                Views.Input("views", tooltip="The views that it was made with, from Image Views."),
                io.Int.Input(
                    "view",
                    default=2,
                    min=1,
                    max=9999,
                    tooltip="The view it turns into, from 1 as in Image Views.",
                ),
                io.Int.Input(
                    "frames",
                    default=48,
                    min=2,
                    max=10000,
                    tooltip="Frames of the way, with the picture and the view themselves: 48 are two seconds of 24 "
                    "frames.",
                ),
                io.Int.Input(
                    "hold",
                    default=12,
                    min=0,
                    max=10000,
                    tooltip="Frames that the picture stands still before, and the view after, in addition.",
                ),
                io.Combo.Input(
                    "easing",
                    options=Easing,
                    default=Easing.SMOOTH,
                    tooltip="smooth: starts and stops slowly. even: always at the same speed.",
                ),
                io.Boolean.Input(
                    "back",
                    default=False,
                    tooltip="Goes back to the picture by the same frames, for videos that loop.",
                ),
                io.Int.Input(
                    "cell_size",
                    default=8,
                    min=1,
                    max=64,
                    advanced=True,
                    tooltip="Pixels along a latent cell of the model that made the picture: 8 for most, 16 for "
                    "Flux.2, 1 for models that work on pixels. Only pixel permutation and from picture depend on it.",
                ),
            ],
            outputs=[
                io.Image.Output(
                    display_name="frames",
                    tooltip="The frames in order; the first is the picture, the last one what the view shows of it "
                    "(the picture again with back).",
                )
            ],
        )

    @classmethod
    def execute(cls, image, views, view, frames, hold, easing, back, cell_size=8) -> io.NodeOutput:
        check_widgets(cls, view=view, frames=frames, hold=hold, easing=easing, cell_size=cell_size)
        pictures = picture("image", image)
        spec = _check_views(views, view)
        cells = _cells(spec, tuple(pictures.shape[1:3]), cell_size)
        order = _order(frames, hold, back)
        places: list[list[int]] = [[] for _ in range(frames)]
        for place, shows in enumerate(order):
            places[shows].append(place)
        out = torch.empty(len(pictures), len(order), *pictures.shape[1:])
        bar = comfy.utils.ProgressBar(len(pictures) * frames)
        for shot, still in zip(out, pictures.cpu(), strict=True):
            way = pictures_between(still.movedim(-1, 0), spec.maps[view - 1], cells, frames, Easing(easing))
            for where, frame in zip(places, way, strict=True):
                shot[where] = frame.movedim(0, -1)
                comfy.model_management.throw_exception_if_processing_interrupted()
                bar.update(1)
        return io.NodeOutput(out.flatten(0, 1))


def _check_views(views: object, view: int) -> ImageViews:
    if not isinstance(views, ImageViews):
        raise ValueError(
            "views: only a picture that is seen in several ways can turn from one into the other, and these views are "
            f"{type(views).__name__}; connect Image Views"
        )
    if view > len(views.maps):
        raise ValueError(f"view: it must be between 1 and {len(views.maps)}, the number of views, got {view}")
    return views


def _cells(spec: ImageViews, size: tuple[int, int], cell_px: int) -> tuple[int, int]:
    """(height, width) in latent cells of the picture as it was made; size: of the one that is here."""
    (height, width), (made_height, made_width) = size, spec.size_px
    times = height // made_height
    if times < 1 or (height, width) != (times * made_height, times * made_width):
        raise ValueError(
            f"image: it is {width} x {height} px and the views are of {made_width} x {made_height} px; scale it to "
            "that size or a whole multiple of it"
        )
    if made_height % cell_px or made_width % cell_px:
        raise ValueError(
            f"cell_size: {cell_px} px do not divide a picture of {made_width} x {made_height} px; give the size of the "
            "model's latent cells"
        )
    return made_height // cell_px, made_width // cell_px


def _order(frames: int, hold: int, back: bool) -> list[int]:
    """Which picture of the way each frame shows."""
    there = [0] * hold + list(range(frames)) + [frames - 1] * hold
    return there + list(range(frames - 2, -1, -1)) + [0] * hold if back else there
