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

        Not finite where the loss is not, or where no factor helps: the scale is then as before.
        """
        asked = self.value
        while True:
            scaled = self._backward(loss, leaf)
            if scaled.isfinite().all():
                return self._unscaled(scaled)
            self.value, self._quiet = self.value / 2, 0
            if self.value < SMALLEST or not loss.isfinite().all():
                self.value = asked
                return scaled

    def _backward(self, loss: Tensor, leaf: Tensor) -> Tensor:
        """The activations are kept: a repeated pass needs them."""
        (scaled,) = torch.autograd.grad(loss * self.value, leaf, retain_graph=True)
        return scaled.to(torch.promote_types(scaled.dtype, torch.float32))

    def _unscaled(self, scaled: Tensor) -> Tensor:
        gradient = scaled / self.value
        self._quiet += 1
        if self._quiet >= QUIET_PASSES:
            self.value, self._quiet = min(2 * self.value, LARGEST), 0
        return gradient
