"""SyncDiffusion as a SAMPLER of the host."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import comfy.samplers
import comfy.utils
import torch
from torch import Tensor

from ...syncdiffusion_core.anchors import Anchor, AnchorKind
from ...syncdiffusion_core.denoiser import Denoiser
from ...syncdiffusion_core.extrapolation import extrapolate, visiting_order
from ...syncdiffusion_core.guidance import GuidanceTrace, PerceptualGuidance
from ...syncdiffusion_core.loss_scale import LossScale
from ...syncdiffusion_core.perceptual.resized import Resized
from ...syncdiffusion_core.pullbacks import Gradient
from ...syncdiffusion_core.sampling import sample
from ...syncdiffusion_core.schedule import Clock, concentrate
from ...syncdiffusion_core.views.windows import Grid
from .attention_merging import merging_of
from .bootstrapping import marked
from .checks import check_guidance
from .conditioning import encode_for_windows, entries_of, models_and_conds, refuse_context_windows
from .decoder import HostDecoder, make_decoder, pixel_space_vae, say_look
from .denoiser import HostDenoiser
from .guidance import HostGuidance, missing_backward, say_forward_only
from .kept import KeptWindows, free_cells
from .layout import make_slicer, resolve_windows
from .memory import load_together, say_memory, window_batches, window_memory
from .perceptual import HostDistance
from .plan import Algorithm, Plan, is_euler, refuse_unmovable, refuse_without_noise
from .previews import Previews
from .process import host_process, percent_of_sigma
from .progress import say
from .stateful import refuse_stateful
from .windowed import Mover, Steps, WindowedGuider, WindowedModel

LOOKS_AHEAD = {"sample_heun": 2}
"""Samplers that visit a level before they stand on it: the visit that opens its step."""


def make_sampler(plan: Plan) -> comfy.samplers.KSAMPLER:
    """A SAMPLER that runs the plan under any guider, noise and sigmas."""
    refuse_unmovable(plan)

    def sample_synchronised(model, x, sigmas, extra_args=None, callback=None, disable=None):
        return _Run(plan, model, x, sigmas, extra_args or {}).sample(x, callback, disable)

    return comfy.samplers.KSAMPLER(sample_synchronised, inpaint_options=plan.inner.inpaint_options)


class _Run:
    """Everything that one call of the sampler needs; dropped when it returns."""

    def __init__(self, plan: Plan, model, x: Tensor, sigmas: Tensor, extra_args: dict) -> None:
        self.plan, self.model, self.extra_args = plan, model, extra_args
        self.guider = model.inner_model
        self.patcher, self.inner_model = self.guider.model_patcher, self.guider.inner_model
        self.sigma_tensor, self.sigmas = sigmas, [float(s) for s in sigmas]
        self.n_samples = x.shape[0]
        self.grid = resolve_windows(plan.windows, self.inner_model, x).later(plan.first_step)
        self.windows = self.grid.every
        if plan.guidance is not None:
            check_guidance(plan.guidance, self.patcher, plan.windows, x)
        self.process = host_process(self.inner_model.model_sampling)
        self.row_shape = (*x.shape[1:-2], *self.windows.window)
        self._prepare_conditioning(x)
        sizes = (self.row_shape, self.n_samples, self.grid.largest, plan.windows_per_batch)
        self.memory = window_memory(self.patcher, *sizes, plan.guidance)
        say_memory(self.memory)
        # One window is cut too where a gradient may go through the networks of its conditioning.
        slices = len(self.windows) > 1 or plan.guidance is not None or marked(entries_of(self.guider.conds))
        seed = extra_args.get("seed")
        self.slicer = make_slicer(plan.windows, self.windows, self.inner_model, seed) if slices else None
        self.forget = None if self.slicer is None else self.slicer.forget
        self.batches = window_batches(self.memory.windows, self.memory.halves, self.forget)
        self.denoise_mask = extra_args.get("denoise_mask")
        self.denoiser = self._denoiser()
        self.guidance = self._make_guidance(x)

    def sample(self, x: Tensor, callback: Callable | None, disable: bool | None) -> Tensor:
        """The canvas at the last sigma."""
        previews = Previews(callback)
        result = self._sampled(x, previews, disable)
        previews.finish()
        return result

    def _sampled(self, x: Tensor, callback: Callable, disable: bool | None) -> Tensor:
        if self.plan.algorithm is Algorithm.SEQUENTIAL:
            return self._sequential(x, callback)
        if self.guidance is not None and self._ours():
            return self._reference(x, callback)
        inner, steps = self.plan.inner, Steps(self.sigmas)
        guider = WindowedGuider(self.guider, self.grid, steps, self.batches, self.slicer)
        return inner.sampler_function(
            WindowedModel(self.model, guider, self._mover(steps)),
            x,
            self.sigma_tensor,
            extra_args=self.extra_args,
            callback=callback,
            disable=disable,
            **inner.extra_options,
        )

    def _denoiser(self) -> Denoiser:
        """Of windows that may have moved apart, kept cells blended in."""
        options = self.extra_args.get("model_options", {})
        denoiser = HostDenoiser(
            self.guider, options, self.extra_args.get("seed"), self.slicer, self.memory.recompute_model
        )
        if self.denoise_mask is None:
            return denoiser
        return KeptWindows(denoiser, self.windows, self.model, self.denoise_mask, options)

    def _ours(self) -> bool:
        """Whether the loop is ours: windows moved apart and a second pass at each, as in Algorithm 1."""
        return self.plan.algorithm is not Algorithm.HOST_SAMPLER and is_euler(self.plan.inner)

    def _reference(self, x: Tensor, callback: Callable | None) -> Tensor:
        return sample(
            self.denoiser,
            self.process,
            self.grid,
            x,
            self.sigmas,
            guidance=self.guidance,
            batch_size=self.batches,
            on_step=partial(_tell, callback),
        )

    def _sequential(self, x: Tensor, callback: Callable | None) -> Tensor:
        refuse_without_noise(self.model.noise)
        known = torch.zeros(x.shape[0], *x.shape[-2:], dtype=torch.bool, device=x.device)
        if self.denoise_mask is not None:
            known = ~free_cells(self.denoise_mask)
        known = known[(slice(None), *[None] * (x.ndim - 3))]  # [N, 1, …, H, W]
        order = visiting_order(self.windows, known)

        def on_step(done: int, sigma: float, x0: Tensor, canvas: Tensor) -> None:
            # The host's bar counts the steps of one pass over the canvas.
            _tell(callback, (done - 1) // len(order), sigma, x0, canvas)

        given = (self.sigmas, known, self.model.latent_image, self.model.noise, order)
        return extrapolate(self.denoiser, self.process, self.windows, x, *given, on_step=on_step)

    def _mover(self, steps: Steps) -> Mover | None:
        if self.guidance is None:
            return None
        opens = LOOKS_AHEAD.get(self.plan.inner.sampler_function.__name__, 1)
        return Mover(self.guidance, self.denoiser, self.process, self.grid, steps, opens)

    def _prepare_conditioning(self, x: Tensor) -> None:
        refuse_context_windows(self.extra_args.get("model_options", {}))
        if len(self.windows) == 1:
            return
        refuse_stateful(self.extra_args.get("model_options", {}))
        for model, conds in models_and_conds(self.guider):
            encode_for_windows(model, conds, self.plan.windows, self.windows, x, self.extra_args.get("seed"))

    def _make_guidance(self, x: Tensor) -> HostGuidance | None:
        settings = self.plan.guidance
        weights = self._weights()
        if settings is None or not any(weights):
            return None
        savings, reference = settings.savings, self.plan.algorithm is Algorithm.REFERENCE
        merged = merging_of(self.patcher.model_options.get("transformer_options", {})) is not None
        decoder = make_decoder(savings.look, settings.vae or pixel_space_vae(), self.inner_model, savings.precision)
        say_look(savings.look, self.inner_model.latent_format)
        decoder.recompute = self.memory.recompute_decoder
        load_together([self.patcher, decoder.patcher, settings.perceptual.patcher], self.memory.reserved)
        guidance = PerceptualGuidance(
            decode=decoder,
            distance=Resized(HostDistance(settings.perceptual), savings.shrink),
            weights=weights,
            anchor=self._fitted_anchor(settings.anchor, x, decoder),
            gradient=self._gradient(settings.gradient),
            batch_size=window_batches(self.memory.pulled or self.memory.windows, forget=self.forget),
            decode_batch=window_batches(self.memory.decoded, forget=self.forget),
            first_pass_batch=window_batches(self.memory.windows, forget=self.forget) if merged else self.batches,
            max_move=None if reference else settings.max_move,
            loss_scale=LossScale() if decoder.dtype == torch.float16 else None,
            where=self._where(settings.mask),
            guided=savings.guided,
            second_pass=savings.second_pass or merged,  # guidance looks at windows alone, and the step is merged
            spectrum=settings.spectrum,
            spectrum_source=settings.spectrum_source,
            report=partial(_report, self.plan.on_trace),
        )
        return HostGuidance(guidance, self.patcher.is_dynamic())

    def _weights(self) -> list[float]:
        """The weight of each step; says so when a guidance with weight finds no step to guide."""
        settings = self.plan.guidance
        if settings is None:
            return []
        schedule = settings.savings.over(settings.schedule)
        if self.plan.algorithm is Algorithm.REFERENCE:
            schedule = replace(schedule, clock=Clock.INDEX)
        percents = [percent_of_sigma(self.inner_model.model_sampling, sigma) for sigma in self.sigmas]
        weights = schedule.weights(percents, self.plan.first_step, self.plan.total_steps)
        weights = [settings.savings.strength * weight for weight in concentrate(weights, settings.savings.part)]
        if schedule.weight > 0 and not any(weights):
            say(
                f"no step is guided: guidance runs from {schedule.start:.0%} to {schedule.end:.0%} of the schedule "
                f"and this run from {percents[0]:.0%} to {percents[-1]:.0%}; raise the guidance's end or the denoise"
            )
        return weights

    def _where(self, mask: Tensor | None) -> Tensor | None:
        """How much of its move each cell of the canvas takes, [N or 1, H, W]; None for all of it everywhere."""
        if mask is None and self.denoise_mask is None:
            return None
        where = torch.ones(1, *self.windows.canvas, device=self.sigma_tensor.device)
        if mask is not None:
            where = comfy.utils.reshape_mask(mask, (mask.shape[0], 1, *self.windows.canvas))[:, 0].to(where)
        if self.denoise_mask is not None:
            where = where * free_cells(self.denoise_mask)
        if not where.any():
            say("no window is guided: the guidance's mask and the noise mask leave it no place to act")
        return where

    def _gradient(self, asked: Gradient) -> Gradient:
        """The gradient asked for, or the forward-only one where the model has no backward; says so."""
        if asked is not Gradient.THROUGH_MODEL:
            return asked
        reason = missing_backward(self.patcher)
        if reason is None:
            return asked
        say_forward_only(reason)
        return Gradient.FORWARD_ONLY

    def _fitted_anchor(self, anchor: Anchor, x: Tensor, decoder: HostDecoder) -> Anchor:
        """The anchor on this canvas: its picture the size of a decoded window, the place of a window by index."""
        if anchor.kind is AnchorKind.INDEX:
            tiled = resolve_windows(replace(self.plan.windows, grid=Grid.TILED), self.inner_model, x)
            return replace(anchor, corner=tiled.origins[anchor.window(tiled)])
        if anchor.image is None:
            return anchor
        size = decoder.picture_size(self.plan.windows.window_width_px, self.plan.windows.window_height_px)
        return replace(anchor, image=comfy.utils.common_upscale(anchor.image, *size, "bicubic", "center").clamp(0, 1))


def _tell(callback: Callable | None, step: int, sigma: float, x0: Tensor, canvas: Tensor) -> None:
    """What the host's samplers tell after each step, for the bar and the preview."""
    if callback is not None:
        callback({"i": step, "sigma": sigma, "sigma_hat": sigma, "denoised": x0, "x": canvas})


def _report(on_trace: Callable[[GuidanceTrace], None] | None, trace: GuidanceTrace) -> None:
    """Of a function of its own: a method would tie the run to itself, and its model stay until the next collection."""
    if on_trace is not None:
        on_trace(trace)
    say(trace.describe())
