"""Backward passes that keep little: blocks of a network that are run again instead of remembered.

A block keeps its inputs only, and is run a second time when the backward pass reaches it: one more forward pass for a
fraction of the memory. Layers whose weights the host streams, casts or patches on the fly are run again one by one,
each right before its own gradient: the weights of a forward pass may be gone, or overwritten, by then.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import comfy.ops
import torch
from torch import Tensor, nn

from .forgetful import forgetful_call
from .gradients import differentiable_call

CONTAINERS = (nn.ModuleList, nn.ModuleDict, nn.Sequential)
AFFINE = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


def blocks_of(network: nn.Module) -> Iterator[nn.Module]:
    """The blocks of a network, itself called or not: what stands in its lists and has parts of its own."""
    for child in network.children():
        yield from _blocks(child, inside=isinstance(network, CONTAINERS))


def _blocks(module: nn.Module, inside: bool) -> Iterator[nn.Module]:
    if _is_container(module) or not inside:
        for child in module.children():
            yield from _blocks(child, inside=inside or _is_container(module))
    elif next(module.children(), None) is not None:
        yield module


def _is_container(module: nn.Module) -> bool:
    """Whether a module only holds others: a list, or one that is never called itself."""
    return isinstance(module, CONTAINERS) or type(module).forward is nn.Module.forward


@contextmanager
def recomputing(network: nn.Module, blocks: bool = True) -> Iterator[None]:
    """Within, the network's blocks (if asked for) and streamed layers are called so that they are run again.

    The backward pass may come after it. Without gradients nothing changes.
    """
    if not torch.is_grad_enabled():
        yield
        return
    forwards = {layer: _Refetched(layer) for layer in _cast_layers(network)}
    forwards |= {block: _Recomputed(block) for block in blocks_of(network)} if blocks else {}
    before = {module: vars(module).get("forward") for module in forwards}
    try:
        for module, forward in forwards.items():
            module.forward = forward
        yield
    finally:
        for module, forward in before.items():
            del module.forward
            if forward is not None:
                module.forward = forward


class _Recomputed:
    """In the place of a block's forward."""

    def __init__(self, block: nn.Module) -> None:
        self._block, self._forward = block, block.forward

    def __call__(self, *args: object, **kwargs: object) -> object:
        if not torch.is_grad_enabled():
            return self._forward(*args, **kwargs)
        return forgetful_call(self._forward, self._again, args, kwargs)

    def _again(self, *args: object, **kwargs: object) -> object:
        """The call that the backward pass makes: the network's layers and weights are the host's own by then."""
        with recomputing(self._block, blocks=False):
            return differentiable_call(self._block, self._forward, *args, **kwargs)


def _cast_layers(network: nn.Module) -> Iterator[nn.Module]:
    """Layers that the host may stream."""
    for module in network.modules():
        if isinstance(module, comfy.ops.CastWeightBiasOp) and module.comfy_cast_weights:
            yield module


class _Refetched:
    """In the place of the forward of a layer whose weights may be streamed."""

    def __init__(self, layer: nn.Module) -> None:
        self._layer, self._forward = layer, layer.forward

    def __call__(self, x: Tensor, *args: object, **kwargs: object) -> Tensor:
        if args or kwargs or not (torch.is_grad_enabled() and x.requires_grad and self._is_streamed(x)):
            return self._forward(x, *args, **kwargs)
        return _RunAgain.apply(x, self._layer, self._forward)

    def _is_streamed(self, x: Tensor) -> bool:
        """Whether the weights of this call are made for it alone (_v: the host's mark of dynamic VRAM)."""
        return hasattr(self._layer, "_v") or (self._layer.weight is not None and self._layer.weight.device != x.device)


class _RunAgain(torch.autograd.Function):
    """A layer that remembers no weights: its backward pass asks it again."""

    @staticmethod
    def forward(ctx: object, x: Tensor, layer: nn.Module, forward: Callable[[Tensor], Tensor]) -> Tensor:
        ctx.layer, ctx.call, ctx.like = layer, forward, (x.shape, x.dtype, x.device)
        if not isinstance(layer, AFFINE):
            ctx.save_for_backward(x)
        y = forward(x)
        return y.clone() if y._is_view() else y  # the network may write into it, and autograd refuses that for a view

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> tuple[Tensor, None, None]:
        shape, dtype, device = ctx.like
        saved = ctx.saved_tensors  # to be asked for once only: a block that is recomputed makes them for that
        # The Jacobian of an affine layer is the same everywhere.
        x = saved[0].detach() if saved else torch.zeros(shape, dtype=dtype, device=device)
        with torch.enable_grad():
            leaf = x.requires_grad_(True)
            y = differentiable_call(ctx.layer, ctx.call, leaf)
        return torch.autograd.grad(y, leaf, gradient)[0], None, None
