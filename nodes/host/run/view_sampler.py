"""A run over views of any canvas as a SAMPLER of the host: its latent is the batch of views."""

import comfy.model_patcher
import comfy.samplers
import torch
from torch import Tensor

from ....syncdiffusion_core.moment import Moment
from ....syncdiffusion_core.sampling import Method, Sampled, sample
from ....syncdiffusion_core.strategies import STRATEGIES
from ..conditioning.encoding import refuse_context_windows
from ..conditioning.view_slicing import ViewSlicer, check_every_view
from ..gradient.codec import make_agreement
from .guiding import make_guidance
from .memory import load_together, window_memory
from .openings import Openings
from .plan import is_euler
from .resolved import RunBase
from .stateful import refuse_stateful
from .view_plan import ViewPlan, refuse_views
from .watching import Told, check_result, shown_windows
from .wrapped import names_in


class ViewRun(RunBase):
    """A run over views x [V*N, C, …, h, w]."""

    def __init__(self, plan: ViewPlan, model: object, x: Tensor, sigmas: Tensor, extra_args: dict) -> None:
        super().__init__(plan, model, sigmas, extra_args)
        self.schedule, self.n_samples = plan.resolved.latent, len(x) // len(plan.resolved.latent.every)
        given = extra_args.get("model_options", {})
        refuse_context_windows(given)
        refuse_stateful(given)
        check_every_view(self.guider.conds, self.views)
        if self.denoise_mask is not None:
            raise ValueError("latent_image: views have no noise mask yet; remove it with Set Latent Noise Mask's input")
        self.slicer = ViewSlicer(self.views, self.n_samples)
        memory = window_memory(
            self.patcher, tuple(x.shape[1:]), self.n_samples, len(self.views), plan.windows_per_batch, plan.guidance
        )
        self.use(memory)
        self.options = comfy.model_patcher.create_model_options_clone(given)
        self.extra_args = extra_args
        self.agreement = make_agreement(self.inner_model, plan.vae, plan.space, plan.resolved, self.batches)
        if not self.agreement.in_latents:
            load_together([self.patcher, plan.vae.patcher], memory.reserved)


class AgreeingModel:
    """What an inner sampler is given instead of the model: clean predictions of views that agree, x0 <- F(x0).

    Its state is the batch of views, so this is SyncTweedies under whatever rule the sampler has. On guided steps the
    sampler's own x is moved, in place, before its first model call of the step.
    """

    def __init__(self, run: ViewRun, guidance: object | None, openings: Openings | None) -> None:
        self._run, self._guidance, self._openings, self._denoiser = run, guidance, openings, run.denoiser()

    def __getattr__(self, name: str) -> object:
        return getattr(self._run.model, name)

    def __call__(self, x: Tensor, sigma: Tensor, *args: object, **kwargs: object) -> Tensor:
        """x [V*N, C, …, h, w], one sigma for all -> x0."""
        run, level = self._run, float(sigma.flatten()[0])
        moment = Moment(run.views, x, 0, level, run.n_samples, run.process, self._denoiser)
        return run.agreement.views(run.views, self._predicted(moment)).to(x.dtype)

    def _predicted(self, moment: Moment) -> Tensor:
        step = None if self._openings is None else self._openings.of(moment.sigma)
        if step is not None and self._guidance.guides(step):
            moved = self._guidance(Moment(**{**vars(moment), "step": step}))
            moment.x.copy_(moved.x)
            if moved.x0 is not None:
                return moved.x0
        return moment.predict(self._run.batches)


def make_view_sampler(plan: ViewPlan) -> comfy.samplers.KSAMPLER:
    """A SAMPLER that runs the plan on the batch of its views, under any guider and sigmas."""
    refuse_views(plan)

    def sample_views(model, x, sigmas, extra_args=None, callback=None, disable=None):
        run = ViewRun(plan, model, x, sigmas, extra_args or {})
        guidance = make_guidance(run)
        with shown_windows(run.guider, run.views):
            loop = _ours if is_euler(plan.inner) else _by_host
            made = loop(run, guidance, x, callback or (lambda told: None), disable)
        check_result(made.views, x)
        if guidance is not None and (line := guidance.left_out()):
            run.warn(line)
        run.finish()
        if plan.on_end is not None:
            plan.on_end(made, run.agreement.in_latents)
        return made.views

    return comfy.samplers.KSAMPLER(sample_views, inpaint_options=plan.inner.inpaint_options)


def _ours(run: ViewRun, guidance: object | None, x: Tensor, callback: object, disable: bool | None) -> Sampled:
    """SyncTweedies' loop with any of its strategies."""
    told, plan, strategy = Told(callback), run.plan, STRATEGIES[run.plan.synchronisation]

    def on_step(moment: Moment, x0: Tensor, state: Tensor) -> None:
        told({"i": moment.step, "sigma": moment.sigma, "sigma_hat": moment.sigma, "denoised": x0, "x": moment.x})

    state = x
    if strategy.on_canvas:
        noise = plan.noise.to(x)
        state = run.inner_model.model_sampling.noise_scaling(run.sigma_tensor[0], noise, torch.zeros_like(noise))
    method = Method(plan.synchronisation, run.agreement, guidance, run.batches, on_step=on_step)
    return sample(run.denoiser(), run.process, run.schedule, state, run.sigmas, method)


def _by_host(run: ViewRun, guidance: object | None, x: Tensor, callback: object, disable: bool | None) -> Sampled:
    """Another sampler's own loop over the views."""
    inner, told, openings = run.plan.inner, Told(callback), None
    if guidance is not None:
        openings = Openings(run.sigmas, names_in(inner))
        told = Told(callback, openings.tell)
    views = inner.sampler_function(
        AgreeingModel(run, guidance, openings),
        x,
        run.sigma_tensor,
        extra_args=run.extra_args,
        callback=told,
        disable=disable,
        **inner.extra_options,
    )
    return Sampled(run.agreement.result(run.views, views), views, views)
