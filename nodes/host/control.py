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


class HintSlices:
    """Copies of ControlNets with sliced hints, one for each batch of windows of a run.

    A copy shares the network and everything that the host prepared for the run. It is kept, so that its hint is
    encoded once and not at every step; the artist's object never sees a window.
    """

    def __init__(self, windows: Windows) -> None:
        self._windows = windows
        self._copies: dict[tuple[int, tuple[int, ...]], tuple[object, object]] = {}

    def control(self, control: object, rows: Rows) -> object:
        """The control object, and the chain before it, for these rows."""
        key = (id(control), rows.views)
        if key not in self._copies:  # the original is kept beside the copy: its id stays its own
            self._copies[key] = (control, self._copy(control, rows))
        return self._copies[key][1]

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
        height, width = (length * cell for length in self._windows.canvas)
        scaled = comfy.utils.common_upscale(image, width, height, control.upscale_algorithm, "center")
        return cut(self._windows, scaled, rows, cell)


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
