"""A ControlNet for each batch of windows: the artist's own, shown the windows' parts of its hint."""

import copy

import comfy.utils
from torch import Tensor

from ...syncdiffusion_core.denoiser import Rows
from ...syncdiffusion_core.views.windows import Windows
from .conditioning import entries_of
from .gradients import Differentiable
from .tags import cut

SKIP_PATCH = "input_block_patch_after_skip"
CACHES = ("cond_hint", "extra_concat", "control_input")
"""What the host's control classes keep of a hint they were shown, checked by its size only."""

KEPT = 4
"""Batches whose hints are kept as pixels: all of a panorama of six windows' length."""


class HintSlices:
    """Copies of ControlNets with sliced hints, one for each batch of windows of a run.

    A copy shares the network and everything that the host prepared for the run. The last few are kept, so that memory
    follows the batch and not the canvas; all of them where a VAE encodes the hint, so that it does so once and not at
    every step: these are latents. The artist's object never sees a window.
    """

    def __init__(self, windows: Windows) -> None:
        self._windows = windows
        self._copies: dict[int, tuple[object, dict[tuple[int, ...], object]]] = {}
        self._scaled: dict[int, tuple[Tensor, Tensor]] = {}

    def control(self, control: object, rows: Rows) -> object:
        """The control object, and the chain before it, for these rows."""
        # The original is kept beside the copies: its id stays its own.
        _, copies = self._copies.setdefault(id(control), (control, {}))
        sliced = copies.pop(rows.views, None)
        if sliced is None:
            sliced = self._copy(control, rows)
        elif _is_encoded(sliced):
            sliced.cond_hint_original, sliced.extra_concat_orig = None, []
        copies[rows.views] = sliced  # the latest last
        if getattr(control, "vae", None) is None and len(copies) > KEPT:
            del copies[next(iter(copies))]
        return sliced

    def _copy(self, control: object, rows: Rows) -> object:
        # Not the host's copy(): that drops the chain, the timestep range and the model's sampling.
        sliced = copy.copy(control)
        for name in CACHES:
            if hasattr(sliced, name):
                setattr(sliced, name, None)
        cell = _cell_px(control)
        if control.cond_hint_original is not None:
            sliced.cond_hint_original = self._slices(control, control.cond_hint_original, cell, rows)
        sliced.extra_concat_orig = [self._slices(control, image, cell, rows) for image in control.extra_concat_orig]
        if hasattr(control, "control_model"):
            sliced.control_model = Differentiable(control.control_model)
        if control.previous_controlnet is not None:
            sliced.previous_controlnet = self.control(control.previous_controlnet, rows)
        sliced.multigpu_clones = {device: self._copy(c, rows) for device, c in control.multigpu_clones.items()}
        return sliced

    def _slices(self, control: object, image: Tensor, cell: int, rows: Rows) -> Tensor:
        """[B, C, H, W] of any size, B samples or 1 -> [R, C, h, w], scaled as the host scales a whole hint."""
        return cut(self._windows, self._fitted(image, cell, control.upscale_algorithm), rows, cell)

    def _fitted(self, image: Tensor, cell: int, how: str) -> Tensor:
        """The image at the canvas's size, scaled once for the run."""
        height, width = (length * cell for length in self._windows.canvas)
        if image.shape[-2:] == (height, width):
            return image
        if id(image) not in self._scaled or self._scaled[id(image)][1].shape[-2:] != (height, width):
            self._scaled[id(image)] = image, comfy.utils.common_upscale(image, width, height, how, "center")
        return self._scaled[id(image)][1]


def _is_encoded(control: object) -> bool:
    """Whether the host has made latents of a hint and needs its pixels no more."""
    return getattr(control, "vae", None) is not None and control.cond_hint is not None


def has_control(conds: dict[str, list[dict]]) -> bool:
    """Whether any of a guider's conditions carries a ControlNet."""
    return any(entry.get("control") is not None for entry in entries_of(conds))


def keep_skips(model_options: dict) -> None:
    """Let a UNet's next block read a copy of each skip connection.

    The host adds a ControlNet's residuals to the skips in place, which autograd refuses where a block has saved
    them for its backward pass. ThroughModel would copy them too, at the price of a look at every operation (a guided
    SD UNet with a ControlNet took 14 % longer). model_options: of one call; the list in it may be the user's.
    """
    patches = model_options["transformer_options"].setdefault("patches", {})
    patches[SKIP_PATCH] = [*patches.get(SKIP_PATCH, ()), lambda h, transformer_options: h.clone()]


def _cell_px(control: object) -> int:
    """Pixels of a hint along one latent cell."""
    vae = getattr(control, "vae", None)
    return control.compression_ratio * (1 if vae is None else vae.spacial_compression_encode())
