"""SyncDiffusion Sampler: a SAMPLER for SamplerCustomAdvanced, around a SAMPLER of the host."""

import comfy.samplers
from comfy_api.latest import io

from .host.inputs import check_widgets
from .host.run.layout import check_windows
from .host.run.plan import Algorithm, Plan
from .host.run.sampler import make_sampler
from .sockets import CATEGORY, Guidance, Views


class SyncDiffusionSampler(io.ComfyNode):
    """VIEWS and SYNC_GUIDANCE around an inner SAMPLER -> SAMPLER."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SyncDiffusionSampler",
            display_name="SyncDiffusion Sampler",
            category=CATEGORY,
            description=(
                "Makes a sampler denoise through windows, with guidance towards one scene. For SamplerCustomAdvanced "
                "with any guider, noise and sigmas."
            ),
            search_aliases=["custom sampler", "samplercustomadvanced", "panorama", "multidiffusion", "syncdiffusion"],
            inputs=[
                Views.Input("windows", tooltip="From a Window Tiler."),
                Guidance.Input(
                    "guidance",
                    optional=True,
                    tooltip="From Perceptual Sync Guidance; without it, plain MultiDiffusion.",
                ),
                io.Sampler.Input(
                    "sampler",
                    optional=True,
                    tooltip="The sampler to wrap, from KSamplerSelect or a sampler node; euler when none is connected.",
                ),
                io.Combo.Input(
                    "algorithm",
                    options=Algorithm,
                    default=Algorithm.AUTOMATIC,
                    advanced=True,
                    tooltip="automatic: the paper's loop for euler and ddim, else the wrapped sampler with its latent "
                    "moved. reference: the paper to the letter. host sampler: always the wrapped sampler. sequential: "
                    "window after window, each continuing the last (a baseline, without guidance).",
                ),
                io.Int.Input(
                    "windows_per_batch",
                    default=0,
                    min=0,
                    max=4096,
                    advanced=True,
                    tooltip="Windows in one model call; 0 takes what fits. The host reserves memory for the whole "
                    "canvas before this node is asked; Apply Windows before the guider reserves for windows only.",
                ),
            ],
            outputs=[io.Sampler.Output(display_name="sampler", tooltip="For SamplerCustom or SamplerCustomAdvanced.")],
        )

    @classmethod
    def execute(cls, windows, algorithm, windows_per_batch, guidance=None, sampler=None) -> io.NodeOutput:
        check_windows(windows)
        check_widgets(cls, algorithm=algorithm, windows_per_batch=windows_per_batch)
        inner = sampler if sampler is not None else comfy.samplers.sampler_object("euler")
        return io.NodeOutput(make_sampler(Plan(windows, guidance, inner, Algorithm(algorithm), windows_per_batch)))
