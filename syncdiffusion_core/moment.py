"""One moment of a run: what guidance, pullbacks and strategies are told."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from .batching import WindowBatches
from .denoiser import Denoiser, Rows, denoise_views
from .process import NoiseProcess
from .views.view_set import ViewSet


@dataclass(frozen=True)
class Moment:
    """A step before it is made. x: states of its views, [V*N, C, …, h, w], view-major; sigma: their noise level."""

    views: ViewSet
    x: Tensor
    step: int
    sigma: float
    n_samples: int
    process: NoiseProcess
    denoiser: Denoiser

    @property
    def rows(self) -> Rows:
        """What the denoiser calls the rows of x."""
        return Rows.grid(self.n_samples, self.views.names)

    @property
    def by_view(self) -> Tensor:
        """x as [V, N, C, …, h, w]."""
        return self.x.unflatten(0, (-1, self.n_samples))

    def of(self, numbers: Sequence[int]) -> "Moment":
        """The same of some of the views, by their numbers; one may be there twice, in a padded batch."""
        return replace(self, views=self.views.subset(numbers), x=self.by_view[list(numbers)].flatten(0, 1))

    def at(self, x: Tensor) -> "Moment":
        """The same views in other states."""
        return replace(self, x=x)

    def predict(self, batches: int | WindowBatches) -> Tensor:
        """Clean predictions of all views, of the shape of x, so many in a model call."""
        return denoise_views(self.denoiser, self.x, self.sigma, self.n_samples, batches, self.views.names)
