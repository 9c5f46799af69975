"""What a panorama takes of a machine: passes through the networks, and memory."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

MODEL, DECODER, LIGHT = "model", "decoder", "light"
"""Kinds of networks: the denoiser, a VAE's decoder, and a light one in its place."""


@dataclass
class Passes:
    """Rows through one kind of network, each in units of one window's latent cells.

    Conditional and unconditional rows count one each. backward: gradients that came back to what it put out; what
    checkpointing computes again is in neither, and so is a pass that failed.
    """

    forward: float = 0.0
    backward: float = 0.0

    @property
    def total(self) -> float:
        """Both."""
        return self.forward + self.backward


@contextmanager
def counted(kind_of: Callable[[nn.Module], str | None], window_cells: int) -> Iterator[dict[str, Passes]]:
    """Passes by kind while the block runs. kind_of: what a module is; modules within a counted one are not asked.

    window_cells: latent cells of a window, the unit.
    """
    passes = {kind: Passes() for kind in (MODEL, DECODER, LIGHT)}
    within: list[nn.Module] = []

    def enter(module: nn.Module, args: tuple) -> None:
        if not within and kind_of(module) is not None:
            within.append(module)

    def leave(module: nn.Module, args: tuple, output: object) -> None:
        if not within or within[0] is not module:
            return
        within.clear()
        if output is None:  # it raised: out of memory, or checkpointing that has computed again what it wanted
            return
        counter, x = passes[kind_of(module)], next(leaf for leaf in args if isinstance(leaf, Tensor))
        windows = x.shape[0] * x.shape[2:].numel() / window_cells
        counter.forward += windows
        result = next(leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor))
        if result.requires_grad:
            result.register_hook(lambda gradient: _add_backward(counter, windows))

    hooks = [register_module_forward_pre_hook(enter), register_module_forward_hook(leave, always_call=True)]
    try:
        yield passes
    finally:
        for hook in hooks:
            hook.remove()


def _add_backward(counter: Passes, windows: float) -> None:
    counter.backward += windows


class LiveTensors(TorchDispatchMode):
    """Bytes of the tensors that operations have made since it was entered and that are still held; and their peak.

    What is in a kernel's own scratch space is not seen; what a machine's allocator adds is left out.
    """

    def __init__(self) -> None:
        super().__init__()
        self.live = self.peak = 0
        self._seen: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        for leaf in tree_leaves((args, kwargs)):
            if isinstance(leaf, Tensor) and (storage := _storage(leaf)) is not None and storage not in self._seen:
                self._seen[storage] = 0  # of before: a weight, an input
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor) and (storage := _storage(leaf)) is not None and storage not in self._seen:
                self._add(storage)
        return result

    def _add(self, storage: torch.UntypedStorage) -> None:
        size = storage.nbytes()
        self._seen[storage] = size
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._drop, size).atexit = False

    def _drop(self, size: int) -> None:
        self.live -= size


def _storage(tensor: Tensor) -> torch.UntypedStorage | None:
    """None of tensors that have none of their own, such as quantised or sparse wrappers."""
    try:
        return tensor.untyped_storage()
    except (RuntimeError, NotImplementedError):
        return None


@contextmanager
def peak_memory() -> Iterator[Callable[[], int]]:
    """Gives peak(): bytes at most in use while the block ran, of what ``says_how`` tells."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        yield torch.cuda.max_memory_allocated
        return
    with LiveTensors() as live:
        yield lambda: live.peak


def says_how() -> str:
    """What ``peak_memory`` counts on this machine."""
    if torch.cuda.is_available():
        return "torch.cuda.max_memory_allocated, weights included"
    return "peak bytes of live tensors; weights that were loaded before and the kernels' scratch space are left out"
