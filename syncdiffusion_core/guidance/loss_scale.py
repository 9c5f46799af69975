"""Loss scaling for half precision: a factor on the loss that finds its own size.

In float16 a gradient below 6e-8 is lost and one above 65504 is infinite. The factor is halved and the backward pass
repeated as long as the gradient is not finite, and doubled after a while without that (dynamic loss scaling,
Micikevicius et al. 2018, Sec. 3.2).
"""

import torch
from torch import Tensor

START = 2.0**14
LARGEST, SMALLEST = 2.0**24, 2.0**-14
QUIET_PASSES = 8
"""Backward passes without overflow before the factor grows; a run has tens of them, a training thousands."""


class LossScale:
    """The factor of one run, between SMALLEST and LARGEST; `value` is what the next pass begins with."""

    def __init__(self, start: float = START) -> None:
        if not SMALLEST <= start <= LARGEST:
            raise ValueError(f"a loss scale starts between {SMALLEST:g} and {LARGEST:g}, got {start:g}")
        self.value = start
        self._quiet = 0

    def gradient(self, loss: Tensor, leaf: Tensor) -> Tensor:
        """d loss / d leaf, unscaled, in float32 or the leaf's own larger type.

        Not finite where the loss is not, or where no factor helps: the scale is then as before, and so it is where the
        backward pass raises (out of memory). The activations are kept for a repeated pass, as long as the loss is.
        """
        value = self.value
        while value >= SMALLEST:
            scaled = _backward(loss * value, leaf)
            if scaled.isfinite().all():
                self._accept(value)
                return scaled / value
            if not loss.isfinite().all():
                break
            value /= 2
        return scaled

    def _accept(self, value: float) -> None:
        """The next pass begins with this factor, or with twice of it when all was quiet for long enough."""
        self._quiet = self._quiet + 1 if value == self.value else 1
        self.value = value
        if self._quiet >= QUIET_PASSES:
            self.value, self._quiet = min(2 * value, LARGEST), 0


def _backward(loss: Tensor, leaf: Tensor) -> Tensor:
    (scaled,) = torch.autograd.grad(loss, leaf, retain_graph=True)
    return scaled.to(torch.promote_types(scaled.dtype, torch.float32))
