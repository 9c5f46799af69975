"""Perceptual guidance: each view moves down the gradient of its distance to its target (SyncDiffusion).

Eq. 14: x_i <- x_i - w s^2 d/dx_i L(D(phi(x_i)), D(phi(x_anchor))), with D the decoder and phi Tweedie's formula.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from ..batching import WindowBatches
from ..moment import Moment
from ..views.view_set import ViewSet
from .loss import PerceptualLoss
from .pullbacks import ImagePrior, Pullback, ThroughModel, noisy_latent
from .trace import GuidanceTrace
from .turns import Turns


class Moved(NamedTuple):
    """Views after guidance, [V*N, C, …, h, w].

    x0: their clean predictions, None where these are to be evaluated at x. trace: what was done, None for nothing.
    """

    x: Tensor
    x0: Tensor | None = None
    trace: GuidanceTrace | None = None


@dataclass(frozen=True)
class Passes:
    """Evaluations of the model: views in one of the first pass, and in one that is pulled back.

    second: the paper evaluates the model again at the moved state; without it the step is made with the clean
    prediction from before the move, at no further cost (it errs by about a tenth of the move).
    """

    first: int | WindowBatches = 1
    pulled: int | WindowBatches = 1
    second: bool = True


@dataclass(frozen=True)
class Limits:
    """How far views move, and where.

    max_move: largest root-mean-square move of a view in state standard deviations, beyond which the move is scaled
    down, and non-finite gradients are skipped; None for the paper's unguarded move. where: how much of the move each
    cell of the canvas takes, [N or 1, *canvas] in [0, 1], None for all of it; views in which nothing moves are left
    out.
    """

    max_move: float | None = None
    where: Tensor | None = None


@dataclass(frozen=True)
class PerceptualGuidance:
    """Guidance of one run. weights: the paper's w of each step, 0 where unguided (``GuidanceSchedule.weights``)."""

    weights: Sequence[float]
    loss: PerceptualLoss
    pullback: Pullback = field(default_factory=ThroughModel)
    turns: Turns = Turns()
    passes: Passes = Passes()
    limits: Limits = Limits()

    def guides(self, step: int) -> bool:
        """Whether the step moves anything."""
        return self.weights[step] != 0

    @torch.no_grad()
    def __call__(self, moment: Moment) -> Moved:
        """Move the views of a guided step."""
        if not self.guides(moment.step):
            return Moved(moment.x)
        stays, where = self.loss.target.stays(moment.views), self._where(moment.views)
        acting = self._acting(moment, stays, where)
        if not acting:
            return Moved(moment.x)
        moving = [view for view in acting if view != stays]  # Algorithm 1 moves every view but the reference
        x0 = self._first_pass(moment, {*acting} | self.loss.target.needs(moment.views, acting))
        slope, losses = self.loss.slopes(moment, x0, acting, moving)
        gradient = self._pulled(moment, x0, slope, moving)
        s, weight = moment.process.state_scale(moment.sigma), self.weights[moment.step]
        scale = weight * self.loss.constant(moment.x) * moment.process.state_variance(moment.sigma)
        move, unmoved = self._guarded(-scale * gradient, s)
        if where is not None:
            move = move * where.to(move).reshape(*where.shape[:2], *[1] * (move.ndim - 4), *where.shape[-2:])
        size = _row_rms(move) / s
        trace = GuidanceTrace(moment.step, moment.sigma, weight, losses[acting], size[acting], unmoved)
        moved = moment.x + self.turns.spread(moment.views, move.flatten(0, 1), acting)
        return Moved(moved, None if self._evaluates_again else x0.flatten(0, 1), trace)

    @property
    def _evaluates_again(self) -> bool:
        return self.passes.second or self.pullback is noisy_latent

    def _where(self, views: ViewSet) -> Tensor | None:
        """How much of its move each cell of each view takes: [V, N or 1, 1, h, w]."""
        if self.limits.where is None:
            return None
        return views.project(self.limits.where[:, None]).unflatten(0, (len(views), -1))

    def _acting(self, moment: Moment, stays: int | None, where: Tensor | None) -> list[int]:
        """The views whose turn it is and in which anything may move."""
        turn = sum(weight != 0 for weight in self.weights[: moment.step])
        views = self.turns.acting(moment.views, turn, stays)
        if where is None:
            return list(views)
        free = where.flatten(1).any(dim=1).tolist()
        return [view for view in views if free[view]]

    def _first_pass(self, moment: Moment, looked_at: set[int]) -> Tensor:
        """Clean predictions [V, N, C, …, h, w] of the views that are looked at; of all, where they are the step's.

        In the ablation of Eq. 13 it is the noisy latent itself that is decoded, and no model is asked.
        """
        if self.pullback is noisy_latent:
            return moment.by_view / moment.process.state_scale(moment.sigma)
        views = sorted(looked_at) if self._evaluates_again else list(range(len(moment.views)))
        part = moment.of(views)
        x0 = part.predict(self.passes.first)
        if isinstance(self.pullback, ImagePrior):
            self.pullback.observe(part, x0)
        x0 = x0.unflatten(0, (len(views), -1))
        if len(views) == len(moment.views):
            return x0
        every = torch.zeros_like(moment.by_view)
        every[views] = x0
        return every

    def _pulled(self, moment: Moment, x0: Tensor, slope: Tensor, moving: Sequence[int]) -> Tensor:
        """Stage two, J^T g: [V, N, C, …, h, w], 0 of views that do not move."""
        n, gradient = moment.n_samples, torch.zeros_like(x0)

        def pull(numbers: tuple[int, ...]) -> Tensor:
            clean, g = (part[list(numbers)].flatten(0, 1) for part in (x0, slope))
            return self.pullback(moment.of(numbers), clean, g)

        for numbers, pulled in WindowBatches.of(self.passes.pulled).each(moving, pull):
            gradient[list(numbers)] = pulled.unflatten(0, (-1, n))[: len(numbers)].to(gradient.dtype)
        return gradient

    def _guarded(self, move: Tensor, state_scale: float) -> tuple[Tensor, int]:
        """Moves [V, N, C, …, h, w] no larger than max_move, 0 where not finite; and how many views those are."""
        largest = self.limits.max_move
        if largest is None:
            return move, 0
        each = (..., *[None] * (move.ndim - 2))  # [V, N] -> [V, N, 1, …]
        finite = move.flatten(2).isfinite().all(dim=-1)  # [V, N]
        move = torch.where(finite[each], move, torch.zeros_like(move))
        size = _row_rms(move)[each] / state_scale
        return move * (largest / size.clamp(min=largest)), int((~finite).sum())


def _row_rms(x: Tensor) -> Tensor:
    """Root-mean-square of each view: [V, N, …] -> [V, N]."""
    return x.flatten(2).square().mean(dim=-1).sqrt()
