"""Windows below CFG: what the host predicts of a canvas, condition by condition, is the mean of its windows'.

A wrapper of the host's ``calc_cond_batch``. Whatever a sampler, a guider or a node around them makes of these
predictions, it makes on the canvas: of the unconditional one (CFG++), after CFG, at a noise level of its own.
"""

from collections.abc import Callable

import comfy.model_patcher
import torch
from comfy.patcher_extension import WrappersMP
from torch import Tensor

from ....syncdiffusion_core.batching import WindowBatches
from ....syncdiffusion_core.denoiser import Rows
from ....syncdiffusion_core.views.schedule import ViewSchedule
from ....syncdiffusion_core.views.view_set import aggregate
from ..conditioning.bootstrapping import marked
from ..conditioning.encoding import refuse_context_windows
from ..conditioning.slicing import Slicer
from ..conditioning.tags import KEY, tagged
from .stateful import refuse_stateful_model
from .watching import check_canvas, check_prediction

BELOW = "syncdiffusion_below"
"""Of the wrapper that a sampler's run adds to its own model options."""


class WindowsBelow:
    """The wrapper, for one run. step_of: noise level -> step; slicer: None for one window that needs no cutting."""

    def __init__(
        self, schedule: ViewSchedule, step_of: Callable[[float], int], batches: WindowBatches, slicer: Slicer | None
    ) -> None:
        self._schedule, self._step_of, self._batches, self._slicer = schedule, step_of, batches, slicer

    def calc_cond_batch(
        self, execute: Callable, model: object, conds: list, x_in: Tensor, timestep: Tensor, model_options: dict
    ) -> list[Tensor]:
        """Predictions of the canvas x_in [N, C, …, H, W], one for each condition; windows in it pass."""
        if KEY in model_options.get("transformer_options", {}):
            return execute(model, conds, x_in, timestep, model_options)
        check_canvas(x_in, self._schedule.every)
        if len(self._schedule.every) == 1 and not any(marked(entries or ()) for entries in conds):
            return execute(model, conds, x_in, timestep, model_options)
        refuse_context_windows(model_options)
        refuse_stateful_model(model_options)
        level, n = float(timestep.flatten()[0]), x_in.shape[0]
        windows = self._schedule.at(self._step_of(level))
        views = windows.project(x_in).unflatten(0, (-1, n))  # [V, N, C, …, h, w]

        def predictions(indices: tuple[int, ...]) -> list[Tensor]:
            rows = Rows.grid(n, tuple(windows.names[index] for index in indices))
            batch = views[list(indices)].flatten(0, 1)
            args = (model, conds, batch, timestep.repeat(len(indices)), tagged(model_options, rows))
            return self._slicer.calc_cond_batch(execute, *args)

        parts: list[list[Tensor]] = [[] for _ in conds]
        for done, outs in self._batches.each(range(len(windows)), predictions):
            for part, out in zip(parts, outs, strict=True):
                part.append(out[: len(done) * n])
        means = [aggregate(windows, torch.cat(part)).to(x_in.dtype) for part in parts]
        check_prediction(x_in, means, level)
        return means


def with_windows_below(model_options: dict, below: WindowsBelow) -> dict:
    """A copy of a run's model options in which the canvas is seen through windows, whoever calls the model with them.

    The wrapper comes before all others, so that an Apply Windows on the model finds windows already.
    """
    options = comfy.model_patcher.create_model_options_clone(model_options)
    wrappers = options.setdefault("transformer_options", {}).setdefault("wrappers", {})
    others = wrappers.get(WrappersMP.CALC_COND_BATCH, {})
    wrappers[WrappersMP.CALC_COND_BATCH] = {BELOW: [below.calc_cond_batch], **others}
    return options
