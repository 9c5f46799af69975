"""A canvas through its windows, as the host's samplers see it.

Two of the host's shapes are met here: what a sampler calls (``model(x, sigma, **extra_args)``) and what that
calls in turn, a guider (``guider(x, sigma, model_options, seed)``).
"""

import copy
from collections.abc import Sequence

from torch import Tensor

from ....syncdiffusion_core.batching import WindowBatches
from ....syncdiffusion_core.denoiser import denoise_views
from ....syncdiffusion_core.moment import Moment
from ....syncdiffusion_core.process import NoiseProcess
from ....syncdiffusion_core.views.schedule import ViewSchedule
from ....syncdiffusion_core.views.view_set import aggregate
from ..conditioning.patches import FUNCTIONS
from ..conditioning.slicing import Slicer
from .denoiser import HostDenoiser
from .openings import Openings
from .settings import HostGuidance
from .watching import check_canvas
from .wrapped import is_hosts_own


class WindowedGuider:
    """A guider whose prediction of a canvas is the mean of its windows' (MultiDiffusion, Eq. 12).

    Each window has its own CFG. A sampler that reads more than the returned prediction adds a function to the model
    options of its calls (CFG++ reads the unconditional one after CFG): there CFG is the canvas's, and the windows are
    below it. known: the options of the run, without such functions.
    """

    def __init__(
        self,
        guider: object,
        known: dict,
        schedule: ViewSchedule,
        steps: "Steps",
        batches: WindowBatches,
        slicer: Slicer | None,
    ) -> None:
        self._guider, self._known, self._schedule, self._steps = guider, known, schedule, steps
        self._batches, self._slicer = batches, slicer

    def __getattr__(self, name: str) -> object:
        return getattr(self._guider, name)

    def __setattr__(self, name: str, value: object) -> None:
        """What a sampler sets (its CFG of each step, say) is set on the guider that answers."""
        object.__setattr__(self, name, value) if name.startswith("_") else setattr(self._guider, name, value)

    @property
    def model_options(self) -> dict:
        """The run's, for samplers that call past this guider: there the canvas is seen through windows too."""
        return self._known

    def predict_noise(
        self, x: Tensor, timestep: Tensor, model_options: dict | None = None, seed: int | None = None
    ) -> Tensor:
        """The guider's own, windows below CFG."""
        return self._guider.predict_noise(x, timestep, model_options or self._known, seed)

    def outer_predict_noise(
        self, x: Tensor, timestep: Tensor, model_options: dict | None = None, seed: int | None = None
    ) -> Tensor:
        """The same with the wrappers around it."""
        return self._guider.outer_predict_noise(x, timestep, model_options or self._known, seed)

    def __call__(self, x: Tensor, sigma: Tensor, model_options: dict | None = None, seed: int | None = None) -> Tensor:
        """x [N, C, H, W], one sigma for all samples -> x0."""
        check_canvas(x, self._schedule.every)
        model_options = model_options or self._known
        if reads_more(model_options, self._known):
            return self._guider(x, sigma, model_options=model_options, seed=seed)
        denoiser, level = HostDenoiser(self._guider, model_options, seed, self._slicer), float(sigma.flatten()[0])
        windows = self._schedule.at(self._steps.of(level))
        x0 = denoise_views(denoiser, windows.project(x), level, x.shape[0], self._batches, windows.names)
        return aggregate(windows, x0).to(x.dtype)


def reads_more(model_options: dict, known: dict) -> bool:
    """Whether a call's model options hold functions that the run's do not: the sampler's own, which look at CFG."""
    return any(model_options.get(name) != known.get(name) for name in FUNCTIONS)


class WindowedModel:
    """What an inner sampler of the host is given instead of the model.

    On guided steps the sampler's own ``x`` is moved, in place, before its first model call of the step: the
    sampler then carries Eq. 14's move on by its own rule. Masks are blended on the canvas by the host's
    ``KSamplerX0Inpaint``, of which this holds a copy that sees windows. A model of another make, that a pack has put
    around the host's, is called as it is: the windows are in the run's model options (``with_windows_below``).
    """

    def __init__(self, model: object, guider: WindowedGuider, known: dict, mover: "Mover | None") -> None:
        self._model, self._guider, self._known, self._mover = model, guider, known, mover
        if is_hosts_own(model):
            self._model = copy.copy(model)
            self._model.inner_model = guider

    def __getattr__(self, name: str) -> object:
        return getattr(self._model, name)

    def __setattr__(self, name: str, value: object) -> None:
        object.__setattr__(self if name.startswith("_") else self._model, name, value)

    @property
    def inner_model(self) -> object:
        """The guider with windows, or what a sampler has set in its place."""
        return self._model.inner_model if is_hosts_own(self._model) else self._guider

    def __call__(self, x: Tensor, sigma: Tensor, *args: object, **kwargs: object) -> Tensor:
        x0 = None if self._mover is None else self._mover.move(x, float(sigma.flatten()[0]))
        if x0 is None or reads_more(kwargs.get("model_options", {}), self._known):
            return self._model(x, sigma, *args, **kwargs)
        return x0


class Steps:
    """The steps of a run by their noise levels; samplers of higher order ask between them too."""

    def __init__(self, sigmas: Sequence[float]) -> None:
        self._sigmas = sigmas[:-1]

    def of(self, sigma: float) -> int:
        """The step that a level belongs to: the last one that starts at it or above."""
        return max(sum(start >= sigma for start in self._sigmas) - 1, 0)


class Mover:
    """Moves a sampler's canvas at the first model call of each guided step.

    Moving each window and averaging equals moving the canvas by the mean of the moves, up to the second
    evaluation of the model, which the sampler itself makes at the moved canvas; or it takes the prediction from
    before the move, where the guidance does without that evaluation.
    """

    def __init__(
        self,
        guidance: HostGuidance,
        denoiser: HostDenoiser,
        process: NoiseProcess,
        schedule: ViewSchedule,
        openings: Openings,
    ) -> None:
        self._guidance, self._denoiser, self._process = guidance, denoiser, process
        self._schedule, self._openings = schedule, openings

    def move(self, x: Tensor, sigma: float) -> Tensor | None:
        """Move x [N, C, H, W] in place if this call opens a guided step -> x0 if that need not be evaluated."""
        step = self._openings.of(sigma)
        if step is None or not self._guidance.guides(step):
            return None
        windows = self._schedule.at(step)
        check_canvas(x, windows)
        views = windows.project(x)
        moved = self._guidance(Moment(windows, views, step, sigma, x.shape[0], self._process, self._denoiser))
        x.add_(aggregate(windows, moved.x - views).to(x.dtype))
        return None if moved.x0 is None else aggregate(windows, moved.x0).to(x.dtype)
