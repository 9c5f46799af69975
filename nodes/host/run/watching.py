"""A run that checks itself: what should happen is known, and what happens else becomes a sentence."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

from torch import Tensor, nn

from ....syncdiffusion_core.canvases.windows import Windows
from ..conditioning.encoding import entries_of, models_and_conds
from ..gradient.gradients import is_compiled

PRECISION = "a model in half precision may need --force-upcast-attention or --fp32-unet"


def check_canvas(x: Tensor, windows: Windows) -> None:
    """Raise ValueError for a canvas [N, C, …, H, W] of another size than the run's windows are laid out on."""
    if tuple(x.shape[-2:]) != windows.canvas:
        raise ValueError(
            f"sampler: it asks the model about a picture of {_size(x)} latent cells in a run of "
            f"{windows.canvas[0]} x {windows.canvas[1]}, and windows are laid out for that size; choose a sampler that "
            "keeps the canvas's size"
        )


def check_shown(x: Tensor, windows: Windows, parts: bool) -> None:
    """Raise ValueError where a network is shown anything but a window, or with parts, an area's part of one."""
    shown = tuple(x.shape[-2:])
    if shown == windows.view or (parts and all(a <= b for a, b in zip(shown, windows.view, strict=True))):
        return
    raise ValueError(
        f"model: it is shown {_size(x)} latent cells where windows have {windows.view[0]} x {windows.view[1]}, "
        "because a sampler or a node calls it past the windows; remove that node, or use it without windows"
    )


@contextmanager
def shown_windows(guider: object, windows: Windows) -> Iterator[None]:
    """Within, a guider's networks refuse to be shown anything but windows, or an area's part of one, by anyone.

    By a hook, as samplers may call a network past all options of the run. Compiled networks have none: they would be
    compiled anew for it.
    """
    parts = any(entry.get("area") is not None for entry in entries_of(guider.conds))

    def look(module: nn.Module, given: tuple) -> None:
        if given and isinstance(given[0], Tensor) and given[0].ndim > 3:
            check_shown(given[0], windows, parts)

    with ExitStack() as hooks:
        if not is_compiled(guider.model_patcher):
            for model, _ in models_and_conds(guider):
                hooks.callback(model.diffusion_model.register_forward_pre_hook(look).remove)
        yield


def check_prediction(x: Tensor, predictions: Iterable[Tensor], sigma: float) -> None:
    """Raise ValueError where a model makes NaN or infinite values of a canvas x that has none."""
    if not all(bool(prediction.isfinite().all()) for prediction in predictions) and x.isfinite().all():
        raise ValueError(
            f"model: at sigma {sigma:.4g} it predicts NaN or infinite values for a picture that has none; {PRECISION}, "
            "and a lower cfg or guidance weight helps where values have grown too large"
        )


def check_state(x: Tensor) -> None:
    """Raise ValueError for a run's canvas that holds NaN or infinite values: it began without."""
    if not x.isfinite().all():
        raise ValueError(
            "sampler: the picture holds NaN or infinite values, and began without; lower the guidance weight or set "
            f"its max_move to 0.1 if it is guided, lower cfg, or choose another sampler; {PRECISION}"
        )


def check_result(result: object, x: Tensor) -> None:
    """Raise ValueError for what a sampler gives back if it is no picture of the shape of x, which it was given."""
    if not isinstance(result, Tensor) or result.shape != x.shape:
        found = tuple(result.shape) if isinstance(result, Tensor) else type(result).__name__
        raise ValueError(
            f"sampler: it was given a latent of {tuple(x.shape)} and gives back {found}; choose a sampler that keeps "
            "the picture's size and number"
        )
    check_state(result)


class Told:
    """A sampler's callback that passes on what it is told, after a look at it. on_step: called first."""

    def __init__(self, callback: Callable[[dict], None], on_step: Callable[[], None] | None = None) -> None:
        self._callback, self._on_step = callback, on_step

    def __call__(self, told: dict) -> None:
        """told: what samplers tell, "denoised" and mostly "x" [N, C, …, H, W] and "sigma" among it."""
        if self._on_step is not None:
            self._on_step()
        if "x" in told:
            check_state(told["x"])
        check_prediction(told.get("x", told["denoised"].new_zeros(1)), [told["denoised"]], float(told.get("sigma", 0)))
        self._callback(told)


class GuidedSteps:
    """Counts the guided steps of a run against those that were meant. weights: of each step, 0 for unguided ones."""

    def __init__(self, weights: Sequence[float]) -> None:
        self._meant = {step for step, weight in enumerate(weights) if weight}
        self._done: set[int] = set()

    def count(self, step: int) -> None:
        """A step has been guided."""
        self._done.add(step)

    def left_out(self) -> str | None:
        """A sentence on the steps that should have been guided and were not; None where there are none."""
        left = len(self._meant - self._done)
        if not left:
            return None
        return (
            f"guidance: {left} of the {len(self._meant)} steps that have a weight were not guided, because the sampler "
            "did not ask the model about the picture there; choose another sampler, or remove what stands between it "
            "and the model"
        )


def _size(x: Tensor) -> str:
    return f"{x.shape[-2]} x {x.shape[-1]}"
