"""Stage one of Eq. 14: the distance of each view to its target, and its gradient on the clean prediction.

g = dL/dx0 through the decoder and the perceptual network; stage two, the way back through the model, is a pullback.
Their activations are never held together.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..batching import WindowBatches
from ..moment import Moment
from ..perceptual.distance import Decoder, Features, PerceptualDistance
from ..views.relations import visible
from ..views.view_set import ViewSet
from .loss_scale import LossScale
from .targets import ReferenceView, Target

PAPER_CELLS = 4096  # of the paper's 64x64 latent window: LPIPS is a spatial mean, so its gradient goes by 1/cells


@dataclass(frozen=True)
class PerceptualLoss:
    """L(D(x0_i), D(target_i)). batches: views in one pass of the decoder. loss_scale: for half-precision decoders."""

    decode: Decoder
    distance: PerceptualDistance
    target: Target = ReferenceView()
    batches: WindowBatches | int = 1
    loss_scale: LossScale | None = None

    def constant(self, x: Tensor) -> float:
        """What makes a weight the paper's number: of the network, and of the cells that its mean is over."""
        return self.distance.constant * x.shape[-2] * x.shape[-1] / PAPER_CELLS

    def slopes(self, moment: Moment, x0: Tensor, acting: Sequence[int], moving: Sequence[int]) -> tuple[Tensor, Tensor]:
        """(dL/dx0 of the views that move, 0 of the others, [V, N, C, …, h, w] float32 at least; L of each, [V, N]).

        x0: clean predictions [V, N, C, …, h, w], known where they are needed. acting: the views of the turn, of which
        all but the reference move.
        """
        eyes = _Eyes(self, moment.views, x0, WindowBatches.of(self.batches))
        target = self.target.of(moment.views, acting, eyes)
        losses = x0.new_zeros(x0.shape[:2])
        slope = torch.zeros_like(x0, dtype=torch.promote_types(x0.dtype, torch.float32))

        def decoded(numbers: tuple[int, ...]) -> tuple[Tensor, Tensor]:
            return self._gradient(eyes, numbers, target(numbers))

        for numbers, (loss, g) in eyes.batches.each(moving, decoded):
            slope[list(numbers)] = g.unflatten(0, (-1, eyes.n_samples))[: len(numbers)].to(slope.dtype)
            losses[list(numbers)] = loss.unflatten(0, (-1, eyes.n_samples))[: len(numbers)].to(losses)
        return slope, losses

    def _gradient(self, eyes: "_Eyes", numbers: tuple[int, ...], target: Features) -> tuple[Tensor, Tensor]:
        """(L per row [N], dL/dx0 [N, C, …, h, w] in float32)."""
        with torch.enable_grad():
            leaf = eyes.rows(numbers).detach().clone().requires_grad_(True)
            loss = self.distance.distance(eyes.features(leaf, numbers), target)
            if self.loss_scale is not None:
                return loss.detach(), self.loss_scale.gradient(loss.sum(), leaf)
            (g,) = torch.autograd.grad(loss.sum(), leaf)
        return loss.detach(), g.to(torch.promote_types(g.dtype, torch.float32))


class _Eyes:
    """The look of a step's clean predictions x0 [V, N, C, …, h, w]."""

    def __init__(self, loss: PerceptualLoss, views: ViewSet, x0: Tensor, batches: WindowBatches) -> None:
        self._loss, self._x0, self.batches = loss, x0, batches
        self._visible = visible(views)
        self.n_samples = x0.shape[1]

    def rows(self, numbers: Sequence[int]) -> Tensor:
        """Clean predictions [len*N, C, …, h, w]."""
        return self._x0[list(numbers)].flatten(0, 1)

    def features(self, x0: Tensor, numbers: Sequence[int]) -> Features:
        """Of these views' predictions; what shows nothing of the canvas has the mean colour of what does."""
        picture = self._loss.decode(x0)
        if self._visible is not None:
            seen = self._visible[list(numbers)].repeat_interleave(self.n_samples, dim=0).to(picture)
            picture = _on_its_colour(picture, F.interpolate(seen, picture.shape[-2:]))
        return self._loss.distance.features(picture)

    def view(self, number: int) -> Features:
        """Of one view: batch N."""
        return self.batches.alone(lambda: self.features(self.rows((number,)), (number,)))

    def each(self, numbers: Sequence[int]) -> Iterable[tuple[tuple[int, ...], Features]]:
        """Of many, in batches."""
        return self.batches.each(numbers, lambda batch: self.features(self.rows(batch), batch))

    def picture(self, image: Tensor) -> Features:
        """Of a picture."""
        picture = image.to(self._x0.device, self._x0.dtype)
        return self.batches.alone(lambda: self._loss.distance.features(picture))


def _on_its_colour(picture: Tensor, seen: Tensor) -> Tensor:
    """Pictures [R, 3, H, W] where they are seen [R, 1, H, W], elsewhere their mean colour there, which nothing moves.

    Any one colour would tell views by their outlines: of two of one object the smaller would be drawn away from it.
    """
    area = seen.sum(dim=(-2, -1), keepdim=True).clamp(min=1)
    mean = (picture.detach() * seen).sum(dim=(-2, -1), keepdim=True) / area
    return picture * seen + mean * (1 - seen)
