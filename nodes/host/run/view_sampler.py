"""A run over views of any canvas as a SAMPLER of the host: its latent is the batch of views."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import comfy.model_patcher
import comfy.samplers
import torch
from comfy.patcher_extension import WrappersMP
from torch import Tensor

from ....syncdiffusion_core.denoiser import Rows
from ....syncdiffusion_core.moment import Moment
from ....syncdiffusion_core.moving import sample_moving
from ....syncdiffusion_core.sampling import Method, Sampled, sample
from ....syncdiffusion_core.strategies import STRATEGIES, Synchronisation
from ....syncdiffusion_core.views.noise import redrawn
from ....syncdiffusion_core.views.view_set import aggregate
from ..conditioning.attention_merging import refuse_views as refuse_merged_views
from ..conditioning.encoding import refuse_context_windows
from ..conditioning.tags import KEY
from ..conditioning.view_slicing import ViewSlicer, check_every_view
from ..gradient.codec import load_codec
from .checks import check_guidance
from .denoiser import HostDenoiser
from .guiding import make_guidance
from .kept import free_cells
from .memory import window_memory
from .openings import Openings
from .plan import is_euler
from .resolved import RunBase
from .settings import HostGuidance
from .stateful import refuse_stateful
from .view_plan import ViewPlan, refuse_views
from .watching import Told, shown_windows
from .windowed import reads_more
from .wrapped import through


class ViewRun(RunBase):
    """A run over views x [V*N, C, …, h, w]."""

    def __init__(self, plan: ViewPlan, model: object, x: Tensor, sigmas: Tensor, extra_args: dict) -> None:
        super().__init__(plan, model, sigmas, extra_args)
        self.schedule, self.n_samples = plan.resolved.latent, len(x) // len(plan.resolved.latent.every)
        _refuse_kept(self.denoise_mask, plan.synchronisation, self.schedule.moves)
        given = extra_args.get("model_options", {})
        refuse_context_windows(given)
        refuse_stateful(given)
        refuse_merged_views(given)
        _refuse_wrapped(self.patcher)
        check_every_view(self.guider.conds, self.views)
        if plan.guidance is not None:
            check_guidance(plan.guidance, self.patcher, plan.view_px, self.views, x[: self.n_samples])
        self.slicer = ViewSlicer(self.views, self.n_samples, self.schedule.moves)
        memory = window_memory(
            self.patcher, tuple(x.shape[1:]), self.n_samples, len(self.views), plan.windows_per_batch, plan.guidance
        )
        self.use(memory)
        self.options = comfy.model_patcher.create_model_options_clone(given)
        self.extra_args = extra_args
        self.agreement = plan.agreeing.make(self.inner_model, plan.resolved, self.batches)
        load_codec(self.agreement, self.patcher, memory.reserved)

    @property
    def free(self) -> Tensor:
        """Where on the canvas the noise masks of its views let anything change: [N, *canvas], true there."""
        free = free_cells(self.denoise_mask)[:, None].float()
        return self.views.unproject(free).total[:, 0] > 0

    def own(self, canvas: Tensor, rows: Rows) -> Tensor:
        """The rows themselves, of all of them."""
        return canvas[[view * self.n_samples + sample for view, sample in zip(rows.views, rows.samples, strict=True)]]

    def ended(self, views: Tensor) -> Tensor:
        """Views without noise, cells that the noise mask keeps whole as they were: agreeing has resampled them too."""
        if self.denoise_mask is None:
            return views
        return torch.where(self.denoise_mask > 0, views, self.host_model.latent_image)


class AgreeingModel:
    """What an inner sampler is given instead of the model: clean predictions of views that agree, x0 <- F(x0).

    Its state is the batch of views, so this is SyncTweedies under whatever rule the sampler has. On guided steps the
    sampler's own x is moved, in place, before its first model call of the step. A sampler that reads more than the
    prediction (CFG++, the unconditional one) reads it of all views in one call, where they do not agree yet.
    """

    def __init__(self, run: ViewRun, guidance: HostGuidance | None, openings: Openings | None) -> None:
        self._run, self._guidance, self._openings = run, guidance, openings

    def __getattr__(self, name: str) -> object:
        return getattr(self._run.model, name)

    def __call__(self, x: Tensor, sigma: Tensor, *args: object, **kwargs: object) -> Tensor:
        """x [V*N, C, …, h, w], one sigma for all -> x0."""
        run, options = self._run, kwargs.get("model_options", self._run.options)
        moment = Moment(run.views, x, 0, float(sigma.flatten()[0]), run.n_samples, run.process, run.denoiser())
        x0 = self._moved(moment)
        if reads_more(options, run.options):
            together = HostDenoiser(run.guider, options, run.seed, run.slicer, call=through(run.model))
            x0 = run.kept(together)(x, moment.sigma, moment.rows)
        elif x0 is None:
            x0 = moment.predict(run.batches)
        return run.agreement.views(run.views, x0).to(x.dtype)

    def _moved(self, moment: Moment) -> Tensor | None:
        """Moves x if this call opens a guided step -> x0 if that need not be evaluated."""
        step = None if self._openings is None else self._openings.of(moment.sigma)
        if self._guidance is None or step is None or not self._guidance.guides(step):
            return None
        moved = self._guidance(replace(moment, step=step))
        moment.x.copy_(moved.x)
        return moved.x0


def make_view_sampler(plan: ViewPlan) -> comfy.samplers.KSAMPLER:
    """A SAMPLER that runs the plan on the batch of its views, under any guider and sigmas."""
    refuse_views(plan)

    def sample_views(model, x, sigmas, extra_args=None, callback=None, disable=None):
        run = ViewRun(plan, model, x, sigmas, extra_args or {})
        guidance = make_guidance(run)
        with shown_windows(run.guider, run.views):
            loop = _ours if is_euler(plan.inner) else _by_host
            made = loop(run, guidance, x, callback or (lambda told: None), disable)
        run.finish(made.views, x, guidance)
        if plan.on_end is not None:
            plan.on_end(made, run.agreement.in_latents)
        return made.views

    return comfy.samplers.KSAMPLER(sample_views, inpaint_options=plan.inner.inpaint_options)


def _ours(run: ViewRun, guidance: HostGuidance | None, x: Tensor, callback: Callable, disable: bool | None) -> Sampled:
    """SyncTweedies' loop with any of its strategies."""
    told, plan, strategy = Told(callback), run.plan, STRATEGIES[run.plan.synchronisation]

    def on_step(moment: Moment, x0: Tensor, state: Tensor) -> None:
        told({"i": moment.step, "sigma": moment.sigma, "sigma_hat": moment.sigma, "denoised": x0, "x": moment.x})

    method = Method(plan.synchronisation, run.agreement, guidance, run.batches, on_step=on_step)
    if run.schedule.moves:
        redraw = partial(redrawn, plan.noise.to(x))
        return sample_moving(run.denoiser(), run.process, run.schedule, x, run.sigmas, redraw, method)
    state = _noised_canvas(run) if strategy.on_canvas else x
    made = sample(run.denoiser(), run.process, run.schedule, state, run.sigmas, method)
    return made._replace(views=run.ended(made.views))


