"""SyncDiffusion as a SAMPLER of the host."""

from collections.abc import Callable
from functools import partial

import comfy.samplers
import torch
from torch import Tensor

from ....syncdiffusion_core.denoiser import Rows
from ....syncdiffusion_core.extrapolation import Outpainted, extrapolate, visiting_order
from ....syncdiffusion_core.moment import Moment
from ....syncdiffusion_core.sampling import Method, sample
from ....syncdiffusion_core.strategies import STRATEGIES, Synchronisation
from ....syncdiffusion_core.views.view_set import aggregate
from .guiding import make_guidance
from .kept import free_cells
from .plan import Algorithm, Plan, is_euler, refuse_unmovable, refuse_without_noise
from .previews import Previews
from .resolved import Run
from .settings import HostGuidance
from .watching import Told, shown_windows
from .windowed import Mover, WindowedGuider, WindowedModel


def make_sampler(plan: Plan) -> comfy.samplers.KSAMPLER:
    """A SAMPLER that runs the plan under any guider, noise and sigmas."""
    refuse_unmovable(plan)

    def sample_synchronised(model, x, sigmas, extra_args=None, callback=None, disable=None):
        run = Run(plan, model, x, sigmas, extra_args or {})
        guidance = None if plan.algorithm is Algorithm.SEQUENTIAL else make_guidance(run)
        previews = Previews(callback)
        with shown_windows(run.guider, run.views):
            result = _sampled(run, guidance, x, previews, disable)
        run.finish(result, x, guidance)
        previews.finish()
        return result

    return comfy.samplers.KSAMPLER(sample_synchronised, inpaint_options=plan.inner.inpaint_options)


def _sampled(run: Run, guidance: HostGuidance | None, x: Tensor, callback: Callable, disable: bool | None) -> Tensor:
    """The canvas at the last sigma."""
    if run.plan.algorithm is Algorithm.SEQUENTIAL:
        return _sequential(run, x, Told(callback))
    if run.plan.synchronisation is not Synchronisation.MULTIDIFFUSION or (guidance is not None and _is_ours(run.plan)):
        return _synchronised(run, guidance, x, Told(callback))
    return _by_host(run, guidance, x, callback, disable)


def _is_ours(plan: Plan) -> bool:
    """Whether the loop is ours: windows moved apart and a second pass at each, as in Algorithm 1."""
    return plan.algorithm is not Algorithm.HOST_SAMPLER and is_euler(plan.inner)


def _by_host(run: Run, guidance: HostGuidance | None, x: Tensor, callback: Callable, disable: bool | None) -> Tensor:
    """The inner sampler's own loop over the canvas, moved at the start of each guided step."""
    told, openings = run.opened(guidance, callback)
    mover = None if openings is None else Mover(guidance, run.denoiser(), run.process, run.schedule, openings)
    guider = WindowedGuider(run.guider, run.options, run.schedule, run.steps, run.batches, run.slicer)
    return run.by_host(WindowedModel(run.model, guider, run.options, mover), x, told, disable)


def _synchronised(run: Run, guidance: HostGuidance | None, x: Tensor, callback: Callable) -> Tensor:
    """The core's loop. Windows gather their noise from the canvas's, one cell from one: x may hold a picture too."""

    def on_step(moment: Moment, x0: Tensor, state: Tensor) -> None:
        canvas = state if strategy.on_canvas else aggregate(moment.views, state)
        _tell(callback, moment.step, moment.sigma, aggregate(moment.views, x0), canvas)

    strategy = STRATEGIES[run.plan.synchronisation]
    method = Method(run.plan.synchronisation, guidance=guidance, batches=run.batches, on_step=on_step)
    state = strategy.start(run.schedule.at(0), x)
    return sample(run.denoiser(), run.process, run.schedule, state, run.sigmas, method).canvas


def _sequential(run: Run, x: Tensor, callback: Callable) -> Tensor:
    refuse_without_noise(run.host_model.noise)
    known = torch.zeros(x.shape[0], *x.shape[-2:], dtype=torch.bool, device=x.device)
    if run.denoise_mask is not None:
        known = ~free_cells(run.denoise_mask)
    known = known[(slice(None), *[None] * (x.ndim - 3))]  # [N, 1, …, H, W]
    order = visiting_order(run.views, known)

    def on_step(done: int, sigma: float, x0: Tensor, canvas: Tensor) -> None:
        # The host's bar counts the steps of one pass over the canvas.
        _tell(callback, (done - 1) // len(order), sigma, x0, canvas)

    def denoiser(x: Tensor, sigma: float, rows: Rows) -> Tensor:
        return run.batches.alone(partial(run_denoiser, x, sigma, rows))

    run_denoiser = run.denoiser()
    given = Outpainted(x, known, run.host_model.latent_image, run.host_model.noise)
    return extrapolate(denoiser, run.process, run.views.subset(order), given, run.sigmas, on_step)


def _tell(callback: Callable, step: int, sigma: float, x0: Tensor, canvas: Tensor) -> None:
    """What the host's samplers tell after each step, for the bar and the preview."""
    callback({"i": step, "sigma": sigma, "sigma_hat": sigma, "denoised": x0, "x": canvas})
