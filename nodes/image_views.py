"""Image Views: one picture that is to be several, turned, flipped, cut up or negated."""

from collections import Counter
from collections.abc import Sequence

import comfy.utils
import torch
from comfy_api.latest import io

from ..syncdiffusion_core.canvases import images as core
from ..syncdiffusion_core.canvases.images import ImageLook, ImageMap
from ..syncdiffusion_core.views.schedule import Space
from .drawing.test_card import draw_test_card
from .host.inputs import UNCONNECTED, check_widgets, told
from .host.inputs import picture as canonical_picture
from .host.panoramas import to_image
from .host.progress import say, warn
from .sockets import CATEGORY, Views

NONE = "none"
MAPS = [each.value for each in ImageMap]
LEAST_PX, MOST_PX = 64, 4096
USUAL_CELL_PX = 8
"""Of the models that the maps are drawn for; most have latent cells of that size."""
ANOTHER = (ImageMap.PATCHES, ImageMap.PIXELS, ImageMap.JIGSAW)
"""Maps of which a second one is another one: of the next seed."""


class ImageViews(io.ComfyNode):
    """Sizes and a map for each view -> VIEWS."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SyncDiffusionImageViews",
            display_name="Image Views",
            category=CATEGORY,
            description=(
                "Describes an ambiguous image: one picture that shows something else when it is turned, flipped, "
                "negated or cut up and put together in another way (visual anagrams). Each view has a prompt of its "
                "own, from View Prompts."
            ),
            search_aliases=["visual anagrams", "ambiguous image", "optical illusion", "jigsaw", "flip", "rotate"],
            inputs=[
                _side("width", "Width of the picture and of every view in pixels: the model's own resolution."),
                _side("height", "Its height in pixels. Quarter turns and the jigsaw need a square."),
                io.Combo.Input(
                    "view_1",
                    options=MAPS,
                    default=ImageMap.IDENTITY.value,
                    tooltip="What the first view shows of the picture. identity: the picture as it is. Turns are "
                    "clockwise. from picture: its parts in the order of brightness of the picture connected below.",
                ),
                _further("view_2", "second", ImageMap.ROTATE_180.value),
                _further("view_3", "third", NONE),
                _further("view_4", "fourth", NONE),
                io.Float.Input(
                    "angle",
                    default=45.0,
                    min=-360.0,
                    max=360.0,
                    step=1.0,
                    tooltip="Degrees clockwise, of inner circle and rotate by angle. A second view of the same kind "
                    "turns twice as far, a third one three times.",
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=2**32 - 1,
                    control_after_generate=False,  # the interface would draw another one after each run
                    tooltip="Which of all permutations and jigsaws it is. A second view of the same kind is another "
                    "one, of the next seed.",
                ),
                *_expert_widgets(),
                io.Image.Input(
                    "picture",
                    optional=True,
                    tooltip="For views from picture: their order is its brightness, dark parts first; the second such "
                    "view takes the second picture of a batch. The maps are drawn with it, too.",
                ),
            ],
            outputs=[
                Views.Output(display_name="views", tooltip="The views, for View Sampler or View Transition."),
                io.Image.Output(
                    display_name="maps",
                    tooltip="What each view does to a test card of numbers and arrows, or to the picture that is "
                    "connected: one image a view.",
                ),
                io.Int.Output(
                    display_name="count",
                    tooltip="How many views there are: the batch size of an empty latent that holds one for each.",
                ),
            ],
        )

    @classmethod
    def validate_inputs(
        cls,
        width=None,
        height=None,
        view_1=None,
        view_2=None,
        view_3=None,
        view_4=None,
        angle=None,
        amount=None,
        picture=UNCONNECTED,
    ):
        """What is wrong with the maps and sizes, before the run; what another node makes is not known yet."""
        maps = {"view_1": view_1, "view_2": view_2, "view_3": view_3, "view_4": view_4}

        def check() -> None:
            check_widgets(cls, width=width, height=height, angle=angle, amount=amount, **maps)
            size = None if width is None or height is None else (height, width)
            pictures = None if picture is UNCONNECTED else torch.zeros(len(maps), 3, 1, 1)
            _looks(list(maps.values()), angle or 0.0, 0, amount or 0.0, pictures, size)

        return told(check)

    @classmethod
    def execute(
        cls, width, height, view_1, view_2, view_3, view_4, angle, seed, amount, planes, agree_in, picture=None
    ) -> io.NodeOutput:
        widgets = {"seed": seed, "planes": planes, "agree_in": agree_in, "angle": angle, "amount": amount}
        check_widgets(cls, width=width, height=height, **widgets)
        check_widgets(cls, view_1=view_1, view_2=view_2, view_3=view_3, view_4=view_4)
        given = None if picture is None else canonical_picture("picture", picture).movedim(-1, 1)  # [N, 3, h, w]
        looks = _looks((view_1, view_2, view_3, view_4), angle, seed, amount, given, (height, width))
        spec = core.ImageViews((height, width), looks, planes, Space(agree_in))
        _say_alike(looks)
        return io.NodeOutput(spec, _drawn(looks, _card(given, width, height)), len(looks))


def _side(name: str, tooltip: str) -> io.Int.Input:
    return io.Int.Input(name, default=512, min=LEAST_PX, max=MOST_PX, step=8, tooltip=tooltip)


def _further(name: str, which: str, default: str) -> io.Combo.Input:
    tooltip = f"What the {which} view shows; none for no such view and no further one."
    return io.Combo.Input(name, options=[NONE, *MAPS], default=default, tooltip=tooltip)


def _expert_widgets() -> list[io.Input]:
    return [
        io.Float.Input(
            "amount",
            default=0.0,
            min=0.0,
            max=256.0,
            step=0.05,
            advanced=True,
            tooltip="How much a map does; 0 is the usual. Patches (8) or jigsaw pieces (4) along a side; rows that a "
            "skew moves each column (1.5); diameter of an inner circle (0.75) or of rotate by angle (1), as a share of "
            "the shorter side.",
        ),
        io.Int.Input(
            "planes",
            default=1,
            min=1,
            max=16,
            advanced=True,
            tooltip="Layers of the picture, of which every view shows the mean; each costs memory for the whole "
            "picture. 1 but for experiments: SyncTweedies' n-to-1 projections have 10.",
        ),
        io.Combo.Input(
            "agree_in",
            options=[each.value for each in (Space.RGB, Space.LATENT)],
            default=Space.RGB.value,
            advanced=True,
            tooltip="In what the views are brought together at every step. pictures: decoded and encoded again, right "
            "for every model. latents: much faster, and exact for models that work on pixels only, as latents do not "
            "turn with their pictures.",
        ),
    ]


def _looks(
    maps: Sequence[str | None],
    angle: float,
    seed: int,
    amount: float,
    pictures: torch.Tensor | None,
    size: tuple | None,
) -> tuple[ImageLook, ...]:
    """Of each map that is not none. A map or size (height, width) in pixels is None where it is not known yet."""
    looks, before = [], Counter()
    for number, kind in enumerate(maps, start=1):
        if kind in (None, NONE):
            continue
        if NONE in maps[:number]:
            raise ValueError(
                f"view_{number}: it comes behind a view that is none, and would have another number in View Prompts "
                "than here; choose the views from the first one on, without a gap"
            )
        before[kind] += 1
        try:
            looks.append(_look(ImageMap(kind), before[kind], angle, seed, amount, pictures))
            if size is not None:
                _check_size(looks[-1], size)
        except ValueError as error:
            raise ValueError(f"view_{number}: {error}") from error
    return tuple(looks)


def _look(kind: ImageMap, nth: int, angle: float, seed: int, amount: float, pictures: torch.Tensor | None) -> ImageLook:
    """The nth view of its kind."""
    if kind is not ImageMap.FROM_PICTURE:
        # Only what a map has is given to it, so that looks are equal where they show the same.
        turn, which = angle * nth if kind in core.TURNED else 0.0, seed + nth - 1 if kind in ANOTHER else 0
        try:
            return ImageLook(kind, turn, which, amount if amount and kind in core.AMOUNTS else None)
        except ValueError as error:
            raise ValueError(f"{error}; amount counts for every view, and 0 is what is usual for each") from error
    if pictures is None:
        raise ValueError(f"'{kind.value}' takes its order from a picture; connect one to picture")
    if len(pictures) < nth:
        raise ValueError(
            f"it is number {nth} of the views '{kind.value}', and picture holds {len(pictures)}; connect a batch of as "
            "many pictures, or choose another map"
        )
    return ImageLook(kind, picture=pictures[nth - 1])


def _check_size(look: ImageLook, size: tuple[int, int]) -> None:
    """Raise ValueError for what no model can divide, whatever its cells are."""
    kind, (height, width) = look.kind, size
    if kind in core.SQUARE and width != height:
        raise ValueError(
            f"'{kind.value}' needs a square picture, got {width} x {height} px; give width and height the same size"
        )
    if kind in core.COUNTED and (width % look.much or height % look.much):
        raise ValueError(
            f"'{kind.value}' cannot cut {width} x {height} px into {look.much:g} {core.COUNTED[kind]} along a side; "
            "choose an amount that divides both, or another size"
        )


def _say_alike(looks: Sequence[ImageLook]) -> None:
    """Tell the user of views that show the same: one picture cannot have two contents."""
    for number, look in enumerate(looks):
        if look.kind is not ImageMap.FROM_PICTURE and look in looks[:number]:
            same = looks.index(look)
            say(f"views {same + 1} and {number + 1} both show '{look.kind.value}'; their prompts share one picture")


def _card(pictures: torch.Tensor | None, width: int, height: int) -> torch.Tensor:
    """[1, 3, H, W]: what the maps are drawn with."""
    if pictures is None:
        return to_image([draw_test_card(width, height)]).movedim(-1, 1)
    return comfy.utils.common_upscale(pictures[:1], width, height, "bicubic", "disabled").clamp(0, 1)


def _drawn(looks: Sequence[ImageLook], card: torch.Tensor) -> torch.Tensor:
    """[V, H, W, 3]; says where only a model that works on pixels can have these views."""
    size = tuple(card.shape[-2:])
    cells = (size[0] // USUAL_CELL_PX, size[1] // USUAL_CELL_PX)
    views = []
    for look in looks:
        try:
            views.append(core.seen(look, card, cells))
        except ValueError as error:
            warn(f"only for models that work on pixels: {error}")
            views.append(core.seen(look, card, size))
    return torch.cat(views).movedim(1, -1).contiguous()
