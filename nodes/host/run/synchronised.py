"""Views on a MODEL: a latent batch of views under any stock sampler, whose clean predictions agree (SyncTweedies)."""

from typing import NamedTuple

from comfy.patcher_extension import WrappersMP
from torch import Tensor

from ....syncdiffusion_core.agreement import Agreement
from ....syncdiffusion_core.denoiser import Rows
from ....syncdiffusion_core.views.schedule import Resolved, Space, ViewSpec
from ....syncdiffusion_core.views.view_set import ViewSet
from ..conditioning.encoding import refuse_context_windows
from ..conditioning.tags import KEY, tagged
from ..conditioning.view_slicing import ViewSlicer, check_every_view
from ..gradient.codec import make_agreement
from .checks import check_levels
from .layout import cells_of
from .memory import load_together, window_batches, window_memory

RUN = "syncdiffusion_views_run"
"""Of the entry in ``transformer_options`` for what one run keeps from call to call."""


class _Run(NamedTuple):
    views: ViewSet
    slicer: ViewSlicer
    agreement: Agreement


def synchronise_views(model: object, spec: ViewSpec, vae: object | None, space: Space) -> object:
    """A clone of the model that denoises a latent batch of these views into one canvas; see ``_Synchronised``."""
    if model.get_wrappers(WrappersMP.CALC_COND_BATCH, KEY):
        raise ValueError("model: windows or views are on this model already; remove one of the two nodes")
    clone = model.clone()
    synchronised = _Synchronised(spec, spec.resolve(None, cells_of(model.model)), vae, space)
    clone.add_wrapper_with_key(WrappersMP.SAMPLER_SAMPLE, KEY, synchronised.sampler_sample)
    clone.add_wrapper_with_key(WrappersMP.CALC_COND_BATCH, KEY, synchronised.calc_cond_batch)
    clone.set_model_sampler_post_cfg_function(synchronised.agree)
    return clone


class _Synchronised:
    """Wrappers of one model. They hold settings only: nothing of a run stays here.

    Rows of the latent are view-major, sample-minor: V views of one picture, or all first views of N pictures and so on.
    After CFG, clean predictions are replaced by the canvas's opinion of them; what a sampler makes of these it makes of
    each view.
    """

    def __init__(self, spec: ViewSpec, resolved: Resolved, vae: object | None, space: Space) -> None:
        self._spec, self._resolved, self._vae, self._space = spec, resolved, vae, space

    def sampler_sample(self, executor, guider, sigmas: Tensor, extra_args: dict, callback, noise: Tensor, *args):
        """Give the run what it keeps."""
        check_levels(sigmas)
        options, views = extra_args["model_options"], self._resolved.latent.every
        refuse_context_windows(options)
        self._check_latent(noise)
        check_every_view(guider.conds, views)
        patcher, n = guider.model_patcher, len(noise) // len(views)
        memory = window_memory(patcher, tuple(noise.shape[1:]), n, len(views), asked=0)
        agreement = make_agreement(
            guider.inner_model, self._vae, self._space, self._resolved, window_batches(memory.windows)
        )
        if not agreement.in_latents:
            load_together([patcher, self._vae.patcher], memory.reserved)
        options["transformer_options"][RUN] = _Run(views, ViewSlicer(views, n), agreement)
        return executor(guider, sigmas, extra_args, callback, noise, *args)

    def calc_cond_batch(self, executor, model, conds, x_in: Tensor, timestep: Tensor, model_options: dict):
        """Predictions of the views, each by its own conditions."""
        run = model_options.get("transformer_options", {}).get(RUN)
        if run is None or KEY in model_options["transformer_options"]:
            return executor(model, conds, x_in, timestep, model_options)
        self._check_latent(x_in)
        rows = Rows.grid(len(x_in) // len(run.views), run.views.names)
        return run.slicer.calc_cond_batch(executor, model, conds, x_in, timestep, tagged(model_options, rows))

    def agree(self, args: dict) -> Tensor:
        """After CFG: F(x0)."""
        run = args["model_options"].get("transformer_options", {}).get(RUN)
        if run is None:  # a node samples past the guider
            raise ValueError(
                "model: it is asked for a prediction outside of a sampler's run, where views are not known; use a "
                "stock sampler with Synchronise Views"
            )
        return run.agreement.views(run.views, args["denoised"]).to(args["denoised"].dtype)

    def _check_latent(self, x: Tensor) -> None:
        views = self._resolved.latent.every
        if len(x) % len(views) or tuple(x.shape[-2:]) != views.view:
            height, width = self._spec.view_px
            raise ValueError(
                f"latent_image: {len(x)} latents of {x.shape[-1]} x {x.shape[-2]} cells for {len(views)} views of "
                f"{views.view[1]} x {views.view[0]}; give an empty latent of {width} x {height} px with a batch size "
                f"of {len(views)}, or a multiple of it"
            )
