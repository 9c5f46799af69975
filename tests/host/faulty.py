"""A network that fails, or sees the user press stop, at a call of one's choice."""

from collections.abc import Iterator
from contextlib import contextmanager

import comfy.model_management
import torch
from torch import nn


class Fault:
    """Counts the calls of networks, and at call number `at` (from 0; None for never) does what it is for."""

    def __init__(self, at: int | None = None, stop: bool = False) -> None:
        self.at, self.stop, self.calls = at, stop, 0

    def __call__(self, *_: object) -> None:
        self.calls += 1
        if self.calls - 1 != self.at:
            return
        if self.stop:
            comfy.model_management.interrupt_current_processing(True)
        else:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


@contextmanager
def faulty(fault: Fault, *modules: nn.Module) -> Iterator[None]:
    """These modules with the fault in front of each of their calls."""
    hooks = [module.register_forward_pre_hook(fault) for module in modules]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
        comfy.model_management.interrupt_current_processing(False)


def first_convolution(network: nn.Module) -> nn.Module:
    """What a network asks once a call, whichever of its methods is called."""
    return next(module for module in network.modules() if isinstance(module, nn.Conv2d))
