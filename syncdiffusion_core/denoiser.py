"""What the core asks of a model: one callable, whatever its parameterisation."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor


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


def batches(view_count: int, size: int) -> Iterator[tuple[tuple[int, ...], int]]:
    """Split the views into batches of one size: yields (view indices, how many of them are real).

    The last batch is padded by repeating its last view, so that a compiled model sees one shape and memory
    follows the batch, not the canvas. Sizes are levelled first: 21 views by 16 are 11 + 10, not 16 + 5.
    """
    if size < 1:
        raise ValueError(f"windows per batch must be at least 1, got {size}")
    count = -(-view_count // size)
    if count == 0:
        return
    size = -(-view_count // count)
    for start in range(0, view_count, size):
        views = tuple(range(start, min(start + size, view_count)))
        yield views + (views[-1],) * (size - len(views)), len(views)


def denoise_views(
    denoiser: Denoiser,
    x: Tensor,
    sigma: float,
    n_samples: int,
    batch_size: int,
    names: Sequence[int] | None = None,
) -> Tensor:
    """Denoise all views, ``batch_size`` of them per model call.

    x [V*N, C, h, w], view-major -> x0 of the same shape. names: what the rows call the views, 0 to V-1 without.
    """
    n_views = x.shape[0] // n_samples
    names = range(n_views) if names is None else names
    by_view = x.unflatten(0, (n_views, n_samples))  # [V, N, C, h, w]
    parts = []
    for views, real in batches(n_views, batch_size):
        rows = Rows.grid(n_samples, tuple(names[view] for view in views))
        parts.append(denoiser(by_view[list(views)].flatten(0, 1), sigma, rows)[: real * n_samples])
    return torch.cat(parts)
