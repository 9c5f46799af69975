"""What each window gets of a conditioning: its own part of everything that is tied to places on the canvas.

The host resolves conditioning for the canvas once and hands it to the model in ``calc_cond_batch``, together with the
latents. Here it is cut to the windows of the batch: masks, image-shaped inputs and ControlNet hints row by row, areas
and GLIGEN boxes as what is left of them inside a window, in its own coordinates. What has no place is passed on whole.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import product

import comfy.conds
import comfy.utils
import torch
from torch import Tensor

from ....syncdiffusion_core.canvases.windows import Windows
from ....syncdiffusion_core.denoiser import Rows
from .attention import ATTENTION, attends_to_places, cut_attention
from .attention_merging import merges, refuse_parts, refuse_with_merging
from .bootstrapping import Bootstrapping
from .control import HintSlices
from .gligen import DifferentiableGligen
from .patches import refuse_pictures
from .positions import Places
from .tags import KEY, MAPS, WINDOWS, cut, image_scale, tagged

OTHER_SCALES = ("effnet", "lq_latent")
"""The host's names of pictures that a model stretches over whatever it is shown: Stable Cascade's, PiD's."""

Cond = dict
Conds = list[list[Cond] | None]
Parts = tuple  # what has to be the same for all rows of one model call: areas and boxes of each condition


class Slicer:
    """Cuts conditioning for one run; it keeps the ControlNets of each batch of windows and the noise of backdrops.

    seed: of the run. whereabouts: None where the model is not told the windows' places. patch: cells along the side of
    one of the model's patches.
    """

    def __init__(
        self, windows: Windows, seed: int | None = None, whereabouts: Places | None = None, patch: int = 1
    ) -> None:
        self._windows, self._hints, self._whereabouts = windows, HintSlices(windows), whereabouts
        self._patch = patch
        self._bootstrapping = Bootstrapping(windows, seed)
        self._checked = len(windows) == 1
        self._shown: dict[int, tuple[Tensor, dict[int, bool]]] = {}
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
        seen = [visible if everywhere else self._seen(cond, rows) for cond in entries or ()]
        return [
            tuple(
                (self._areas(cond, view) if sees[k] else (), self._boxes(cond, view))
                for cond, sees in zip(entries or (), seen, strict=True)
            )
            for k, view in enumerate(rows.distinct_views)
        ]

    def _seen(self, cond: Cond, rows: Rows) -> list[bool]:
        """Whether the condition's mask leaves anything of it in each view: what it hides need not be evaluated.

        The host gives default conditions a mask of its own.
        """
        if cond.get("mask") is None or "default" in cond:
            return [True] * len(rows.distinct_views)
        # Looked up once a window and run: asking a device waits for it.
        _, shown = self._shown.setdefault(id(cond["mask"]), (cond["mask"], {}))
        unknown = tuple(dict.fromkeys(view for view in rows.distinct_views if view not in shown))
        if unknown:
            parts = self._rows(cond["mask"], Rows.grid(rows.n_samples, unknown)).unflatten(0, (len(unknown), -1))
            shown.update(zip(unknown, parts.flatten(1).any(dim=1).tolist(), strict=True))
        return [shown[view] for view in rows.distinct_views]

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
        text = cond["model_conds"].get("c_crossattn")
        words = 0 if text is None else text.cond.shape[1]
        local = {
            **cond,
            "model_conds": {name: self._input(name, c, words, rows) for name, c in cond["model_conds"].items()},
        }
        if cond.get("mask") is not None:
            local["mask"] = self._rows(cond["mask"], rows)
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

    def _input(self, name: str, cond: comfy.conds.CONDRegular, words: int, rows: Rows) -> comfy.conds.CONDRegular:
        """An input of the model, cut if it is an image of the canvas; what has no place is passed on whole.

        An image of the canvas: four dimensions or more, of which the last two are the canvas's height and width in
        latent cells, or the same whole multiple of both (camera paths in pixels). So it is not text [B, tokens, width],
        nor a reference picture of its own size. An entry of a list is cut only where it is exactly the canvas's size;
        constants never are; what the host makes to the latents' shape always must be. words: tokens of text.
        """
        value = cond.cond
        if isinstance(cond, comfy.conds.CONDConstant):
            return cond
        if name == ATTENTION and attends_to_places(value, words, self._windows):
            return cond._copy_with(cut_attention(value, words, self._windows, rows))
        if isinstance(cond, comfy.conds.CONDList):
            return cond._copy_with([self._rows(v, rows) if image_scale(v, self._windows) == 1 else v for v in value])
        if scale := image_scale(value, self._windows):
            return cond._copy_with(cut(self._windows, value, rows, scale))
        if isinstance(value, Tensor) and value.ndim > 0 and value.shape[0] not in (1, rows.n_samples):
            return cond._copy_with(comfy.utils.repeat_to_batch_size(value, rows.n_samples))  # as for the canvas
        if isinstance(cond, comfy.conds.CONDNoiseShape) or name in OTHER_SCALES:
            raise ValueError(
                f"conditioning: the model's input '{name}' is an image of {tuple(value.shape[-2:])} latent cells on a "
                f"canvas of {self._windows.canvas}, so it cannot be cut into windows; make it of the canvas's size"
            )
        return cond

    def _rows(self, canvas: Tensor, rows: Rows) -> Tensor:
        """[B, …, H, W], B samples or 1 -> [R, …, h, w]."""
        return cut(self._windows, canvas, rows)

    def _areas(self, cond: Cond, view: int) -> tuple | None:
        """Areas (sizes…, offsets…) in the window's coordinates; None for a condition without one."""
        if cond.get("area") is None:
            return None
        area = tuple(cond["area"])
        dims = len(area) // 2
        sizes, offsets = area[:dims], area[dims:]
        parts = self._inside((*sizes[-2:], *offsets[-2:]), view)
        least = min((side for part in parts for side in part[:2]), default=self._patch)
        if -least % self._patch > least:
            raise ValueError(
                f"conditioning: an area reaches {least} latent cells into a window, of which this model's patches have "
                f"{self._patch}; use Conditioning (Set Mask) instead, or an area that ends with the windows"
            )
        return tuple((*sizes[:-2], h, w, *offsets[:-2], top, left) for h, w, top, left in parts)

    def _boxes(self, cond: Cond, view: int) -> tuple | None:
        """GLIGEN's (embedding, height, width, top, left) in the window's coordinates."""
        if cond.get("gligen") is None:
            return None
        return tuple((embedding, *part) for embedding, *box in cond["gligen"][2] for part in self._inside(box, view))

    def _inside(self, box: Sequence[int], view: int) -> list[tuple[int, int, int, int]]:
        """(height, width, top, left) on the canvas -> its parts in the window; two where a window wraps around."""
        height, width, top, left = (int(value) for value in box)
        rows, columns = zip(self._windows.origins[view], self._windows.view, self._windows.canvas, strict=True)
        spans = product(_visible(top, height, *rows), _visible(left, width, *columns))
        return [(h, w, y, x) for (y, h), (x, w) in spans]


def _visible(start: int, length: int, origin: int, window: int, canvas: int) -> list[tuple[int, int]]:
    """Runs (start, length) of a window's cells that lie in [start, start + length) of the canvas."""
    inside = [start <= (origin + cell) % canvas < start + length for cell in range(window)]
    edges = [cell for cell in range(window + 1) if (cell < window and inside[cell]) != (cell > 0 and inside[cell - 1])]
    return [(first, last - first) for first, last in zip(edges[::2], edges[1::2], strict=True)]
