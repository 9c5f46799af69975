"""Region Prompts: a prompt for a part of the canvas, in front of what is there, as ordinary conditioning."""

import comfy.utils
import node_helpers
import torch
from comfy_api.latest import io

from ..syncdiffusion_core.regions import Box, behind, boxes_mask, feathered
from .host.bootstrapping import MARK, backdrop_of
from .sockets import CATEGORY

MAXIMUM_PX = 16384


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
    def execute(
        cls, conditioning, region, width, height, feather, strength, loop, bootstrap, mask=None, bboxes=None, vae=None
    ) -> io.NodeOutput:
        if any("default" in options for _, options in region):
            raise ValueError("region: default conditioning has no place of its own; connect it to conditioning instead")
        place = feathered(_hard_mask(mask, bboxes, (height, width), loop), feather, loop)
        back = [_with_mask(entry, lambda old: behind(old, place, strength), place) for entry in conditioning]
        front = [_with_mask(entry, lambda old: old * place, place, strength) for entry in region]
        if vae is not None and bootstrap > 0:
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


def _hard_mask(mask: torch.Tensor | None, bboxes: object, size: tuple[int, int], loop: bool) -> torch.Tensor:
    """[B, H, W] of that size: the mask and the boxes together, B from either."""
    parts = []
    if mask is not None:
        parts.append(_scaled(mask.reshape(-1, *mask.shape[-2:]), size))
    if bboxes is not None:
        parts.append(torch.stack([boxes_mask(frame, size, loop) for frame in _frames(bboxes)]))
    if not parts:
        raise ValueError("mask, bboxes: the region has no place; connect a mask, or bounding boxes, or both")
    count = max(len(part) for part in parts)
    return torch.stack([comfy.utils.repeat_to_batch_size(part, count) for part in parts]).amax(dim=0)


def _frames(bboxes: object) -> list[list[Box]]:
    """The host's three forms of BOUNDING_BOX: one box, several on each picture, or a list for each picture."""
    if isinstance(bboxes, dict):
        bboxes = [bboxes]
    frames = [bboxes] if all(isinstance(box, dict) for box in bboxes) else bboxes
    if not all(frames):
        raise ValueError("bboxes: no box where at least one is needed; draw one, or check the detector's threshold")
    return [[tuple(float(box[name]) for name in ("x", "y", "width", "height")) for box in frame] for frame in frames]


def _with_mask(entry: list, change: object, like: torch.Tensor, strength: float = 1.0) -> list:
    """A CONDITIONING entry with its mask, or 1 where it has none, changed; default entries fill what others leave."""
    tensor, options = entry
    if "default" in options:
        return entry
    old = options.get("mask")
    if old is None:
        settings = {"set_area_to_bounds": False}
        old = torch.ones_like(like[:1])
    else:
        settings = {}
        old = _scaled(old.reshape(-1, *old.shape[-2:]).to(like), like.shape[-2:])
    settings["mask_strength"] = strength * options.get("mask_strength", 1.0)
    return [tensor, {**options, **settings, "mask": change(old)}]


def _scaled(mask: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """[B, h, w] -> [B, H, W] as the host scales a condition's mask to the canvas."""
    return comfy.utils.common_upscale(mask[:, None], size[1], size[0], "bilinear", "none")[:, 0]
