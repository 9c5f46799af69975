"""Perceptual guidance: each window moves down the gradient of its distance to the anchor (SyncDiffusion).

Eq. 14: x_i <- x_i - w s^2 d/dx_i L(D(phi(x_i)), D(phi(x_anchor))), with D the decoder and phi Tweedie's
formula. Two stages with one small interface: g = dL/dx0 through the decoder and the perceptual network, then
the pullback of g through the denoiser. Their activations are never held together.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

import torch
from torch import Tensor

from ..batching import WindowBatches
from ..denoiser import Denoiser, Rows, denoise_views
from ..perceptual.distance import Decoder, Features, PerceptualDistance
from ..process import NoiseProcess
from ..views.view_set import ViewSet, aggregate
from .loss_scale import LossScale
from .pullbacks import Gradient, ImagePrior, Refusal, make_pullback, torch_refusal
from .spectrum import Spectrum, SpectrumSource
from .targets import Anchor, AnchorKind

PAPER_CELLS = 4096  # of the paper's 64x64 latent window: LPIPS is a spatial mean, so its gradient goes by 1/cells


@dataclass(frozen=True)
class GuidanceTrace:
    """What one guided step did.

    weight: the paper's w of all the paper's steps that this step stands for. loss: distance of each window to its
    anchor before the move, 0 for the anchor, [V, N]. move: root-mean-square move of each window in standard deviations
    of the state, [V, N]. Of the V windows of the step that may move. unmoved: how many of them were left, because their
    gradient was not finite.
    """

    step: int
    sigma: float
    weight: float
    loss: Tensor
    move: Tensor
    unmoved: int = 0

    def describe(self) -> str:
        """One line for people."""
        line = (
            f"step {self.step + 1}: at noise {self.sigma:.3g} the windows differed from their anchor by "
            f"{self.loss.mean():.4f} and were moved by {self.move.mean():.1%}"
        )
        if self.unmoved:
            line += f"; {self.unmoved} of them were left alone, because their gradient holds NaN or infinite values"
        return line


class Guided(str, Enum):
    """Which windows of a guided step move."""

    ALL = "all"
    ROTATING = "rotating, none overlapping"


@dataclass
class PerceptualGuidance:
    """Guidance of one run.

    weights: the paper's w of each step, 0 where it is not guided (``GuidanceSchedule.weights``).
    batch_size: windows in one backward pass of the model; decode_batch: in one of the decoder, as many without;
    first_pass_batch: in one pass of the model before both. max_move: largest root-mean-square move of a window in state
    standard deviations, beyond which the move is scaled down, and non-finite gradients are skipped; None for the
    paper's unguarded move. loss_scale: for decoders in half precision.
    where: how much of the move each cell of the canvas takes, [N or 1, H, W] in [0, 1], None for all of it everywhere;
    windows in which nothing moves are left out. report: called after every guided step.

    guided: which windows move. Where they do not overlap, the canvas moves by theirs, and all windows with it.
    second_pass: the paper evaluates the model again at the moved state; without it the step is made with the clean
    prediction from before the move, at no further cost (it errs by about a tenth of the move).
    spectrum, spectrum_source: what the image prior takes for the spectrum of pictures (``make_pullback``). refusal:
    which errors of the model's backward pass mean that it has none (``ThroughModel``).
    """

    decode: Decoder
    distance: PerceptualDistance
    weights: Sequence[float]
    anchor: Anchor = Anchor()
    gradient: Gradient = Gradient.THROUGH_MODEL
    batch_size: int | WindowBatches = 1
    decode_batch: int | WindowBatches | None = None
    first_pass_batch: int | WindowBatches = 1
    max_move: float | None = None
    loss_scale: LossScale | None = None
    where: Tensor | None = None
    guided: Guided = Guided.ALL
    second_pass: bool = True
    spectrum: Spectrum | None = None
    spectrum_source: SpectrumSource | None = None
    refusal: Refusal = torch_refusal
    report: Callable[[GuidanceTrace], None] | None = None

    def __post_init__(self) -> None:
        self._pullback = make_pullback(self.gradient, self.spectrum, self.spectrum_source, self.refusal)
        self._batches = WindowBatches.of(self.batch_size)
        self._decodes = self._batches if self.decode_batch is None else WindowBatches.of(self.decode_batch)

    def guides(self, step: int) -> bool:
        """Whether the step moves anything."""
        return self.weights[step] != 0

    @torch.no_grad()
    def __call__(
        self,
        view_set: ViewSet,
        x: Tensor,
        step: int,
        sigma: float,
        n_samples: int,
        denoiser: Denoiser,
        process: NoiseProcess,
    ) -> tuple[Tensor, Tensor | None]:
        """Move the windows of a guided step: x [V*N, C, …, h, w], view-major -> the same shape, and their x0.

        view_set: the windows of this step. x0 is None where it has to be evaluated at what is returned.
        """
        where = self._where(view_set)
        guided = self._acting(view_set, step, where)
        if not self.guides(step) or not guided:
            return x, None
        run = _Step(view_set, x.unflatten(0, (-1, n_samples)), sigma, denoiser, process)
        x0 = self._first_pass(run, guided)
        gradient, losses = self._gradients(run, x0, guided)
        scale = self.weights[step] * self._constant(x) * process.state_variance(sigma)
        move, unmoved = self._guarded(-scale * gradient, process.state_scale(sigma))
        if where is not None:
            move = move * where.to(move).reshape(*where.shape[:2], *[1] * (move.ndim - 4), *where.shape[-2:])
        if self.report is not None:
            size = _row_rms(move) / process.state_scale(sigma)
            self.report(GuidanceTrace(step, sigma, self.weights[step], losses[guided], size[guided], unmoved))
        moved = x + self._spread(view_set, move.flatten(0, 1), guided)
        return moved, None if self._evaluates_again else x0.flatten(0, 1)

    @property
    def _evaluates_again(self) -> bool:
        return self.second_pass or self.gradient is Gradient.NOISY_LATENT

    def _where(self, view_set: ViewSet) -> Tensor | None:
        """How much of its move each cell of each window takes: [V, N or 1, 1, h, w]."""
        if self.where is None:
            return None
        return view_set.project(self.where[:, None]).unflatten(0, (len(view_set), -1))

    def _acting(self, view_set: ViewSet, step: int, where: Tensor | None) -> list[int]:
        """The windows whose turn it is and in which anything may move."""
        views: Sequence[int] = range(len(view_set))
        if self.guided is Guided.ROTATING:
            views = self._turn(view_set, sum(weight != 0 for weight in self.weights[:step]))
        if where is None:
            return list(views)
        free = where.flatten(1).any(dim=1).tolist()
        return [view for view in views if free[view]]

    def _turn(self, view_set: ViewSet, number: int) -> Sequence[int]:
        """The windows of a turn; one in which only the anchor would move, which never does, is passed over."""
        turns = [view_set.apart(turn) for turn in range(len(view_set))]
        turns = [views for views in turns if {*views} != {self.anchor.window(view_set)}]
        return turns[number % len(turns)] if turns else ()

    def _first_pass(self, run: "_Step", guided: Sequence[int]) -> Tensor:
        """Clean predictions [V, N, C, …, h, w] of the windows that are looked at; of all, where they are the step's.

        In the ablation of Eq. 13 it is the noisy latent itself that is decoded, and no model is asked.
        """
        if self.gradient is Gradient.NOISY_LATENT:
            return run.x / run.process.state_scale(run.sigma)
        fixed = self.anchor.window(run.view_set)
        looked_at = {*guided} if fixed is None else {*guided, fixed}
        views = sorted(looked_at) if self._evaluates_again else list(range(len(run.x)))
        x0 = denoise_views(
            run.denoiser,
            run.x[views].flatten(0, 1),
            run.sigma,
            run.x.shape[1],
            self.first_pass_batch,
            [run.view_set.names[view] for view in views],
        )
        if isinstance(self._pullback, ImagePrior):
            self._pullback.observe(run.process, run.sigma, x0, run.x.shape[1])
        x0 = x0.unflatten(0, (len(views), -1))
        if len(views) == len(run.x):
            return x0
        every = torch.zeros_like(run.x)
        every[views] = x0
        return every

    def _gradients(self, run: "_Step", x0: Tensor, guided: Sequence[int]) -> tuple[Tensor, Tensor]:
        """(J^T dL/dx0 of each window [V, N, C, …, h, w], 0 where none is taken; L of each, [V, N])."""
        anchor = self._anchor_features(run, x0, guided)
        fixed = self.anchor.window(run.view_set)  # Algorithm 1 moves every window but the anchor
        moving = [view for view in guided if view != fixed]
        n = x0.shape[1]
        gradient, losses = torch.zeros_like(x0), x0.new_zeros(x0.shape[:2])
        slope = torch.zeros_like(x0, dtype=torch.promote_types(x0.dtype, torch.float32))

        def rows_of(views: tuple[int, ...]) -> Rows:
            return Rows.grid(n, tuple(run.view_set.names[view] for view in views))

        def decode(views: tuple[int, ...]) -> tuple[Tensor, Tensor]:
            return self._decoder_gradient(x0[list(views)].flatten(0, 1), _select(anchor, rows_of(views).samples))

        def pull(views: tuple[int, ...]) -> Tensor:
            x, clean, g = (part[list(views)].flatten(0, 1) for part in (run.x, x0, slope))
            return self._pullback(run.denoiser, run.process, x, run.sigma, rows_of(views), clean, g)

        for views, (loss, g) in self._decodes.each(moving, decode):
            slope[list(views)] = g.unflatten(0, (-1, n))[: len(views)].to(slope.dtype)
            losses[list(views)] = loss.unflatten(0, (-1, n))[: len(views)].to(losses.device, losses.dtype)
        for views, pulled in self._batches.each(moving, pull):
            gradient[list(views)] = pulled.unflatten(0, (-1, n))[: len(views)].to(gradient.dtype)
        return gradient, losses

    def _spread(self, view_set: ViewSet, move: Tensor, guided: Sequence[int]) -> Tensor:
        """What the moves [V*N, …] of the guided windows mean to every window."""
        if self.guided is Guided.ALL:
            return move
        some = move.unflatten(0, (len(view_set), -1))[list(guided)].flatten(0, 1)
        return view_set.project(aggregate(view_set.subset(guided), some)).to(move.dtype)

    def _constant(self, x: Tensor) -> float:
        return self.distance.constant * x.shape[-2] * x.shape[-1] / PAPER_CELLS

    def _decoder_gradient(self, x0: Tensor, anchor: Features) -> tuple[Tensor, Tensor]:
        """Stage one: (L per row [N], dL/dx0 [N, C, …, h, w] in float32)."""
        with torch.enable_grad():
            leaf = x0.detach().clone().requires_grad_(True)
            loss = self.distance.distance(self.distance.features(self.decode(leaf)), anchor)
            if self.loss_scale is not None:
                return loss.detach(), self.loss_scale.gradient(loss.sum(), leaf)
            (g,) = torch.autograd.grad(loss.sum(), leaf)
        return loss.detach(), g.to(torch.promote_types(g.dtype, torch.float32))

    def _anchor_features(self, run: "_Step", x0: Tensor, guided: Sequence[int]) -> Features:
        """Features of each sample's anchor, batch N (or 1: one picture for all)."""

        def features(views: tuple[int, ...]) -> Features:
            return self.distance.features(self.decode(x0[list(views)].flatten(0, 1)))

        if self.anchor.kind is AnchorKind.IMAGE:
            assert self.anchor.image is not None
            picture = self.anchor.image.to(x0.device, x0.dtype)
            return self._decodes.alone(lambda: self.distance.features(picture))
        fixed = self.anchor.window(run.view_set)
        if fixed is not None:
            return self._decodes.alone(lambda: features((fixed,)))
        sums: list[Tensor] | None = None
        for views, found in self._decodes.each(guided, features):
            part = [f.unflatten(0, (-1, x0.shape[1]))[: len(views)].sum(dim=0) for f in found]
            sums = part if sums is None else [s + p for s, p in zip(sums, part, strict=True)]
        assert sums is not None
        return tuple(s / len(guided) for s in sums)

    def _guarded(self, move: Tensor, state_scale: float) -> tuple[Tensor, int]:
        """Moves [V, N, C, …, h, w] no larger than max_move, 0 where not finite; and how many windows those are."""
        if self.max_move is None:
            return move, 0
        each = (..., *[None] * (move.ndim - 2))  # [V, N] -> [V, N, 1, …]
        finite = move.flatten(2).isfinite().all(dim=-1)  # [V, N]
        move = torch.where(finite[each], move, torch.zeros_like(move))
        size = _row_rms(move)[each] / state_scale
        return move * (self.max_move / size.clamp(min=self.max_move)), int((~finite).sum())


class _Step(NamedTuple):
    """A guided step: its windows, their states [V, N, C, …, h, w] and what evaluates them."""

    view_set: ViewSet
    x: Tensor
    sigma: float
    denoiser: Denoiser
    process: NoiseProcess


def _select(features: Features, samples: tuple[int, ...]) -> Features:
    return tuple(f if f.shape[0] == 1 else f[list(samples)] for f in features)


def _row_rms(x: Tensor) -> Tensor:
    """Root-mean-square of each window: [V, N, …] -> [V, N]."""
    return x.flatten(2).square().mean(dim=-1).sqrt()
