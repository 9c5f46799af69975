"""SyncDiffusion as a SAMPLER of the host."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from functools import partial

import comfy.samplers
import comfy.utils
import torch
from torch import Tensor

from ...syncdiffusion_core.anchors import Anchor, AnchorKind
from ...syncdiffusion_core.guidance import GuidanceTrace, PerceptualGuidance
from ...syncdiffusion_core.pullbacks import Gradient
from ...syncdiffusion_core.sampling import sample
from ...syncdiffusion_core.schedule import Clock
from ...syncdiffusion_core.views.windows import WindowLayout, Windows
from .bootstrapping import marked
from .conditioning import encode_window_size, entries_of, refuse_context_windows
from .decoder import HostDecoder
from .denoiser import HostDenoiser
from .guidance import GuidanceSettings, HostGuidance, missing_backward
from .memory import AUTOMATIC, guided_windows_per_batch, load_together, windows_per_batch
from .perceptual import HostDistance
from .process import host_process, percent_of_sigma
from .progress import say
from .slicing import Slicer
from .stateful import refuse_stateful
from .windowed import Mover, WindowedGuider, WindowedModel

HALF_PRECISION_SCALE = 2.0**12
LOOKS_AHEAD = {"sample_heun": 2}
"""Samplers that visit a level before they stand on it: the visit that opens its step."""
KEEPS_NO_MOVE = {
    "sample_unipc": "uni_pc",
    "sample_unipc_bh2": "uni_pc_bh2",
    "sample_sa_solver": "sa_solver",
    "sample_sa_solver_pece": "sa_solver_pece",
    "dpm_adaptive_function": "dpm_adaptive",
    "dpm_fast_function": "dpm_fast",
    "sample_heunpp2": "heunpp2",
    "sample_exp_heun_2_x0": "exp_heun_2_x0",
    "sample_exp_heun_2_x0_sde": "exp_heun_2_x0_sde",
}
"""Samplers that drop or invert a move of their state (measured: at most 3 % of it reaches the result), or that
look ahead so far that the opening of a step cannot be told."""


class Algorithm(str, Enum):
    """Which loop runs."""

    AUTOMATIC = "automatic"
    REFERENCE = "reference (Algorithm 1)"
    HOST_SAMPLER = "host sampler"


@dataclass(frozen=True)
class Plan:
    """One run as the nodes describe it.

    windows_per_batch: 0 for what fits. first_step, total_steps: where the run's sigmas stand in their schedule,
    for weights by step index. on_trace: called after each guided step.
    """

    layout: WindowLayout
    guidance: GuidanceSettings | None
    inner: comfy.samplers.KSAMPLER
    algorithm: Algorithm = Algorithm.AUTOMATIC
    windows_per_batch: int = AUTOMATIC
    first_step: int = 0
    total_steps: int | None = None
    on_trace: Callable[[GuidanceTrace], None] | None = None


def make_sampler(plan: Plan) -> comfy.samplers.KSAMPLER:
    """A SAMPLER that runs the plan under any guider, noise and sigmas."""
    refuse_unmovable(plan)

    def sample_synchronised(model, x, sigmas, extra_args=None, callback=None, disable=None):
        return _Run(plan, model, x, sigmas, extra_args or {}).sample(x, callback, disable)

    return comfy.samplers.KSAMPLER(sample_synchronised, inpaint_options=plan.inner.inpaint_options)


def refuse_unmovable(plan: Plan) -> None:
    """Raise ValueError for an inner sampler under which guidance would be lost."""
    if not isinstance(plan.inner, comfy.samplers.KSAMPLER):
        raise ValueError(
            f"sampler: {type(plan.inner).__name__} runs a loop of its own that windows cannot enter; use a "
            "sampler from KSamplerSelect"
        )
    name = KEEPS_NO_MOVE.get(plan.inner.sampler_function.__name__)
    if name is not None and plan.guidance is not None and plan.guidance.schedule.weight > 0:
        raise ValueError(
            f"sampler: {name} does not carry a move of its state on, so guidance would be lost under it; choose euler, "
            "ddim, dpmpp_2m, ipndm, deis, res_multistep or an ancestral sampler, or set the guidance weight to 0"
        )
    if plan.algorithm is Algorithm.REFERENCE and not _is_euler(plan.inner):
        raise ValueError(
            f"sampler: '{Algorithm.REFERENCE.value}' is defined for euler and ddim only; choose one of them or "
            f"the algorithm '{Algorithm.HOST_SAMPLER.value}'"
        )


def _is_euler(sampler: comfy.samplers.KSAMPLER) -> bool:
    return sampler.sampler_function.__name__ == "sample_euler" and not sampler.extra_options.get("s_churn")


class _Run:
    """Everything that one call of the sampler needs; dropped when it returns."""

    def __init__(self, plan: Plan, model, x: Tensor, sigmas: Tensor, extra_args: dict) -> None:
        self.plan, self.model, self.extra_args = plan, model, extra_args
        self.guider = model.inner_model
        self.patcher, self.inner_model = self.guider.model_patcher, self.guider.inner_model
        self.sigma_tensor, self.sigmas = sigmas, [float(s) for s in sigmas]
        self.n_samples = x.shape[0]
        self.windows = resolve_windows(plan.layout, self.inner_model, x)
        self.process = host_process(self.inner_model.model_sampling)
        self._prepare_conditioning()
        self.row_shape = (*x.shape[1:-2], *self.windows.window)
        self.batch_size = windows_per_batch(
            self.patcher, self.row_shape, self.n_samples, len(self.windows), plan.windows_per_batch
        )
        seed = extra_args.get("seed")
        slices = len(self.windows) > 1 or marked(entries_of(self.guider.conds))
        self.slicer = Slicer(self.windows, seed) if slices else None
        self.denoiser = HostDenoiser(self.guider, extra_args.get("model_options", {}), seed, self.slicer)
        self.guidance = self._make_guidance()

    def sample(self, x: Tensor, callback: Callable | None, disable: bool | None) -> Tensor:
        """The canvas at the last sigma."""
        if self.guidance is not None and self._ours():
            return self._reference(x, callback)
        guider = WindowedGuider(self.guider, self.windows, self.batch_size, self.slicer)
        inner = self.plan.inner
        return inner.sampler_function(
            WindowedModel(self.model, guider, self._mover()),
            x,
            self.sigma_tensor,
            extra_args=self.extra_args,
            callback=callback,
            disable=disable,
            **inner.extra_options,
        )

    def _ours(self) -> bool:
        """Whether the loop is ours: windows moved apart and a second pass at each, as in Algorithm 1."""
        masked = self.extra_args.get("denoise_mask") is not None
        if self.plan.algorithm is Algorithm.REFERENCE and masked:
            raise ValueError(
                f"latent_image: a noise mask cannot be used with '{Algorithm.REFERENCE.value}'; choose the "
                f"algorithm '{Algorithm.HOST_SAMPLER.value}' or remove the mask"
            )
        wanted = self.plan.algorithm is not Algorithm.HOST_SAMPLER
        return wanted and not masked and _is_euler(self.plan.inner)

    def _reference(self, x: Tensor, callback: Callable | None) -> Tensor:
        def on_step(step: int, sigma: float, x0: Tensor, canvas: Tensor) -> None:
            if callback is not None:
                callback({"i": step, "sigma": sigma, "sigma_hat": sigma, "denoised": x0, "x": canvas})

        return sample(
            self.denoiser,
            self.process,
            self.windows,
            x,
            self.sigmas,
            guidance=self.guidance,
            batch_size=self.batch_size,
            on_step=on_step,
        )

    def _mover(self) -> Mover | None:
        if self.guidance is None:
            return None
        opens = LOOKS_AHEAD.get(self.plan.inner.sampler_function.__name__, 1)
        return Mover(self.guidance, self.denoiser, self.process, self.windows, self.sigmas, opens)

    def _prepare_conditioning(self) -> None:
        refuse_context_windows(self.extra_args.get("model_options", {}))
        if len(self.windows) == 1:
            return
        refuse_stateful(self.extra_args.get("model_options", {}))
        layout = self.plan.layout
        encode_window_size(self.inner_model, self.guider.conds, layout.window_width_px, layout.window_height_px)

    def _make_guidance(self) -> HostGuidance | None:
        settings = self.plan.guidance
        weights = self._weights()
        if settings is None or not any(weights):
            return None
        vae, reference = settings.vae, self.plan.algorithm is Algorithm.REFERENCE
        load_together([self.patcher, vae.patcher, settings.perceptual.patcher])
        guidance = PerceptualGuidance(
            decode=HostDecoder(vae, self.inner_model),
            distance=HostDistance(settings.perceptual),
            weights=weights,
            anchor=self._fitted_anchor(settings.anchor),
            gradient=self._gradient(settings.gradient),
            batch_size=guided_windows_per_batch(
                self.patcher, vae, self.row_shape, self.n_samples, len(self.windows), self.plan.windows_per_batch
            ),
            max_move=None if reference else settings.max_move,
            loss_scale=HALF_PRECISION_SCALE if vae.vae_dtype == torch.float16 else 1.0,
            report=partial(_report, self.plan.on_trace),
        )
        return HostGuidance(guidance)

    def _weights(self) -> list[float]:
        """The weight of each step; says so when a guidance with weight finds no step to guide."""
        settings = self.plan.guidance
        if settings is None:
            return []
        schedule = settings.schedule
        if self.plan.algorithm is Algorithm.REFERENCE:
            schedule = replace(schedule, clock=Clock.INDEX)
        percents = [percent_of_sigma(self.inner_model.model_sampling, sigma) for sigma in self.sigmas]
        weights = schedule.weights(percents, self.plan.first_step, self.plan.total_steps)
        if schedule.weight > 0 and not any(weights):
            say(
                f"no step is guided: guidance runs from {schedule.start:.0%} to {schedule.end:.0%} of the schedule "
                f"and this run from {percents[0]:.0%} to {percents[-1]:.0%}; raise the guidance's end or the denoise"
            )
        return weights

    def _gradient(self, asked: Gradient) -> Gradient:
        """The gradient asked for, or the forward-only one where the model has no backward; says so."""
        if asked is not Gradient.THROUGH_MODEL:
            return asked
        reason = missing_backward(self.patcher)
        if reason is None:
            return asked
        say(f"gradient: forward only, because the model has no backward pass here: {reason}")
        return Gradient.FORWARD_ONLY

    def _fitted_anchor(self, anchor: Anchor) -> Anchor:
        """The anchor on this canvas: its picture scaled and cropped to a window, the middle of a grid found."""
        if anchor.kind is AnchorKind.CENTRE:
            return Anchor(AnchorKind.INDEX, self.windows.centre)
        if anchor.image is None:
            return anchor
        size = (self.plan.layout.window_width_px, self.plan.layout.window_height_px)
        return replace(anchor, image=comfy.utils.common_upscale(anchor.image, *size, "bicubic", "center").clamp(0, 1))


def _report(on_trace: Callable[[GuidanceTrace], None] | None, trace: GuidanceTrace) -> None:
    """Of a function of its own: a method would tie the run to itself, and its model stay until the next collection."""
    if on_trace is not None:
        on_trace(trace)
    say(trace.describe())


def resolve_windows(layout: WindowLayout, inner_model: object, x: Tensor) -> Windows:
    """The layout over a canvas [N, C, …, H, W] of this model's latents."""
    cell_px = int(inner_model.latent_format.spacial_downscale_ratio)
    return layout.resolve((x.shape[-2], x.shape[-1]), cell_px, patch_size(inner_model))


def patch_size(inner_model: object) -> int:
    """Latent cells along the side of one of the model's patches, 1 for models without."""
    patch = getattr(inner_model.diffusion_model, "patch_size", 1)
    return int(patch[-1] if isinstance(patch, tuple | list) else patch)
