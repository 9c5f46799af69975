"""SyncDiffusion Panorama Sampler: the KSampler's sockets, windows and guidance."""

import comfy.sample
import comfy.samplers
import comfy.utils
import latent_preview
import torch
from comfy_api.latest import io

from ..syncdiffusion_core.guidance.trace import GuidanceTrace
from ..syncdiffusion_core.strategies import Synchronisation
from .host.conditioning.encoding import with_window_size
from .host.inputs import check_widgets, conditioning, told
from .host.progress import warn
from .host.run.checks import check_guidance, check_latent
from .host.run.layout import check_windows, resolve_windows, tiled_windows
from .host.run.memory import reserve_for_windows, window_memory
from .host.run.plan import Algorithm, Plan, refuse_other_loops, refuse_other_samplers
from .host.run.sampler import make_sampler
from .sockets import CATEGORY, Guidance, Views

LAST_STEP = 10000
LARGEST_SEED = 0xFFFFFFFFFFFFFFFE
"""Samplers of the host that add noise draw it from the seed after it, which has to be one of 64 bits too."""


class PanoramaSampler(io.ComfyNode):
    """Noise, windows and guidance -> a panorama's latent."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SyncDiffusionPanoramaSampler",
            display_name="SyncDiffusion Panorama Sampler",
            category=CATEGORY,
            description=(
                "Denoises a canvas of any size through overlapping windows (MultiDiffusion) and, with guidance, pulls "
                "them towards one coherent scene (SyncDiffusion). Takes what KSampler takes."
            ),
            search_aliases=["panorama", "ksampler", "multidiffusion", "syncdiffusion", "wide image", "coherent"],
            inputs=_inputs(),
            outputs=[
                io.Latent.Output(display_name="latent", tooltip="The panorama; decode it with Panorama Decode."),
                io.String.Output(
                    display_name="trace",
                    tooltip="A line for each guided step: its noise level, how much the windows differed from their "
                    "anchor on average, and how far they were moved towards it, in percent of the noisy picture.",
                ),
            ],
        )

    @classmethod
    def validate_inputs(cls, sampler_name=None, algorithm=None, synchronisation=None):
        """Whether the sampler goes with the algorithm and with the strategy."""

        def check() -> None:
            check_widgets(cls, sampler_name=sampler_name, algorithm=algorithm, synchronisation=synchronisation)
            sampler = None if sampler_name is None else comfy.samplers.sampler_object(sampler_name)
            if None not in (sampler, algorithm):
                refuse_other_loops(Algorithm(algorithm), sampler)
            if None not in (sampler, synchronisation):
                refuse_other_samplers(Synchronisation(synchronisation), sampler, Synchronisation.MULTIDIFFUSION)

        return told(check)

    @classmethod
    def execute(cls, model, windows, positive, negative, latent_image, guidance=None, **widgets) -> io.NodeOutput:
        check_widgets(cls, **widgets)
        check_windows(windows)
        check_latent(latent_image, model)
        canvas = _canvas(model, latent_image)
        positive, negative = conditioning("positive", positive), conditioning("negative", negative)
        if guidance is not None:
            counted = tiled_windows(windows, model.model, canvas.shape)
            check_guidance(guidance, model, windows.view_px, counted, canvas)
        schedule, (start, end) = schedule_of(model, widgets), (widgets["start_at_step"], widgets["end_at_step"])
        sigmas = _part(schedule, start, end, not widgets["return_with_leftover_noise"])
        if len(sigmas) < 2:
            warn(
                f"no step is run, with denoise {widgets['denoise']:g} and steps {start} to {end} of "
                f"{widgets['steps']}: the latent is passed on as it is"
            )
            return io.NodeOutput(_output(latent_image, canvas), "")
        traces: list[GuidanceTrace] = []
        plan = Plan(
            layout=windows,
            guidance=guidance,
            inner=comfy.samplers.sampler_object(widgets["sampler_name"]),
            algorithm=Algorithm(widgets["algorithm"]),
            windows_per_batch=widgets["windows_per_batch"],
            first_step=start,
            total_steps=len(schedule) - 1,
            on_trace=traces.append,
            synchronisation=Synchronisation(widgets.get("synchronisation", Synchronisation.MULTIDIFFUSION)),
        )
        sampler, seed = make_sampler(plan), widgets["seed"]
        resolved = resolve_windows(plan.windows, model.model, canvas.shape).latent
        samples = comfy.sample.sample_custom(
            _with_window_memory(model, resolved, canvas, plan.windows_per_batch, guidance),
            _noise(canvas, seed, latent_image.get("batch_index"), widgets["add_noise"]),
            widgets["cfg"],
            sampler,
            sigmas,
            with_window_size(positive, windows.window_width_px, windows.window_height_px),
            with_window_size(negative, windows.window_width_px, windows.window_height_px),
            canvas,
            noise_mask=latent_image.get("noise_mask"),
            callback=latent_preview.prepare_callback(model, len(sigmas) - 1),
            disable_pbar=not comfy.utils.PROGRESS_BAR_ENABLED,
            seed=seed,
        )
        trace = "\n".join(step.describe() for step in traces)
        return io.NodeOutput(_output(latent_image, samples), trace)


def _inputs() -> list[io.Input]:
    return [
        io.Model.Input("model", tooltip="The model that denoises each window."),
        Views.Input("windows", tooltip="From a Window Tiler."),
        Guidance.Input(
            "guidance", optional=True, tooltip="From Perceptual Sync Guidance; without it, plain MultiDiffusion."
        ),
        io.Conditioning.Input("positive", tooltip="What every window should show."),
        io.Conditioning.Input("negative", tooltip="What no window should show."),
        io.Latent.Input("latent_image", tooltip="The canvas: an empty latent of the panorama's size, or one to redo."),
        io.Int.Input(
            "seed",
            default=0,
            min=0,
            max=LARGEST_SEED,
            control_after_generate=True,
            tooltip="Seed of the canvas's noise: the same seed gives the same panorama.",
        ),
        io.Int.Input("steps", default=50, min=1, max=10000, tooltip="Number of denoising steps; the paper uses 50."),
        io.Float.Input(
            "cfg", default=7.5, min=0.0, max=100.0, step=0.1, round=0.01, tooltip="Classifier-free guidance scale."
        ),
        io.Combo.Input(
            "sampler_name",
            options=comfy.samplers.KSampler.SAMPLERS,
            default="ddim",
            tooltip="The sampling rule. ddim and euler run the paper's algorithm; others carry the guidance along.",
        ),
        io.Combo.Input(
            "scheduler",
            options=comfy.samplers.KSampler.SCHEDULERS,
            default="ddim_uniform",
            tooltip="How noise levels are spaced. ddim_uniform with 50 steps is the paper's.",
        ),
        io.Float.Input(
            "denoise",
            default=1.0,
            min=0.0,
            max=1.0,
            step=0.01,
            tooltip="Share of the schedule to run; below 1 the latent's picture shows through. Guidance acts at the "
            "start of the schedule: raise its end_percent when this is low.",
        ),
        io.Combo.Input(
            "algorithm",
            options=Algorithm,
            default=Algorithm.AUTOMATIC,
            advanced=True,
            tooltip="automatic: the paper's loop for euler and ddim, else the host's sampler with its latent moved. "
            "reference: the paper to the letter, weights by step index and moves unlimited. host sampler: always the "
            "latter. sequential: window after window, each continuing the last (a baseline, without guidance).",
        ),
        io.Int.Input(
            "start_at_step", default=0, min=0, max=LAST_STEP, advanced=True, tooltip="First step to run, from 0."
        ),
        io.Int.Input(
            "end_at_step",
            default=LAST_STEP,
            min=0,
            max=LAST_STEP,
            advanced=True,
            tooltip="Stop before this step; beyond the last step runs to the end.",
        ),
        io.Boolean.Input(
            "add_noise", default=True, advanced=True, tooltip="Off when the latent already holds leftover noise."
        ),
        io.Boolean.Input(
            "return_with_leftover_noise",
            default=False,
            advanced=True,
            tooltip="Keep the noise of the steps that were not run, for another sampler to go on from.",
        ),
        io.Int.Input(
            "windows_per_batch",
            default=0,
            min=0,
            max=4096,
            advanced=True,
            tooltip="Windows in one model call; 0 takes what fits in memory. The picture depends on it by rounding.",
        ),
        io.Combo.Input(
            "synchronisation",
            options=Synchronisation,
            default=Synchronisation.MULTIDIFFUSION,
            optional=True,
            advanced=True,
            tooltip="What is averaged where windows overlap: their noisy latents (multidiffusion), their clean "
            "predictions (synctweedies, canonical_clean) or their noise. On windows all give the same panorama, but "
            "for rounding, as long as nothing is guided. Others than multidiffusion need euler or ddim.",
        ),
    ]


def _canvas(model, latent: dict) -> torch.Tensor:
    return comfy.sample.fix_empty_latent_channels(
        model, latent["samples"], latent.get("downscale_ratio_spacial"), latent.get("downscale_ratio_temporal")
    )


def schedule_of(model, widgets: dict) -> torch.Tensor:
    """The host's noise levels for a node's widgets; the whole schedule of the run, before start and end."""
    names = {"steps": "steps", "sampler": "sampler_name", "scheduler": "scheduler", "denoise": "denoise"}
    chosen = {name: widgets[widget] for name, widget in names.items()}
    return comfy.samplers.KSampler(model, device=model.load_device, **chosen).sigmas


def _part(sigmas: torch.Tensor, start: int, end: int, force_full: bool) -> torch.Tensor:
    """The steps from start to end, the last level 0 when no noise may be left (as KSampler Advanced)."""
    part = sigmas[: end + 1].clone()
    if force_full and end < len(sigmas) - 1 and len(part):
        part[-1] = 0
    return part[start:]


def _noise(canvas: torch.Tensor, seed: int, batch_index: list[int] | None, add_noise: bool) -> torch.Tensor:
    if not add_noise:
        return comfy.sample.prepare_empty_noise(canvas)
    return comfy.sample.prepare_noise(canvas, seed, batch_index)


def _with_window_memory(model, windows, canvas: torch.Tensor, asked: int, guidance):
    """A clone of the model for which the host reserves memory for a batch of windows, not for the canvas."""
    row_shape = (*canvas.shape[1:-2], *windows.every.view)
    memory = window_memory(model, row_shape, canvas.shape[0], windows.largest, asked, guidance)
    clone = model.clone()
    reserve_for_windows(clone, memory, row_shape)
    return clone


def _output(latent: dict, samples: torch.Tensor) -> dict:
    """The input LATENT with new samples; what described its emptiness is dropped."""
    kept = {key: value for key, value in latent.items() if not key.startswith("downscale_ratio_")}
    return {**kept, "samples": samples}
