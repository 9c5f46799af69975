"""A canvas through its windows, as the host's samplers see it.

Two of the host's shapes are met here: what a sampler calls (``model(x, sigma, **extra_args)``) and what that
calls in turn, a guider (``guider(x, sigma, model_options, seed)``).
"""

import copy
from collections import Counter

import comfy.samplers
from torch import Tensor

from ...syncdiffusion_core.batching import WindowBatches
from ...syncdiffusion_core.denoiser import denoise_views
from ...syncdiffusion_core.process import NoiseProcess
from ...syncdiffusion_core.views.view_set import aggregate
from ...syncdiffusion_core.views.windows import Windows
from .denoiser import HostDenoiser
from .guidance import HostGuidance
from .slicing import Slicer


class WindowedGuider:
    """A guider whose prediction of a canvas is the mean of its windows' (MultiDiffusion, Eq. 12)."""

    def __init__(self, guider: object, windows: Windows, batch_size: WindowBatches, slicer: Slicer | None) -> None:
        self._guider, self._windows, self._batch_size, self._slicer = guider, windows, batch_size, slicer

    def __getattr__(self, name: str) -> object:
        return getattr(self._guider, name)

    def __call__(self, x: Tensor, sigma: Tensor, model_options: dict, seed: int | None = None) -> Tensor:
        """x [N, C, H, W], one sigma for all samples -> x0."""
        denoiser = HostDenoiser(self._guider, model_options, seed, self._slicer)
        views = self._windows.project(x)
        x0 = denoise_views(denoiser, views, float(sigma.flatten()[0]), x.shape[0], self._batch_size)
        return aggregate(self._windows, x0).to(x.dtype)


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
        if self._mover is not None:
            self._mover.move(x, float(sigma.flatten()[0]))
        return self._masked(x, sigma, *args, **kwargs)


class Mover:
    """Moves a sampler's canvas at the first model call of each guided step.

    Moving each window and averaging equals moving the canvas by the mean of the moves, up to the second
    evaluation of the model, which the sampler itself makes at the moved canvas.
    """

    def __init__(
        self,
        guidance: HostGuidance,
        denoiser: HostDenoiser,
        process: NoiseProcess,
        windows: Windows,
        sigmas: list[float],
        first_visit: int,
    ) -> None:
        self._guidance, self._denoiser, self._process = guidance, denoiser, process
        self._windows, self._sigmas, self._first_visit = windows, sigmas, first_visit
        self._visits: Counter[int] = Counter()

    def move(self, x: Tensor, sigma: float) -> None:
        """Move x [N, C, H, W] in place if this call opens a guided step."""
        step = self._opened_step(sigma)
        if step is None or not self._guidance.guides(step):
            return
        views = self._windows.project(x)
        moved = self._guidance(views, step, sigma, x.shape[0], self._denoiser, self._process)
        x.add_(aggregate(self._windows, moved - views).to(x.dtype))

    def _opened_step(self, sigma: float) -> int | None:
        """The step whose state the sampler is asking about, None in the middle of one.

        A sampler such as heun looks ahead to the next level first: its second visit there opens the step.
        """
        if sigma not in self._sigmas[:-1]:
            return None
        step = self._sigmas.index(sigma)
        self._visits[step] += 1
        return step if self._visits[step] == (self._first_visit if step else 1) else None
