"""Windows on a MODEL: MultiDiffusion under any sampler, guider or patch of the host."""

from typing import NamedTuple

import torch
from comfy.patcher_extension import WrappersMP
from torch import Tensor

from ...syncdiffusion_core.batching import WindowBatches
from ...syncdiffusion_core.denoiser import Rows
from ...syncdiffusion_core.views.view_set import aggregate
from ...syncdiffusion_core.views.windows import WindowLayout
from .bootstrapping import marked
from .conditioning import encode_for_windows, models_and_conds, refuse_context_windows
from .layout import Views, make_slicer, resolve_windows
from .memory import WindowMemory, rows_reserving, say_memory, window_batches, window_memory
from .slicing import Slicer
from .stateful import refuse_stateful_model
from .tags import KEY, tagged
from .windowed import Steps

RUN = "syncdiffusion_run"
"""Of the entry in ``transformer_options`` for what one run keeps from call to call."""


class _Run(NamedTuple):
    grid: Views
    slicer: Slicer
    batches: WindowBatches
    memory: WindowMemory


def apply_windows(model: object, layout: WindowLayout, per_batch: int) -> object:
    """A clone of the model whose every prediction is the mean of its windows' (Eq. 12); see ``_Applied``."""
    if model.get_wrappers(WrappersMP.CALC_COND_BATCH, KEY):
        raise ValueError("model: Apply Windows is on this model already; remove one of the two nodes")
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
        grid = self._grid(noise_shape[-2:])
        row_shape = (*noise_shape[1:-2], *grid.every.window)
        memory = window_memory(patcher, row_shape, noise_shape[0], grid.largest, self._per_batch)
        return executor(patcher, [rows_reserving(memory, patcher, row_shape), *row_shape], *args, **kwargs)

    def sampler_sample(self, executor, guider, sigmas: Tensor, extra_args: dict, callback, noise: Tensor, *args):
        """Encode for a window what the host has encoded for the canvas, and give the run what it keeps."""
        grid, seed = self._grid(noise.shape[-2:]), extra_args.get("seed")
        if len(grid.every) > 1:
            for model, conds in models_and_conds(guider):
                encode_for_windows(model, conds, self._layout, grid.every, noise, seed)
        run = self._run(guider.model_patcher, grid, noise.shape, seed)
        extra_args["model_options"]["transformer_options"][RUN] = run
        say_memory(run.memory)
        return executor(guider, sigmas, extra_args, callback, noise, *args)

    def calc_cond_batch(self, executor, model, conds, x_in: Tensor, timestep: Tensor, model_options: dict):
        """Predictions of the canvas [N, C, H, W], one for each condition, from its windows."""
        run = model_options.get("transformer_options", {})
        if KEY in run:
            return executor(model, conds, x_in, timestep, model_options)  # a window of our own sampler
        refuse_context_windows(model_options)
        # No run is known where a node samples past the guider.
        kept = run.get(RUN) or self._run(model.current_patcher, self._grid(x_in.shape[-2:]), x_in.shape)
        if len(kept.grid.every) == 1 and not any(marked(entries or ()) for entries in conds):
            return executor(model, conds, x_in, timestep, model_options)
        refuse_stateful_model(model_options)
        windows, n = kept.grid.at(_step(run, timestep)), x_in.shape[0]
        views = windows.project(x_in).unflatten(0, (-1, n))  # [V, N, C, …, h, w]

        def predictions(indices: tuple[int, ...]) -> list[Tensor]:
            rows = Rows.grid(n, tuple(windows.names[index] for index in indices))
            batch = views[list(indices)].flatten(0, 1)
            options = tagged(model_options, rows)
            return kept.slicer.calc_cond_batch(executor, model, conds, batch, timestep.repeat(len(indices)), options)

        parts: list[list[Tensor]] = [[] for _ in conds]
        for done, outs in kept.batches.each(range(len(windows)), predictions):
            for part, out in zip(parts, outs, strict=True):
                part.append(out[: len(done) * n])
        return [aggregate(windows, torch.cat(part)).to(x_in.dtype) for part in parts]

    def _run(self, patcher: object, grid: Views, shape: tuple[int, ...], seed: int | None = None) -> _Run:
        """What one run over a canvas [N, C, …, H, W] keeps."""
        slicer = make_slicer(self._layout, grid.every, self._inner_model, seed)
        row_shape = (*shape[1:-2], *grid.every.window)
        memory = window_memory(patcher, row_shape, shape[0], grid.largest, self._per_batch)
        return _Run(grid, slicer, window_batches(memory.windows, memory.halves, slicer.forget), memory)

    def _grid(self, size: tuple[int, int]) -> Views:
        return resolve_windows(self._layout, self._inner_model, torch.empty(1, 1, *size, device="meta"))


def _step(run: dict, timestep: Tensor) -> int:
    """The step of a call by its noise level; the first where a node samples by itself and says no levels."""
    levels = run.get("sample_sigmas")
    return 0 if levels is None else Steps(levels.tolist()).of(float(timestep.flatten()[0]))
