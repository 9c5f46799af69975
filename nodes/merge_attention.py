"""Merge Window Attention: coherence without gradients, by self-attention over the whole canvas."""

from comfy_api.latest import io

from .host.conditioning.attention_merging import merge_attention
from .host.inputs import check_widgets
from .sockets import CATEGORY


class MergeWindowAttention(io.ComfyNode):
    """MODEL -> MODEL."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SyncDiffusionMergeAttention",
            display_name="Merge Window Attention",
            category=CATEGORY,
            description=(
                "Lets the windows of a panorama look at each other: self-attention runs over the whole canvas in the "
                "first part of the schedule (MAD). It draws them together without gradients, at about the price of "
                "MultiDiffusion for a canvas of a few windows; attention grows with the square of the canvas. For "
                "models with a UNet: SD 1.5, SD 2, SDXL."
            ),
            search_aliases=["mad", "merge attend diffuse", "shared attention", "panorama coherence", "attention patch"],
            inputs=[
                io.Model.Input(
                    "model",
                    tooltip="The model to patch, for a SyncDiffusion sampler or before or after Apply Windows; the one "
                    "connected stays as it is. Without windows nothing changes.",
                ),
                io.Float.Input(
                    "end_percent",
                    default=0.5,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="Merge up to this part of the schedule: half is the paper's choice, less leaves windows "
                    "more of their own, 0 is plain MultiDiffusion. All windows go into one model call: memory grows "
                    "with the canvas, the time of attention with its square.",
                ),
            ],
            outputs=[io.Model.Output(display_name="model", tooltip="For a SyncDiffusion sampler or Apply Windows.")],
        )

    @classmethod
    def execute(cls, model, end_percent) -> io.NodeOutput:
        check_widgets(cls, end_percent=end_percent)
        return io.NodeOutput(merge_attention(model, end_percent))
