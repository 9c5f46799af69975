"""The guidance of one run: the user's settings, made for this model, canvas and schedule."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import comfy.utils
import torch
from torch import Tensor

from ....syncdiffusion_core.guidance.loss import PerceptualLoss
from ....syncdiffusion_core.guidance.loss_scale import LossScale
from ....syncdiffusion_core.guidance.perceptual import Limits, Passes, PerceptualGuidance
from ....syncdiffusion_core.guidance.pullbacks import Gradient, Pullback, make_pullback
from ....syncdiffusion_core.guidance.targets import Picture, ReferenceView, Target
from ....syncdiffusion_core.guidance.trace import GuidanceTrace
from ....syncdiffusion_core.guidance.turns import Turns
from ....syncdiffusion_core.perceptual.resized import Resized
from ....syncdiffusion_core.schedule import Clock, concentrate
from ..conditioning.attention_merging import merging_of
from ..gradient.decoder import HostDecoder, make_decoder, pixel_space_vae, say_look
from ..gradient.perceptual import HostDistance
from ..progress import say
from .memory import load_together, window_batches
from .plan import Algorithm
from .process import percent_of_sigma
from .resolved import RunBase
from .settings import GuidanceSettings, HostGuidance, missing_backward, refusal, say_forward_only


def make_guidance(run: RunBase) -> HostGuidance | None:
    """The run's guidance; None where it has none, or it could move nothing."""
    settings = run.plan.guidance
    weights = _weights(run)
    if settings is None or not any(weights) or _is_alone(run, settings):
        return None
    savings, reference = settings.savings, run.plan.algorithm is Algorithm.REFERENCE
    merged = merging_of(run.patcher.model_options.get("transformer_options", {})) is not None
    decoder = make_decoder(savings.look, settings.vae or pixel_space_vae(), run.inner_model, savings.precision)
    say_look(savings.look, run.inner_model.latent_format)
    decoder.recompute = run.memory.recompute_decoder
    load_together([run.patcher, decoder.patcher, settings.perceptual.patcher], run.memory.reserved)
    loss = PerceptualLoss(
        decode=decoder,
        distance=Resized(HostDistance(settings.perceptual), savings.shrink),
        target=_fitted(run, settings.target, decoder),
        batches=window_batches(run.memory.decoded, forget=run.forget),
        loss_scale=LossScale() if decoder.dtype == torch.float16 else None,
    )
    passes = Passes(
        first=window_batches(run.memory.windows, forget=run.forget) if merged else run.batches,
        pulled=window_batches(run.memory.pulled or run.memory.windows, forget=run.forget),
        second=savings.second_pass or merged,  # guidance looks at windows alone, and the step is merged
    )
    limits = Limits(None if reference else settings.max_move, _where(run, settings.mask))
    guidance = PerceptualGuidance(weights, loss, _pullback(run, settings), Turns(savings.guided), passes, limits)
    return HostGuidance(guidance, partial(_report, run.plan.on_trace))


def _is_alone(run: RunBase, settings: GuidanceSettings) -> bool:
    """Whether there is one window, and nothing else that it could be pulled towards; says so."""
    alone = len(run.views) == 1 and not isinstance(settings.target, Picture)
    if alone:
        run.warn(
            "guidance: it is left out, because one window would be its own anchor; a reference image can be the anchor "
            "of one window"
        )
    return alone


def _weights(run: RunBase) -> list[float]:
    """The weight of each step; says so when a guidance with weight finds no step to guide."""
    settings = run.plan.guidance
    if settings is None:
        return []
    schedule = settings.savings.over(settings.schedule)
    if run.plan.algorithm is Algorithm.REFERENCE:
        schedule = replace(schedule, clock=Clock.INDEX)
    percents = [percent_of_sigma(run.inner_model.model_sampling, sigma) for sigma in run.sigmas]
    weights = schedule.weights(percents, run.plan.first_step, run.plan.total_steps)
    weights = [settings.savings.strength * weight for weight in concentrate(weights, settings.savings.part)]
    if schedule.weight > 0 and not any(weights):
        run.warn(
            f"guidance: no step is guided, because it runs from {schedule.start:.0%} to {schedule.end:.0%} of the "
            f"schedule and this run from {percents[0]:.0%} to {percents[-1]:.0%}; raise its end_percent or the denoise"
        )
    return weights


def _where(run: RunBase, mask: Tensor | None) -> Tensor | None:
    """How much of its move each cell of the canvas takes, [N or 1, H, W]; None for all of it everywhere."""
    if mask is None and run.denoise_mask is None:
        return None
    device, canvas = run.sigma_tensor.device, run.views.canvas
    where = torch.ones(1, *canvas, device=device)
    if mask is not None:
        where = comfy.utils.reshape_mask(mask, (mask.shape[0], 1, *canvas))[:, 0].to(where)
    if run.denoise_mask is not None:
        where = where * run.free
    if not where.any():
        run.warn("guidance: no window is guided, because its mask and the noise mask leave it no place to act")
    return where


def _pullback(run: RunBase, settings: GuidanceSettings) -> Pullback:
    """That of the gradient asked for, or the forward-only one where the model has no backward; says so."""
    gradient = settings.gradient
    reason = missing_backward(run.patcher) if gradient is Gradient.THROUGH_MODEL else None
    if reason is not None:
        say_forward_only(reason)
        gradient = Gradient.FORWARD_ONLY
    known = partial(refusal, run.patcher.is_dynamic())
    return make_pullback(gradient, settings.spectrum, settings.spectrum_source, known)


def _fitted(run: RunBase, target: Target, decoder: HostDecoder) -> Target:
    """The target on this canvas: a picture of the size of a decoded window, the place of a window by index."""
    if isinstance(target, ReferenceView):
        return target.on(run.counted)
    if not isinstance(target, Picture):
        return target
    height, width = run.plan.view_px
    size = decoder.picture_size(width, height)
    return Picture(comfy.utils.common_upscale(target.image, *size, "bicubic", "center").clamp(0, 1))


def _report(on_trace: Callable[[GuidanceTrace], None] | None, trace: GuidanceTrace) -> None:
    """Of a function of its own: a method would tie the run to itself, and its model stay until the next collection."""
    if on_trace is not None:
        on_trace(trace)
    say(trace.describe())