def _noised_canvas(run: ViewRun) -> Tensor:
    """The canvas at the first level, as the host noises the views."""
    given = run.host_model.latent_image
    latent, at_most = aggregate(run.views, given).to(given), run.plan.inner.max_denoise(run.guider, run.sigma_tensor)
    scaled = run.inner_model.model_sampling.noise_scaling
    return scaled(run.sigma_tensor[0], run.plan.noise.to(latent, copy=True), latent, at_most)


def _refuse_kept(denoise_mask: Tensor | None, synchronisation: Synchronisation, moves: bool) -> None:
    """Raise ValueError for a noise mask where it is not clean predictions of views that agree, or views do not stay."""
    if denoise_mask is not None and moves:
        raise ValueError(
            "latent_image: it has a noise mask of views that stay, and these turn at every step; set moves of Sphere "
            "Views to 'still', or leave the mask out"
        )
    if denoise_mask is not None and synchronisation is not Synchronisation.SYNCTWEEDIES:
        raise ValueError(
            f"latent_image: it has a noise mask, and '{synchronisation.value}' averages what it keeps with the rest; "
            f"choose '{Synchronisation.SYNCTWEEDIES.value}', or leave the mask out"
        )


def _refuse_wrapped(patcher: object) -> None:
    """Raise ValueError for a model that another node has given windows or views."""
    if patcher.get_wrappers(WrappersMP.CALC_COND_BATCH, KEY):
        raise ValueError(
            "model: Apply Windows or Synchronise Views is on it, and View Sampler has views of its own; remove one of "
            "the two nodes"
        )


def _by_host(
    run: ViewRun, guidance: HostGuidance | None, x: Tensor, callback: Callable, disable: bool | None
) -> Sampled:
    """Another sampler's own loop over the views."""
    told, openings = run.opened(guidance, callback)
    views = run.ended(run.by_host(AgreeingModel(run, guidance, openings), x, told, disable))
    return Sampled(run.agreement.result(run.views, views), views, views)
