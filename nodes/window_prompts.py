"""Window Prompts: a prompt for each part of the panorama, as ordinary conditioning."""

import torch
from comfy_api.latest import io

from ..syncdiffusion_core.regions import sections
from .host.inputs import check_connected, check_widgets, told
from .prompts import common_widget, encoded, lines_in
from .sockets import CATEGORY

LONG, SHORT = 1024, 16  # pixels of the masks; the host scales them to the canvas
RIGHTWARDS, DOWNWARDS = "left to right", "top to bottom"


class WindowPrompts(io.ComfyNode):
    """CLIP and lines of text -> CONDITIONING with masks."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SyncDiffusionWindowPrompts",
            display_name="Window Prompts",
            category=CATEGORY,
            description=(
                "Gives each part of a panorama a prompt of its own, from left to right, fading into its neighbours. "
                "The result is ordinary conditioning with masks: combine it with any other."
            ),
            search_aliases=["regional prompt", "prompt schedule", "prompts along a panorama", "area composition"],
            inputs=[
                io.Clip.Input("clip", tooltip="The text encoder, as for CLIP Text Encode."),
                io.String.Input(
                    "prompts",
                    multiline=True,
                    dynamic_prompts=True,
                    default="",
                    tooltip="A prompt a line, for equal parts of the canvas in this order. Empty lines do not count.",
                ),
                common_widget(),
                io.Combo.Input(
                    "direction",
                    options=[RIGHTWARDS, DOWNWARDS],
                    default=RIGHTWARDS,
                    tooltip="Along which side of the canvas the prompts follow each other.",
                ),
                io.Float.Input(
                    "blend",
                    default=0.5,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    tooltip="Width of the fade between neighbours, in parts: 0 is a hard border, 1 fades from middle "
                    "to middle.",
                ),
                io.Boolean.Input(
                    "loop",
                    default=False,
                    tooltip="Let the last prompt fade into the first, for panoramas that wrap around.",
                ),
            ],
            outputs=[io.Conditioning.Output(display_name="conditioning", tooltip="For the positive input.")],
        )

    @classmethod
    def validate_inputs(cls, prompts=None):
        """Whether there is a prompt."""
        return told(lambda: None if prompts is None else lines_in(prompts))

    @classmethod
    def execute(cls, clip, prompts, common, direction, blend, loop) -> io.NodeOutput:
        lines = lines_in(prompts)
        check_widgets(cls, direction=direction, blend=blend)
        check_connected("clip", clip, "the checkpoint may hold no text encoder: add a Load CLIP node")
        conditioning = []
        for line, weight in zip(lines, sections(len(lines), LONG, blend, loop), strict=True):
            values = {"mask": _mask(weight, direction), "set_area_to_bounds": False, "mask_strength": 1.0}
            conditioning += encoded(clip, line, common, values)
        return io.NodeOutput(conditioning)


def _mask(weight: torch.Tensor, direction: str) -> torch.Tensor:
    """[1, H, W] of a weight along one side."""
    mask = weight.expand(1, SHORT, -1)
    return mask.transpose(1, 2).contiguous() if direction == DOWNWARDS else mask.contiguous()
