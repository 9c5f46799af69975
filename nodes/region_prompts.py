"""Region Prompts: a prompt for a part of the canvas, in front of what is there, as ordinary conditioning."""

from functools import reduce

import node_helpers
import torch
from comfy_api.latest import io

from ..syncdiffusion_core.regions import boxes_mask, feathered
from .host.conditioning.bootstrapping import MARK, backdrop_of
from .host.conditioning.layers import in_front, scaled
from .host.inputs import UNCONNECTED, boxes, check_covers, check_vae, check_widgets, told
from .host.inputs import conditioning as check_conditioning
from .host.inputs import mask as canonical_mask
from .host.progress import say
from .sockets import CATEGORY

MAXIMUM_PX = 16384
THIN = 0.5
"""A region that counts less than this even in its middle is one that its feather has washed away."""


class RegionPrompts(io.ComfyNode):
    """CONDITIONING, a region's CONDITIONING and its MASK or BOUNDING_BOX -> CONDITIONING with masks."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SyncDiffusionRegionPrompts",
            display_name="Region Prompts",
            category=CATEGORY,
            description=(
                "Gives a part of the canvas a prompt of its own, in front of the prompts that are there; a node for "
                "each region. The result is ordinary conditioning with masks, which other nodes can read and write."
            ),
            search_aliases=["regional prompt", "area composition", "bounding box prompt", "mask prompt", "layout"],
            inputs=[
                io.Conditioning.Input(
                    "conditioning", tooltip="What is there already: the background, with any regions behind this one."
                ),
                io.Conditioning.Input("region", tooltip="What the region shows, from CLIP Text Encode."),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="The region as a mask; stretched over the canvas if it has another size.",
                ),
                io.BoundingBox.Input(
                    "bboxes",
                    optional=True,
                    force_input=True,
                    tooltip="The region as a box or several, in pixels of width and height; with a mask, both count.",
                ),
                io.Vae.Input(
                    "vae",
                    optional=True,
                    tooltip="Turns bootstrapping on, which keeps an object inside a tight region. Only this pack's "
                    "samplers and Apply Windows know it; the model is asked more often in these steps.",
                ),
                *_widgets(),
            ],
            outputs=[
                io.Conditioning.Output(
                    display_name="conditioning", tooltip="For a sampler, or for the next region's node."
                ),
                io.Mask.Output(display_name="mask", tooltip="Where the region is and how much it counts there."),
            ],
        )

    @classmethod
    def validate_inputs(cls, region=None, mask=UNCONNECTED, bboxes=UNCONNECTED):
        """Whether the region has a place. region: a socket that is always linked, for the host to hang the words on."""
        return told(lambda: _check_place(mask is not UNCONNECTED, bboxes is not UNCONNECTED))

    @classmethod
    def execute(
        cls, conditioning, region, width, height, feather, strength, loop, bootstrap, mask=None, bboxes=None, vae=None
    ) -> io.NodeOutput:
        check_widgets(cls, width=width, height=height, feather=feather, strength=strength, bootstrap=bootstrap)
        _check_place(mask is not None, bboxes is not None)
        hard = _hard_mask(mask, bboxes, (height, width), loop)
        place = feathered(hard, feather, loop)
        back, front = in_front(check_conditioning("conditioning", conditioning), _of_region(region), place, strength)
        _say_thin(place, feather)
        if vae is not None and bootstrap > 0:
            check_vae("vae", vae)
            backdrop = backdrop_of(vae, bootstrap, inside=float(place.max()) / 2)
            front = node_helpers.conditioning_set_values(front, {MARK: backdrop})
        return io.NodeOutput(back + front, strength * place)


def _widgets() -> list[io.Input]:
    return [
        io.Int.Input(
            "width",
            default=2048,
            min=16,
            max=MAXIMUM_PX,
            step=8,
            tooltip="Width in pixels of the picture that boxes and feather are measured on: the canvas's.",
        ),
        io.Int.Input("height", default=512, min=16, max=MAXIMUM_PX, step=8, tooltip="Its height in pixels."),
        io.Int.Input(
            "feather",
            default=32,
            min=0,
            max=MAXIMUM_PX,
            tooltip="Pixels over which the region fades into its surroundings, half of them on either side of its "
            "edge; 0 is a hard edge. Keep it below the region's size.",
        ),
        io.Float.Input(
            "strength",
            default=1.0,
            min=0.0,
            max=1.0,
            step=0.05,
            tooltip="How much of its place the region takes: at 1 all of it, below 1 what is behind shows through.",
        ),
        io.Boolean.Input(
            "loop",
            default=False,
            tooltip="For panoramas that wrap around: what a box has beyond one side comes in at the other.",
        ),
        io.Float.Input(
            "bootstrap",
            default=0.2,
            min=0.0,
            max=1.0,
            step=0.05,
            advanced=True,
            tooltip="Part of the schedule, from its start, in which the region's prompt sees plain colours outside "
            "its region; 0.2 is MultiDiffusion's. Raise it where denoise skips that start. Without effect where no VAE "
            "is connected.",
        ),
    ]


def _check_place(has_mask: bool, has_boxes: bool) -> None:
    if not has_mask and not has_boxes:
        raise ValueError("mask, bboxes: the region has no place; connect a mask, or bounding boxes, or both")


def _of_region(region: object) -> list:
    """The region's CONDITIONING; its place is this node's to say."""
    entries = check_conditioning("region", region)
    if any("default" in options for _, options in entries):
        raise ValueError("region: default conditioning has no place of its own; connect it to conditioning instead")
    if any(options.get("area") is not None for _, options in entries):
        raise ValueError(
            "region: it has an area of its own, from a Conditioning (Set Area) node; leave that node out, and say the "
            "place here, by a mask or boxes"
        )
    return entries


def _hard_mask(mask: torch.Tensor | None, bboxes: object, size: tuple[int, int], loop: bool) -> torch.Tensor:
    """[B, H, W] of that size: the mask and the boxes together, B from either."""
    parts = []
    if mask is not None:
        drawn = canonical_mask("mask", mask).cpu()
        check_covers("mask", drawn)
        parts.append(scaled(drawn, size))
        check_covers(f"mask, scaled to {size[1]} x {size[0]} px", parts[0])
    if bboxes is not None:
        parts.append(torch.stack([boxes_mask(frame, size, loop) for frame in boxes("bboxes", bboxes)]))
    counts = [len(part) for part in parts]
    if len({*counts} - {1}) > 1:
        raise ValueError(
            f"bboxes: boxes on {counts[1]} pictures and a batch of {counts[0]} masks; give as many, or one on either "
            "side"
        )
    return reduce(torch.maximum, [part.expand(max(counts), -1, -1) for part in parts])


def _say_thin(place: torch.Tensor, feather: int) -> None:
    """Tell the user of a region that fades away under its own feather."""
    most = float(place.max())
    if most < THIN:
        say(
            f"the region is much smaller than its feather of {feather} px and counts {most:.1%} at most; lower the "
            "feather, or make the region larger"
        )
