"""What each view of a batch gets of a conditioning that the host has resolved for the batch.

Here the latents of the host are the views themselves, so that masks, areas and hints are in a view's own coordinates:
one for all views, or a batch with one for each. Rows of the batch are view-major, sample-minor.
"""

from collections.abc import Callable

import comfy.conds
from comfy.controlnet import ControlBase
from torch import Tensor

from ....syncdiffusion_core.denoiser import Rows
from ....syncdiffusion_core.views.view_set import ViewSet
from .control import HintSlices
from .own_view import belongs
from .tags import KEY, tagged

Cond = dict
Conds = list[list[Cond] | None]


class ViewSlicer:
    """Picks conditioning by rows, for one run over these views of so many samples.

    moves: whether they look elsewhere at every step: then none has a picture of its own.
    """

    def __init__(self, views: ViewSet, n_samples: int, moves: bool = False) -> None:
        self._views, self._n_samples, self._moves = views, n_samples, moves
        self._hints = _ViewHints(views, self._picked)

    def calc_cond_batch(
        self, execute: Callable, model: object, conds: Conds, x_in: Tensor, timestep: Tensor, model_options: dict
    ) -> list[Tensor]:
        """A wrapper of the host's function of that name: x_in [R, C, …, h, w] are the rows that the options tag.

        Views that other conditions belong to are evaluated in calls of their own.
        """
        rows: Rows = model_options["transformer_options"][KEY]
        groups: dict[tuple, list[int]] = {}
        for row, view in enumerate(rows.views):
            seen = tuple(tuple(belongs(cond, view) for cond in entries or ()) for entries in conds)
            groups.setdefault(seen, []).append(row)
        outs = [x_in.new_zeros(x_in.shape) for _ in conds]
        for seen, group in groups.items():
            part = Rows(tuple(rows.samples[row] for row in group), tuple(rows.views[row] for row in group))
            local = [self._of_rows(entries, here, part) for entries, here in zip(conds, seen, strict=True)]
            results = execute(model, local, x_in[group], timestep[group], tagged(model_options, part))
            for out, result in zip(outs, results, strict=True):
                out[group] = result
        return outs

    def forget(self) -> None:
        """Drop what was made for batches that have failed for want of memory."""
        self._hints.forget()

    def _of_rows(self, entries: list[Cond] | None, here: tuple[bool, ...], rows: Rows) -> list[Cond] | None:
        if entries is None:
            return None
        return [self._of_cond(cond, rows) for cond, is_here in zip(entries, here, strict=True) if is_here]

    def _of_cond(self, cond: Cond, rows: Rows) -> Cond:
        local = {**cond, "model_conds": {n: self._input(n, c, rows) for n, c in cond["model_conds"].items()}}
        if cond.get("mask") is not None:
            local["mask"] = self._picked(cond["mask"], rows, "a mask")
        if cond.get("control") is not None:
            area = cond.get("area")
            shown = self._views.view if area is None else tuple(area[: len(area) // 2][-2:])
            local["control"] = self._hints.control(cond["control"], rows, shown)
        return local

    def _input(self, name: str, cond: comfy.conds.CONDRegular, rows: Rows) -> comfy.conds.CONDRegular:
        if not isinstance(cond.cond, Tensor) or cond.cond.ndim == 0 or isinstance(cond, comfy.conds.CONDConstant):
            return cond
        return cond._copy_with(self._picked(cond.cond, rows, f"the input '{name}'"))

    def _picked(self, value: Tensor, rows: Rows, what: str) -> Tensor:
        """The rows' own of a batch: of one for all, one a view, one a sample, or one a row of the whole batch."""
        count, n = value.shape[0], self._n_samples
        if count == 1:
            return value
        if self._moves and count != n:
            if bool((value == value[:1]).all()):
                return value[:1]
            raise ValueError(
                f"conditioning: {what} is a batch of {count}, and views that turn at every step have no pictures of "
                "their own; give one for all, or set moves of Sphere Views to 'still'"
            )
        if count == len(self._views) and not self._moves:
            return value[list(rows.views)]
        if count == n:
            return value[list(rows.samples)]
        if count == len(self._views) * n:
            return value[[view * n + sample for view, sample in zip(rows.views, rows.samples, strict=True)]]
        raise ValueError(
            f"conditioning: {what} is a batch of {count} for {len(self._views)} views; give one for all, or one for "
            "each view in their order"
        )


class _ViewHints(HintSlices):
    """Hints that are given for views, and need not be cut from a canvas."""

    def __init__(self, views: ViewSet, picked: Callable[[Tensor, Rows, str], Tensor]) -> None:
        super().__init__(views)
        self._picked = picked

    def _slices(self, control: object, image: Tensor, cell: int, rows: Rows) -> Tensor:
        """[B, C, H, W], one for all or one a view -> [R, C, H, W]; the host scales it."""
        part = self._picked(image, rows, "a ControlNet's hint")
        return part.expand(len(rows), *part.shape[1:]) if len(part) == 1 else part

    def _fitted(self, image: Tensor, cell: int, how: str) -> Tensor:
        return image

    def _refuse_pictures(self, control: ControlBase) -> None:
        """Of a canvas there are none."""


def check_every_view(conds: dict[str, list[Cond]], views: ViewSet) -> None:
    """Raise ValueError for a view to which no positive or negative condition belongs, and for prompts of no view."""
    for role, entries in conds.items():
        for view in range(len(views)):
            if entries and not any(belongs(cond, view) for cond in entries):
                raise ValueError(
                    f"{role}: view {view + 1} has no prompt; give View Prompts a line for each of the {len(views)} "
                    "views, or combine it with a prompt for all"
                )
        for cond in entries or ():
            if not any(belongs(cond, view) for view in range(len(views))):
                raise ValueError(
                    f"{role}: a prompt of View Prompts belongs to none of the {len(views)} views; remove its "
                    "line, or add a view"
                )
