"""A ControlNet for each batch of windows: the artist's own, shown the windows' parts of its hint."""

import comfy.utils
from comfy.controlnet import ControlBase
from torch import Tensor

from ....syncdiffusion_core.canvases.windows import Windows
from ....syncdiffusion_core.denoiser import Rows
from ..gradient.gradients import Differentiable
from .encoding import entries_of
from .hint_latents import HintLatents, WindowVae
from .patches import PICTURES
from .rebinding import rebind, refuse_rest, shallow
from .tags import cut, image_scale

SKIP_PATCH = "input_block_patch_after_skip"
CACHES = ("cond_hint", "extra_concat", "control_input")
"""What the host's control classes keep of a hint they were shown, checked by its size only."""

SLICED = ("cond_hint_original", "extra_concat_orig")
"""What they keep of it beside these: the hint itself."""

KEPT = 4
"""Batches whose hints are kept: all of a panorama of six windows' length."""

Size = tuple[int, int]
Copies = dict[tuple[int, Size], tuple[ControlBase, ControlBase]]
"""Controls and their copies, by the control and what is shown of a window. Originals are kept for their ids' sake."""


class HintSlices:
    """Copies of ControlNets with sliced hints, one for each batch of windows and size that the host is shown of them.

    A copy shares the network and everything that the host prepared for the run; the artist's object never sees a
    window. The last few batches' copies are kept, and of hints that a VAE encodes as many latents as take no more
    memory than the whole hint: memory follows the batch and not the canvas, nor the steps of a grid that moves.

    So a window is encoded once where windows come back, and at each step where they stand elsewhere (rolled): a fifth
    of a run on the tests' small models, 1.04 TFLOP for 512 px by SD's encoder. Latents cut from the whole hint's would
    do without, but would not be the window's own: the encoder attends to all of its picture.
    """

    def __init__(self, windows: Windows) -> None:
        self._windows = windows
        self._batches: dict[tuple[int, ...], Copies] = {}
        self._latents: dict[int, tuple[object, HintLatents]] = {}
        self._scaled: dict[tuple[int, int, int, str], tuple[Tensor, Tensor]] = {}

    def control(self, control: object, rows: Rows, shown: Size) -> object:
        """The control object, and the chain before it, for these rows; shown: (height, width) in latent cells.

        The host scales a hint to what it is shown, the part of a window that an area leaves, and prepares it again
        when that is of another size than before.
        """
        copies = self._batches.pop(rows.views, {})
        self._batches[rows.views] = copies  # the latest last
        if len(self._batches) > KEPT:
            del self._batches[next(iter(self._batches))]
        before = set(copies)
        sliced = self._copied(copies, control, rows, shown)
        twins = {id(twin) for _, twin in copies.values()}
        for key in [key for key in copies if key not in before]:
            original, twin = copies[key]
            refuse_rest(twin, original, "conditioning", lambda part: _is_control(part) and id(part) not in twins)
        return sliced

    def forget(self) -> None:
        """Drop the copies, whose hints may be on a device that has run out of memory."""
        self._batches.clear()

    def _copied(self, copies: Copies, control: ControlBase, rows: Rows, shown: Size) -> ControlBase:
        """A control's copy for these rows; its chain, and other controls that it holds, are copied with it."""
        key = id(control), shown
        if key in copies:
            return copies[key][1]

        def swap(value: object) -> object:
            return self._copied(copies, value, rows, shown) if _is_control(value) else value

        self._refuse_pictures(control)
        # Not its own copy(): the host's drops the chain, the timestep range and the model's sampling.
        sliced = shallow(control)
        copies[key] = control, sliced  # before the rest: controls may know each other
        rebind(sliced, control, swap)
        self._slice(sliced, control, rows, shown)
        return sliced

    def _slice(self, sliced: ControlBase, control: ControlBase, rows: Rows, shown: Size) -> None:
        """Show a copy its part of the hint."""
        for name in CACHES:
            if hasattr(sliced, name):
                setattr(sliced, name, None)
        cell = _cell_px(control)
        if control.cond_hint_original is not None:
            sliced.cond_hint_original = self._slices(control, control.cond_hint_original, cell, rows)
            if getattr(control, "vae", None) is not None:
                sliced.vae = WindowVae(control.vae, self._latents_of(control, cell), rows, shown)
        sliced.extra_concat_orig = [self._slices(control, image, cell, rows) for image in control.extra_concat_orig]
        if hasattr(control, "control_model"):
            sliced.control_model = Differentiable(control.control_model)

    def _refuse_pictures(self, control: ControlBase) -> None:
        """Raise ValueError for a picture of the canvas that a control of another pack keeps beside its hint."""
        for name, value in vars(control).items():
            if name in (*CACHES, *SLICED) or not isinstance(value, Tensor) or value.ndim < 3:
                continue
            named = any(word in name for word in ("hint", *PICTURES)) and min(value.shape[-2:]) > 1
            if named or image_scale(value, self._windows):
                raise ValueError(
                    f"conditioning: the ControlNet {type(control).__name__} keeps a picture of the canvas in "
                    f"'{name}', which cannot be cut into windows; use the host's own ControlNet, or leave that picture "
                    "or mask out"
                )

    def _latents_of(self, control: object, cell: int) -> HintLatents:
        if id(control) not in self._latents:
            whole = self._fitted(control.cond_hint_original, cell, control.upscale_algorithm)
            self._latents[id(control)] = control, HintLatents(whole.nbytes)
        return self._latents[id(control)][1]

    def _slices(self, control: object, image: Tensor, cell: int, rows: Rows) -> Tensor:
        """[B, C, H, W] of any size, B samples or 1 -> [R, C, h, w], scaled as the host scales a whole hint."""
        return cut(self._windows, self._fitted(image, cell, control.upscale_algorithm), rows, cell)

    def _fitted(self, image: Tensor, cell: int, how: str) -> Tensor:
        """The image at the canvas's size, scaled once for the run."""
        height, width = (length * cell for length in self._windows.canvas)
        if image.shape[-2:] == (height, width):
            return image
        key = id(image), height, width, how
        if key not in self._scaled:
            self._scaled[key] = image, comfy.utils.common_upscale(image, width, height, how, "center")
        return self._scaled[key][1]


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


def _is_control(thing: object) -> bool:
    """Whether it is one itself: a weak proxy of one says that it is."""
    return issubclass(type(thing), ControlBase)


def _cell_px(control: object) -> int:
    """Pixels of a hint along one latent cell."""
    vae = getattr(control, "vae", None)
    return control.compression_ratio * (1 if vae is None else vae.spacial_compression_encode())
