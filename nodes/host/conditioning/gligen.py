"""GLIGEN's network in a model call that autograd runs through."""

from collections.abc import Callable

import torch
from torch import Tensor

from ..gradient.gradients import differentiable_call

Patch = Callable[[Tensor, dict], Tensor]


class DifferentiableGligen:
    """The model of a GLIGEN condition in the place of itself: its patches can be passed by a gradient."""

    def __init__(self, gligen: object) -> None:
        self._network = gligen.model

    @property
    def model(self) -> "DifferentiableGligen":
        """The network, as the host asks the condition's model for it."""
        return self

    def set_position(self, shape: tuple[int, ...], boxes: list, device: torch.device) -> Patch:
        """The host's function of that name."""
        return self._patch(self._network.set_position, shape, boxes, device)

    def set_empty(self, shape: tuple[int, ...], device: torch.device) -> Patch:
        """The host's function of that name."""
        return self._patch(self._network.set_empty, shape, device)

    def _patch(self, make: Callable[..., Patch], *args: object) -> Patch:
        if not torch.is_grad_enabled():
            return make(*args)
        patch = differentiable_call(self._network, make, *args)
        return lambda x, options: differentiable_call(self._network, patch, x, options)
