"""Gradients inside the host: the one file that leaves inference mode.

The host runs nodes, and loads weights, under ``torch.inference_mode()``; autograd refuses to save such weights
for a backward pass. Here each is replaced, for the time of one call, by an alias of the same storage: no copy,
no memory, and the shared module is untouched before and after.
"""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import comfy.model_management
import torch
from torch import Tensor, nn

T = TypeVar("T")

COMPILED = "torch_compile_kwargs"
"""Where the host's compiling node notes on a model's options what it has done."""


@contextmanager
def outside_inference() -> Iterator[None]:
    """Leave inference mode; gradients are on only where the core asks for them."""
    with torch.inference_mode(False), torch.no_grad():
        yield


def normal_tensor(x: Tensor) -> Tensor:
    """A copy that autograd may save; call it outside inference mode."""
    return x.clone() if x.is_inference() else x


def has_backward(module: nn.Module) -> bool:
    """Whether every weight can be aliased: quantised weights (tensor subclasses) cannot."""
    return all(type(p) in (nn.Parameter, Tensor) for p in module.parameters())


def is_compiled(patcher: object) -> bool:
    """Whether a model is, by the host's node (a wrapper of the call), or by a pack that swapped modules for such."""
    modules = patcher.model.modules()
    return COMPILED in patcher.model_options or any(hasattr(module, "_orig_mod") for module in modules)


def differentiable_call(module: nn.Module, call: Callable[..., T], *args: object, **kwargs: object) -> T:
    """call(*args, **kwargs) while the inference tensors of ``module`` are aliased by ordinary ones."""
    aliases = {f"module.{name}": _alias(tensor) for name, tensor in _inference_tensors(module)}
    with _differentiable_kernels():
        if not aliases:
            return call(*args, **kwargs)
        return torch.func.functional_call(_Call(module, call), aliases, args, kwargs, tie_weights=False)


def differentiable_copy(holder: T) -> T:
    """A shallow copy of an object whose inference tensors are aliased by ordinary ones."""
    twin = copy.copy(holder)
    tensors = {name: value for name, value in vars(holder).items() if isinstance(value, Tensor)}
    vars(twin).update({name: _alias(tensor) for name, tensor in tensors.items() if tensor.is_inference()})
    return twin


@contextmanager
def _differentiable_kernels() -> Iterator[None]:
    """Where gradients are on, the host's kernels that autograd knows instead of its fused ones (rotary positions).

    By the switch that the host's own training node sets.
    """
    before = comfy.model_management.in_training
    comfy.model_management.in_training = before or torch.is_grad_enabled()
    try:
        yield
    finally:
        comfy.model_management.in_training = before


class Differentiable:
    """A module of the host in the place of itself, that autograd can run through; its attributes are its own."""

    def __init__(self, module: nn.Module) -> None:
        self._module = module

    def __getattr__(self, name: str) -> object:
        return getattr(self._module, name)

    def __call__(self, *args: object, **kwargs: object) -> object:
        if not torch.is_grad_enabled():
            return self._module(*args, **kwargs)
        return differentiable_call(self._module, self._module, *args, **kwargs)


class _Call(nn.Module):
    """A module whose forward is any function that runs ``module``: what functional_call wants."""

    def __init__(self, module: nn.Module, call: Callable[..., object]) -> None:
        super().__init__()
        self.module = module
        self.call = call

    def forward(self, *args: object, **kwargs: object) -> object:
        return self.call(*args, **kwargs)


def _inference_tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    for named in (module.named_parameters(remove_duplicate=False), module.named_buffers(remove_duplicate=False)):
        yield from ((name, tensor) for name, tensor in named if tensor.is_inference())


def _alias(tensor: Tensor) -> Tensor:
    alias = torch.empty(0, dtype=tensor.dtype, device=tensor.device)
    return alias.set_(tensor.untyped_storage(), tensor.storage_offset(), tensor.size(), tensor.stride())
