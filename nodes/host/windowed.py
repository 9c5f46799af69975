"""A canvas through its windows, as the host's samplers see it.

Two of the host's shapes are met here: what a sampler calls (``model(x, sigma, **extra_args)``) and what that
calls in turn, a guider (``guider(x, sigma, model_options, seed)``).
"""

import copy
from collections import Counter
from collections.abc import Sequence

import comfy.samplers
from torch import Tensor

from ...syncdiffusion_core.batching import WindowBatches
from ...syncdiffusion_core.denoiser import denoise_views
from ...syncdiffusion_core.process import NoiseProcess
from ...syncdiffusion_core.views.view_set import aggregate
from .denoiser import HostDenoiser
from .guidance import HostGuidance
from .layout import Views
from .slicing import Slicer


class WindowedGuider:
    """A guider whose prediction of a canvas is the mean of its windows' (MultiDiffusion, Eq. 12)."""

    def __init__(
        self, guider: object, grid: Views, steps: "Steps", batch_size: WindowBatches, slicer: Slicer | None
    ) -> None:
        self._guider, self._grid, self._steps = guider, grid, steps
        self._batch_size, self._slicer = batch_size, slicer

    def __getattr__(self, name: str) -> object:
        return getattr(self._guider, name)

    def __call__(self, x: Tensor, sigma: Tensor, model_options: dict, seed: int | None = None) -> Tensor:
        """x [N, C, H, W], one sigma for all samples -> x0."""
        denoiser, level = HostDenoiser(self._guider, model_options, seed, self._slicer), float(sigma.flatten()[0])
        windows = self._grid.at(self._steps.of(level))
        x0 = denoise_views(denoiser, windows.project(x), level, x.shape[0], self._batch_size, windows.names)
        return aggregate(windows, x0).to(x.dtype)


class WindowedModel:
    """What an inner sampler of the host is given instead of the model.

    On guided steps the sampler's own ``x`` is moved, in place, before its first model call of the step: the
    sampler then carries Eq. 14's move on by its own rule. Masks are blended on the canvas by the host's
    ``KSamplerX0Inpaint``, of which this holds a copy that sees windows.
    """

    def __init__(self, model: comfy.samplers.KSamplerX0Inpaint, guider: WindowedGuider, mover: "Mover | None") -> None:
        self._masked = copy.copy(model)
        self._masked.inner_model = guider
        self._mover = mover

    def __getattr__(self, name: str) -> object:
        return getattr(self._masked, name)

    def __call__(self, x: Tensor, sigma: Tensor, *args: object, **kwargs: object) -> Tensor:
        x0 = None if self._mover is None else self._mover.move(x, float(sigma.flatten()[0]))
        return self._masked(x, sigma, *args, **kwargs) if x0 is None else x0


class Steps:
    """The steps of a run by their noise levels; samplers of higher order ask between them too."""

    def __init__(self, sigmas: Sequence[float]) -> None:
        self._sigmas = sigmas[:-1]

    def of(self, sigma: float) -> int:
        """The step that a level belongs to: the last one that starts at it or above."""
        return max(sum(start >= sigma for start in self._sigmas) - 1, 0)

    def starting_at(self, sigma: float) -> int | None:
        """The step that starts at exactly this level, None if none does."""
        return self._sigmas.index(sigma) if sigma in self._sigmas else None


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
        grid: Views,
        steps: Steps,
        first_visit: int,
    ) -> None:
        self._guidance, self._denoiser, self._process = guidance, denoiser, process
        self._grid, self._steps, self._first_visit = grid, steps, first_visit
        self._visits: Counter[int] = Counter()

    def move(self, x: Tensor, sigma: float) -> Tensor | None:
        """Move x [N, C, H, W] in place if this call opens a guided step -> x0 if that need not be evaluated."""
        step = self._opened_step(sigma)
        if step is None or not self._guidance.guides(step):
            return None
        windows = self._grid.at(step)
        views = windows.project(x)
        moved, x0 = self._guidance(windows, views, step, sigma, x.shape[0], self._denoiser, self._process)
        x.add_(aggregate(windows, moved - views).to(x.dtype))
        return None if x0 is None else aggregate(windows, x0).to(x.dtype)

    def _opened_step(self, sigma: float) -> int | None:
        """The step whose state the sampler is asking about, None in the middle of one.

        A sampler such as heun looks ahead to the next level first: its second visit there opens the step.
        """
        step = self._steps.starting_at(sigma)
        if step is None:
            return None
        self._visits[step] += 1
        return step if self._visits[step] == (self._first_visit if step else 1) else None
