"""What each window gets of a conditioning: its own part of everything that is tied to places on the canvas.

The host resolves conditioning for the canvas once and hands it to the model in ``calc_cond_batch``, together with the
latents. Here it is cut to the windows of the batch: masks, image-shaped inputs and ControlNet hints row by row, areas
and GLIGEN boxes as what is left of them inside a window, in its own coordinates. What has no place is passed on whole.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from ....syncdiffusion_core.canvases.windows import Windows
from ....syncdiffusion_core.denoiser import Rows
from .attention_merging import merges, refuse_parts, refuse_with_merging
from .bootstrapping import Bootstrapping
from .control import HintSlices
from .gligen import DifferentiableGligen
from .patches import refuse_pictures
from .pictures import Pictures
from .positions import Places
from .regions import Parts, Regions
from .tags import KEY, MAPS, WINDOWS, tagged

Cond = dict
Conds = list[list[Cond] | None]


class Slicer:
    """Cuts conditioning for one run; it keeps the ControlNets of each batch of windows and the noise of backdrops.

    seed: of the run. whereabouts: None where the model is not told the windows' places. patch: cells along the side of
    one of the model's patches.
    """

    def __init__(
        self, windows: Windows, seed: int | None = None, whereabouts: Places | None = None, patch: int = 1
    ) -> None:
        self._windows, self._hints, self._whereabouts = windows, HintSlices(windows), whereabouts
        self._pictures, self._regions = Pictures(windows), Regions(windows, patch)
        self._bootstrapping = Bootstrapping(windows, seed)
        self._checked = len(windows) == 1
        self._maps: dict[tuple, object] = {}

    def calc_cond_batch(
        self, execute: Callable, model: object, conds: Conds, x_in: Tensor, timestep: Tensor, model_options: dict
    ) -> list[Tensor]:
        """A wrapper of the host's function of that name: x_in [R, C, …, h, w] are the rows that the options tag.

        Windows that an area or a box meets at different places are evaluated in separate calls: the host runs the
        model on an area's own pixels. So are windows whose true position the model is told. Where attention is merged
        all windows are evaluated in one call.
        """
        if not self._checked:
            refuse_pictures(model_options, conds, self._windows)
            self._checked = True
        rows: Rows = model_options["transformer_options"][KEY]
        n, merging = rows.n_samples, merges(model, timestep, model_options["transformer_options"])
        if merging:
            refuse_with_merging(model_options)
        groups: dict[tuple[tuple[Parts, ...], int | None], list[int]] = {}
        for index, parts in enumerate(zip(*(self._parts(c, rows, merging) for c in conds), strict=True)):
            groups.setdefault((parts, index if self._whereabouts else None), []).append(index)
        if merging and len(groups) > 1:
            refuse_parts()
        outs = [torch.zeros_like(x_in) for _ in conds]
        for (parts, _), group in groups.items():
            picked = [index * n + sample for index in group for sample in range(n)]
            part = Rows.grid(n, tuple(rows.distinct_views[index] for index in group))
            local = [self._of_group(entries, seen, part) for entries, seen in zip(conds, parts, strict=True)]
            args = (model, local, x_in[picked], timestep[picked], self._options(model_options, part))
            results = self._bootstrapping.calc_cond_batch(execute, *args)
            for out, result in zip(outs, results, strict=True):
                out[picked] = result
        return outs

    def forget(self) -> None:
        """Drop what was made for batches that have failed for want of memory."""
        self._hints.forget()

    def _options(self, model_options: dict, rows: Rows) -> dict:
        options = tagged(model_options, rows)
        run = options["transformer_options"]
        run[WINDOWS], run[MAPS] = self._windows, self._maps
        if self._whereabouts is not None:
            run["rope_options"] = self._whereabouts.rope_options(rows.views[0], run.get("rope_options"))
        return options

    def _parts(self, entries: list[Cond] | None, rows: Rows, everywhere: bool) -> list[Parts]:
        """For each view: where each condition is in it, (areas, GLIGEN boxes).

        everywhere: a condition is evaluated in every window, also where its mask hides it.
        """
        visible = [True] * len(rows.distinct_views)
        seen = [visible if everywhere else self._pictures.seen(cond, rows) for cond in entries or ()]
        return [
            tuple(self._regions.of(cond, view, sees[k]) for cond, sees in zip(entries or (), seen, strict=True))
            for k, view in enumerate(rows.distinct_views)
        ]

    def _of_group(self, entries: list[Cond] | None, parts: Parts, rows: Rows) -> list[Cond] | None:
        if entries is None:
            return None
        return [
            part
            for cond, (areas, boxes) in zip(entries, parts, strict=True)
            for part in self._of_cond(cond, areas, boxes, rows)
        ]

    def _of_cond(self, cond: Cond, areas: tuple | None, boxes: tuple | None, rows: Rows) -> Iterator[Cond]:
        """The condition for these rows: once for each part of its area that the window sees, or just once."""
        local = {**cond, "model_conds": self._pictures.inputs(cond, rows)}
        if cond.get("mask") is not None:
            local["mask"] = self._pictures.rows(cond["mask"], rows)
        if boxes is not None:
            kind, gligen, _ = cond["gligen"]
            local["gligen"] = (kind, DifferentiableGligen(gligen), list(boxes))
        for area in (None,) if areas is None else areas:
            part = dict(local) if area is None else {**local, "area": area}
            if cond.get("control") is not None:
                part["control"] = self._hints.control(cond["control"], rows, self._shown_of(area))
            yield part

    def _shown_of(self, area: tuple[int, ...] | None) -> tuple[int, int]:
        """(height, width) that the model is shown of a window."""
        if area is None:
            return self._windows.view
        *_, height, width = area[: len(area) // 2]
        return height, width
