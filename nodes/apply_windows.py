"""Apply Windows: MultiDiffusion under any stock sampler."""

from comfy_api.latest import io

from .host.inputs import check_widgets
from .host.run.applied import apply_windows
from .host.run.layout import check_windows
from .sockets import CATEGORY, Views


class ApplyWindows(io.ComfyNode):
    """MODEL and VIEWS -> MODEL."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SyncDiffusionApplyWindows",
            display_name="Apply Windows",
            category=CATEGORY,
            description=(
                "Lets a model denoise canvases larger than it was trained for, through overlapping windows "
                "(MultiDiffusion), under any sampler of ComfyUI. For coherence as well, use the SyncDiffusion samplers."
            ),
            search_aliases=["multidiffusion", "tiled diffusion", "panorama", "model patch", "mixture of diffusers"],
            inputs=[
                io.Model.Input("model", tooltip="The model to give windows; the one connected stays as it is."),
                Views.Input("windows", tooltip="From a Window Tiler."),
                io.Int.Input(
                    "windows_per_batch",
                    default=0,
                    min=0,
                    max=4096,
                    advanced=True,
                    tooltip="Windows in one model call; 0 takes what fits in memory.",
                ),
            ],
            outputs=[io.Model.Output(display_name="model", tooltip="For KSampler or any other sampler.")],
        )

    @classmethod
    def execute(cls, model, windows, windows_per_batch) -> io.NodeOutput:
        check_widgets(cls, windows_per_batch=windows_per_batch)
        check_windows(windows)
        return io.NodeOutput(apply_windows(model, windows, windows_per_batch))
