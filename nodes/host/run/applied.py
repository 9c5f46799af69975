"""Windows on a MODEL: MultiDiffusion under any sampler, guider or patch of the host."""

from collections.abc import Sequence
from typing import NamedTuple

from comfy.patcher_extension import WrappersMP
from torch import Tensor

from ....syncdiffusion_core.canvases.window_layout import WindowLayout
from ....syncdiffusion_core.views.schedule import ViewSchedule
from ..conditioning.encoding import encode_for_windows, entries_of, models_and_conds
from ..conditioning.patches import windows_per_batch
from ..conditioning.tags import KEY
from ..progress import warn
from .below import WindowsBelow
from .checks import check_levels, check_masks, check_shape
from .layout import layout_remarks, make_slicer, resolve_windows
from .memory import WindowMemory, rows_reserving, say_memory, window_batches, window_memory
from .watching import shown_windows
from .windowed import Steps

RUN = "syncdiffusion_run"
"""Of the entry in ``transformer_options`` for what one run keeps from call to call."""


class _Run(NamedTuple):
    below: WindowsBelow
    memory: WindowMemory


def apply_windows(model: object, layout: WindowLayout, per_batch: int) -> object:
    """A clone of the model whose every prediction is the mean of its windows' (Eq. 12); see ``_Applied``."""
    if model.get_wrappers(WrappersMP.CALC_COND_BATCH, KEY):
        raise ValueError("model: windows or views are on this model already; remove one of the two nodes")
    clone = model.clone()
    applied = _Applied(clone, layout, per_batch)
    clone.add_wrapper_with_key(WrappersMP.PREPARE_SAMPLING, KEY, applied.prepare_sampling)
    clone.add_wrapper_with_key(WrappersMP.SAMPLER_SAMPLE, KEY, applied.sampler_sample)
    clone.add_wrapper_with_key(WrappersMP.CALC_COND_BATCH, KEY, applied.calc_cond_batch)
    return clone


class _Applied:
    """Wrappers of one model. They hold settings only: nothing of a run stays here.

    Each condition's prediction is averaged by itself, before CFG, which is the same for a linear CFG; patches
    after CFG see the canvas.
    """

    def __init__(self, model: object, layout: WindowLayout, per_batch: int) -> None:
        self._inner_model, self._layout, self._per_batch = model.model, layout, per_batch

    def prepare_sampling(self, executor, patcher, noise_shape, *args, **kwargs):
        """Reserve memory for one batch of windows instead of the canvas."""
        check_shape(noise_shape, self._inner_model.latent_format)
        schedule = self._schedule(noise_shape)
        row_shape = (*noise_shape[1:-2], *schedule.every.view)
        memory = window_memory(patcher, row_shape, noise_shape[0], schedule.largest, self._per_batch)
        return executor(patcher, [rows_reserving(memory, patcher, row_shape), *row_shape], *args, **kwargs)

    def sampler_sample(self, executor, guider, sigmas: Tensor, extra_args: dict, callback, noise: Tensor, *args):
        """Encode for a window what the host has encoded for the canvas, and give the run what it keeps."""
        check_levels(sigmas)
        check_masks(entries_of(guider.conds), noise.shape)
        schedule, seed = self._schedule(noise.shape), extra_args.get("seed")
        for line in layout_remarks(self._layout, schedule.every, self._inner_model):
            warn(line)
        if len(schedule.every) > 1:
            for model, conds in models_and_conds(guider):
                encode_for_windows(model, conds, self._layout, schedule.every, noise, seed)
        options = extra_args["model_options"]
        conds = list(guider.conds.values())
        run = self._run(guider.model_patcher, options, conds, noise, Steps(sigmas.tolist()), seed)
        options["transformer_options"][RUN] = run
        say_memory(run.memory)
        with shown_windows(guider, schedule.every):
            return executor(guider, sigmas, extra_args, callback, noise, *args)

    def calc_cond_batch(self, executor, model, conds, x_in: Tensor, timestep: Tensor, model_options: dict):
        """Predictions of the canvas [N, C, H, W], one for each condition, from its windows."""
        kept = model_options.get("transformer_options", {})
        run = kept.get(RUN)
        if run is None and KEY not in kept:  # a node samples past the guider, and says no levels
            run = self._run(model.current_patcher, model_options, conds, x_in, Steps([0.0]))
        if run is None:
            return executor(model, conds, x_in, timestep, model_options)
        return run.below.calc_cond_batch(executor, model, conds, x_in, timestep, model_options)

    def _run(
        self, patcher: object, model_options: dict, conds: list, x: Tensor, steps: Steps, seed: int | None = None
    ) -> _Run:
        """What one run over a canvas x [N, C, …, H, W] keeps."""
        schedule, n = self._schedule(x.shape), x.shape[0]
        slicer = make_slicer(self._layout, schedule.every, self._inner_model, seed)
        per_batch = windows_per_batch(self._per_batch, schedule.every, patcher, model_options, conds, n)
        memory = window_memory(patcher, (*x.shape[1:-2], *schedule.every.view), n, schedule.largest, per_batch)
        batches = window_batches(memory.windows, memory.halves, slicer.forget)
        return _Run(WindowsBelow(schedule, steps.of, batches, slicer), memory)

    def _schedule(self, size: Sequence[int]) -> ViewSchedule:
        return resolve_windows(self._layout, self._inner_model, size).latent
