"""What the core asks of a model: one callable, whatever its parameterisation."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from .batching import WindowBatches


class Rows(NamedTuple):
    """Which (sample, view) pair each row of a batch is; rows are ordered view-major, sample-minor."""

    samples: tuple[int, ...]
    views: tuple[int, ...]

    @classmethod
    def grid(cls, n_samples: int, views: tuple[int, ...]) -> "Rows":
        """All samples of the given views: (v0,s0), (v0,s1), …, (v1,s0), …"""
        return cls(
            samples=tuple(range(n_samples)) * len(views),
            views=tuple(v for v in views for _ in range(n_samples)),
        )

    def __len__(self) -> int:
        return len(self.views)

    @property
    def n_samples(self) -> int:
        """How many samples each view has."""
        return len(set(self.samples))

    @property
    def distinct_views(self) -> tuple[int, ...]:
        """The views of the grid, once for all their samples."""
        return self.views[:: self.n_samples]


class Denoiser(Protocol):
    """Predicts the clean latent. CFG, ControlNet, masks and hooks are inside it."""

    def __call__(self, x: Tensor, sigma: float, rows: Rows) -> Tensor:
        """x [len(rows), C, h, w] at noise level sigma, in the sampler's space -> x0, same shape.

        Differentiable in x when ``x.requires_grad``.
        """
        ...


def denoise_views(
    denoiser: Denoiser,
    x: Tensor,
    sigma: float,
    n_samples: int,
    batch_size: int | WindowBatches,
    names: Sequence[int] | None = None,
) -> Tensor:
    """Denoise all views, ``batch_size`` of them per model call, or as the batches say.

    x [V*N, C, h, w], view-major -> x0 of the same shape. names: what the rows call the views, 0 to V-1 without.
    """
    by_view = x.unflatten(0, (-1, n_samples))  # [V, N, C, h, w]
    called = range(len(by_view)) if names is None else names

    def one(views: tuple[int, ...]) -> Tensor:
        rows = Rows.grid(n_samples, tuple(called[view] for view in views))
        return denoiser(by_view[list(views)].flatten(0, 1), sigma, rows)

    parts = WindowBatches.of(batch_size).each(range(len(by_view)), one)
    return torch.cat([x0[: len(views) * n_samples] for views, x0 in parts])
