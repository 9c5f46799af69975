"""Views on a MODEL: a latent batch of views under any stock sampler, whose clean predictions agree (SyncTweedies)."""

from typing import NamedTuple

from comfy.patcher_extension import WrappersMP
from torch import Tensor

from ....syncdiffusion_core.agreement import Agreement
from ....syncdiffusion_core.denoiser import Rows
from ....syncdiffusion_core.views.schedule import Resolved, ViewSpec
from ....syncdiffusion_core.views.view_set import ViewSet
from ..conditioning.attention_merging import refuse_views
from ..conditioning.encoding import refuse_context_windows
from ..conditioning.tags import KEY, tagged
from ..conditioning.view_slicing import ViewSlicer, check_every_view
from ..gradient.codec import Agreeing, load_codec
from .checks import check_levels
from .layout import cells_of
from .memory import window_batches, window_memory

RUN = "syncdiffusion_views_run"
"""Of the entry in ``transformer_options`` for what one run keeps from call to call."""


class _Run(NamedTuple):
    views: ViewSet
    slicer: ViewSlicer
    agreement: Agreement


def synchronise_views(model: object, spec: ViewSpec, agreeing: Agreeing) -> object:
    """A clone of the model that denoises a latent batch of these views into one canvas; see ``_Synchronised``."""
    if model.get_wrappers(WrappersMP.CALC_COND_BATCH, KEY):
        raise ValueError("model: windows or views are on this model already; remove one of the two nodes")
    resolved = spec.resolve(None, cells_of(model.model))
    if resolved.latent.moves:
        raise ValueError(
            "views: they turn at every step, and a stock sampler keeps the noise of views that stay; use View Sampler, "
            "or set moves of Sphere Views to 'still'"
        )
    clone = model.clone()
    synchronised = _Synchronised(spec, resolved, agreeing)
    clone.add_wrapper_with_key(WrappersMP.SAMPLER_SAMPLE, KEY, synchronised.sampler_sample)
    clone.add_wrapper_with_key(WrappersMP.CALC_COND_BATCH, KEY, synchronised.calc_cond_batch)
    clone.add_wrapper_with_key(WrappersMP.PREDICT_NOISE, KEY, synchronised.predict_noise)
    return clone


class _Synchronised:
    """Wrappers of one model. They hold settings only: nothing of a run stays here.

    Rows of the latent are view-major, sample-minor: V views of one picture, or all first views of N pictures and so on.
    What a guider predicts, by CFG or otherwise, is replaced by the canvas's opinion of it; what a sampler makes of that
    it makes of each view.
    """

    def __init__(self, spec: ViewSpec, resolved: Resolved, agreeing: Agreeing) -> None:
        self._spec, self._resolved, self._agreeing = spec, resolved, agreeing

    def sampler_sample(self, executor, guider, sigmas: Tensor, extra_args: dict, callback, noise: Tensor, *args):
        """Give the run what it keeps."""
        check_levels(sigmas)
        options, views = extra_args["model_options"], self._resolved.latent.every
        refuse_context_windows(options)
        refuse_views(options)
        self._check_latent(noise)
        check_every_view(guider.conds, views)
        patcher, n = guider.model_patcher, len(noise) // len(views)
        memory = window_memory(patcher, tuple(noise.shape[1:]), n, len(views), asked=0)
        agreement = self._agreeing.make(guider.inner_model, self._resolved, window_batches(memory.windows))
        load_codec(agreement, patcher, memory.reserved)
        options["transformer_options"][RUN] = _Run(views, ViewSlicer(views, n), agreement)
        return executor(guider, sigmas, extra_args, callback, noise, *args)

    def calc_cond_batch(self, executor, model, conds, x_in: Tensor, timestep: Tensor, model_options: dict):
        """Predictions of the views, each by its own conditions."""
        run = model_options.get("transformer_options", {}).get(RUN)
        if run is None:  # a node samples past the guider
            raise ValueError(
                "model: it is asked for a prediction outside of a sampler's run, where views are not known; use a "
                "stock sampler with Synchronise Views"
            )
        if KEY in model_options["transformer_options"]:
            raise ValueError(
                "model: Synchronise Views is on it, and the sampler has windows of its own; use a stock sampler, or "
                "remove Synchronise Views"
            )
        self._check_latent(x_in)
        rows = Rows.grid(len(x_in) // len(run.views), run.views.names)
        return run.slicer.calc_cond_batch(executor, model, conds, x_in, timestep, tagged(model_options, rows))

    def predict_noise(self, executor, x: Tensor, timestep: Tensor, model_options: dict, seed: int | None) -> Tensor:
        """F(x0) of what the guider predicts."""
        run = model_options["transformer_options"][RUN]
        x0 = executor(x, timestep, model_options, seed)
        return run.agreement.views(run.views, x0).to(x0.dtype)

    def _check_latent(self, x: Tensor) -> None:
        views = self._resolved.latent.every
        if len(x) % len(views) or tuple(x.shape[-2:]) != views.view:
            height, width = self._spec.view_px
            raise ValueError(
                f"latent_image: {len(x)} latents of {x.shape[-1]} x {x.shape[-2]} cells for {len(views)} views of "
                f"{views.view[1]} x {views.view[0]}; give an empty latent of {width} x {height} px with a batch size "
                f"of {len(views)}, or a multiple of it"
            )
