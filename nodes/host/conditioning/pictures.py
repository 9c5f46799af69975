"""Pictures of the canvas in a conditioning, row by row: masks, and inputs of the model that are images."""

import comfy.conds
import comfy.utils
from torch import Tensor

from ....syncdiffusion_core.canvases.windows import Windows
from ....syncdiffusion_core.denoiser import Rows
from .attention import ATTENTION, attends_to_places, cut_attention
from .tags import cut, image_scale

OTHER_SCALES = ("effnet", "lq_latent")
"""The host's names of pictures that a model stretches over whatever it is shown: Stable Cascade's, PiD's."""


class Pictures:
    """Cuts pictures to windows, for one run."""

    def __init__(self, windows: Windows) -> None:
        self._windows = windows
        self._shown: dict[int, tuple[Tensor, dict[int, bool]]] = {}

    def seen(self, cond: dict, rows: Rows) -> list[bool]:
        """Whether the condition's mask leaves anything of it in each view: what it hides need not be evaluated.

        The host gives default conditions a mask of its own.
        """
        if cond.get("mask") is None or "default" in cond:
            return [True] * len(rows.distinct_views)
        # Looked up once a window and run: asking a device waits for it.
        _, shown = self._shown.setdefault(id(cond["mask"]), (cond["mask"], {}))
        unknown = tuple(dict.fromkeys(view for view in rows.distinct_views if view not in shown))
        if unknown:
            parts = self.rows(cond["mask"], Rows.grid(rows.n_samples, unknown)).unflatten(0, (len(unknown), -1))
            shown.update(zip(unknown, parts.flatten(1).any(dim=1).tolist(), strict=True))
        return [shown[view] for view in rows.distinct_views]

    def inputs(self, cond: dict, rows: Rows) -> dict[str, comfy.conds.CONDRegular]:
        """The model's inputs of a condition."""
        text = cond["model_conds"].get("c_crossattn")
        words = 0 if text is None else text.cond.shape[1]
        return {name: self._input(name, value, words, rows) for name, value in cond["model_conds"].items()}

    def rows(self, canvas: Tensor, rows: Rows) -> Tensor:
        """[B, …, H, W], B samples or 1 -> [R, …, h, w]."""
        return cut(self._windows, canvas, rows)

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
            return cond._copy_with([self.rows(v, rows) if image_scale(v, self._windows) == 1 else v for v in value])
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
