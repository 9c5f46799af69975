"""Perceptual guidance: each window moves down the gradient of its distance to the anchor (SyncDiffusion).

Eq. 14: x_i <- x_i - w s^2 d/dx_i L(D(phi(x_i)), D(phi(x_anchor))), with D the decoder and phi Tweedie's
formula. Two stages with one small interface: g = dL/dx0 through the decoder and the perceptual network, then
the pullback of g through the denoiser. Their activations are never held together.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .anchors import Anchor, AnchorKind
from .batching import batches
from .denoiser import Denoiser, Rows
from .perceptual.distance import Decoder, Features, PerceptualDistance
from .process import NoiseProcess
from .pullbacks import Gradient, make_pullback

PAPER_CELLS = 4096  # of the paper's 64x64 latent window: LPIPS is a spatial mean, so its gradient goes by 1/cells


@dataclass(frozen=True)
class GuidanceTrace:
    """What one guided step did.

    loss: distance of each window to its anchor before the move, 0 for the anchor, [V, N]. move: root-mean-square
    move of each window in standard deviations of the state, [V, N].
    """

    step: int
    sigma: float
    weight: float
    loss: Tensor
    move: Tensor

    def describe(self) -> str:
        """One line for people."""
        return (
            f"step {self.step + 1}: sigma {self.sigma:.3f}, weight {self.weight:.2f}, "
            f"loss {self.loss.mean():.4f}, move {self.move.mean():.4f}"
        )


@dataclass
class PerceptualGuidance:
    """Guidance of one run.

    weights: the paper's w of each step, 0 where it is not guided (``GuidanceSchedule.weights``).
    batch_size: windows in one gradient pass. max_move: largest root-mean-square move of a window in state
    standard deviations, beyond which the move is scaled down, and non-finite gradients are skipped; None for
    the paper's unguarded move. loss_scale: factor on the loss in its backward pass, for half-precision
    decoders. where: how much of the move each cell takes, [V, N or 1, h, w] in [0, 1], None for all of it
    everywhere; windows in which nothing moves are left out. report: called after every guided step.
    """

    decode: Decoder
    distance: PerceptualDistance
    weights: Sequence[float]
    anchor: Anchor = Anchor()
    gradient: Gradient = Gradient.THROUGH_MODEL
    batch_size: int = 1
    max_move: float | None = None
    loss_scale: float = 1.0
    where: Tensor | None = None
    report: Callable[[GuidanceTrace], None] | None = None

    def __post_init__(self) -> None:
        self._pullback = make_pullback(self.gradient)

    def guides(self, step: int) -> bool:
        """Whether the step moves anything."""
        return self.weights[step] != 0

    @torch.no_grad()
    def __call__(
        self, x: Tensor, step: int, sigma: float, n_samples: int, denoiser: Denoiser, process: NoiseProcess
    ) -> Tensor:
        """Move the windows of a guided step: x [V*N, C, …, h, w], view-major -> the same shape."""
        acting = self._acting(x.shape[0] // n_samples)
        if not self.guides(step) or not acting:
            return x
        phi = self._clean_prediction(denoiser, process)
        by_view = x.unflatten(0, (-1, n_samples))  # [V, N, C, …, h, w]
        anchor = self._anchor_features(by_view, sigma, phi)
        fixed = self.anchor.window(len(by_view))  # Algorithm 1 moves every window but the anchor
        moving = [view for view in acting if view != fixed]
        gradient, losses = torch.zeros_like(by_view), torch.zeros(by_view.shape[:2], device=x.device, dtype=x.dtype)
        for picks, real in batches(len(moving), self.batch_size):
            views = tuple(moving[pick] for pick in picks)
            rows = Rows.grid(n_samples, views)
            window = by_view[list(views)].flatten(0, 1)
            x0 = phi(window, sigma, rows)
            loss, g = self._decoder_gradient(x0, _select(anchor, rows.samples))
            pulled = self._pullback(denoiser, process, window, sigma, rows, x0, g)
            kept = list(views[:real])
            gradient[kept] = pulled.unflatten(0, (-1, n_samples))[:real].to(gradient.dtype)
            losses[kept] = loss.unflatten(0, (-1, n_samples))[:real].to(losses.device, losses.dtype)
        scale = self.weights[step] * self._constant(x) * process.state_variance(sigma)
        move = self._limited(self._guarded(-scale * gradient, process.state_scale(sigma)))
        if self.report is not None:
            size = _row_rms(move) / process.state_scale(sigma)
            self.report(GuidanceTrace(step, sigma, self.weights[step], losses, size))
        return x + move.flatten(0, 1)

    def _acting(self, n_views: int) -> list[int]:
        """The windows in which anything may move."""
        if self.where is None:
            return list(range(n_views))
        return self.where.flatten(1).any(dim=1).nonzero().flatten().tolist()

    def _limited(self, move: Tensor) -> Tensor:
        """Moves [V, N, C, …, h, w], as much of them as each cell takes."""
        if self.where is None:
            return move
        where = self.where.to(move)
        return move * where.reshape(*where.shape[:2], *[1] * (move.ndim - 4), *where.shape[2:])

    def _constant(self, x: Tensor) -> float:
        return self.distance.constant * x.shape[-2] * x.shape[-1] / PAPER_CELLS

    def _clean_prediction(self, denoiser: Denoiser, process: NoiseProcess) -> Denoiser:
        """What is decoded: phi(x), or in the ablation of Eq. 13 the noisy latent itself."""
        if self.gradient is Gradient.NOISY_LATENT:
            return lambda x, sigma, rows: x / process.state_scale(sigma)
        return denoiser

    def _decoder_gradient(self, x0: Tensor, anchor: Features) -> tuple[Tensor, Tensor]:
        """Stage one: (L per row [N], dL/dx0 [N, C, …, h, w] in float32)."""
        with torch.enable_grad():
            leaf = x0.detach().clone().requires_grad_(True)
            loss = self.distance.distance(self.distance.features(self.decode(leaf)), anchor)
            (g,) = torch.autograd.grad(loss.sum() * self.loss_scale, leaf)
        dtype = torch.promote_types(g.dtype, torch.float32)
        return loss.detach(), g.to(dtype) / self.loss_scale

    def _anchor_features(self, by_view: Tensor, sigma: float, phi: Denoiser) -> Features:
        """Features of each sample's anchor, batch N (or 1: one picture for all)."""
        if self.anchor.kind is AnchorKind.IMAGE:
            assert self.anchor.image is not None
            return self.distance.features(self.anchor.image.to(by_view.device, by_view.dtype))
        n_views, n_samples = by_view.shape[:2]
        fixed = self.anchor.window(n_views)
        if fixed is not None:
            return self._features(by_view, (fixed,), sigma, phi)
        sums: list[Tensor] | None = None
        acting = self._acting(n_views)
        for picks, real in batches(len(acting), self.batch_size):
            views = tuple(acting[pick] for pick in picks)
            features = self._features(by_view, views, sigma, phi)
            part = [f.unflatten(0, (-1, n_samples))[:real].sum(dim=0) for f in features]
            sums = part if sums is None else [s + p for s, p in zip(sums, part, strict=True)]
        assert sums is not None
        return tuple(s / len(acting) for s in sums)

    def _features(self, by_view: Tensor, views: tuple[int, ...], sigma: float, phi: Denoiser) -> Features:
        rows = Rows.grid(by_view.shape[1], views)
        return self.distance.features(self.decode(phi(by_view[list(views)].flatten(0, 1), sigma, rows)))

    def _guarded(self, move: Tensor, state_scale: float) -> Tensor:
        """Moves [V, N, C, …, h, w] without non-finite values and no larger than max_move."""
        if self.max_move is None:
            return move
        each = (..., *[None] * (move.ndim - 2))  # [V, N] -> [V, N, 1, …]
        finite = move.flatten(2).isfinite().all(dim=-1)[each]
        move = torch.where(finite, move, torch.zeros_like(move))
        size = _row_rms(move)[each] / state_scale
        return move * (self.max_move / size.clamp(min=self.max_move))


def _select(features: Features, samples: tuple[int, ...]) -> Features:
    return tuple(f if f.shape[0] == 1 else f[list(samples)] for f in features)


def _row_rms(x: Tensor) -> Tensor:
    """Root-mean-square of each window: [V, N, …] -> [V, N]."""
    return x.flatten(2).square().mean(dim=-1).sqrt()
