"""Calls that forget what autograd saves in them, and make it again, all at once, when a backward pass asks for it.

The graph of such a call is the usual one, so that it may write into its inputs and into what it has saved, as networks
made for inference do; only the saved tensors are replaced by their numbers. (torch's checkpoint does the same without
a look at whether a saved tensor has been changed since, and its gradient is wrong then.)
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import fields, is_dataclass, replace
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

T = TypeVar("T")


class NotRepeated(RuntimeError):
    """A call did something else when it was made again: its gradient cannot be known."""


def forgetful_call(call: Callable[..., T], again: Callable[..., object], args: tuple, kwargs: dict) -> T:
    """call(*args, **kwargs), where gradients are on; again: the same call, as the backward pass makes it.

    Both must do the same, without randomness; NotRepeated in the backward pass where they did not. The inputs are kept
    as autograd keeps tensors: where one has been changed since, the backward pass raises torch's own error, or has the
    old value under allow_mutation_on_saved_tensors.
    """
    with _Saved(_Inputs(args, kwargs), again).forgotten():
        return call(*args, **kwargs)


class _Saved:
    """The tensors that autograd saves in one call, by their numbers."""

    def __init__(self, inputs: "_Inputs", again: Callable[..., object]) -> None:
        self._inputs, self._again = inputs, again
        self._kinds: list[tuple] = []
        self._changed: set[int] = set()
        self._made: dict[int, Tensor] = {}

    @contextmanager
    def forgotten(self) -> Iterator[None]:
        """Around the call. Notes what the call changes after it was saved, to be copied when it is made again."""
        saved: list[tuple[Tensor, int]] = []

        def pack(tensor: Tensor) -> int:
            saved.append((tensor.detach(), tensor._version))
            return len(saved) - 1

        with saved_tensors_hooks(pack, self._take):
            yield
        self._kinds = [_kind(tensor) for tensor, _ in saved]
        self._changed = {number for number, (tensor, version) in enumerate(saved) if tensor._version != version}
        saved.clear()  # the graph may hold on to its hooks

    def _take(self, number: int) -> Tensor:
        """A saved tensor; it is forgotten again, until another backward pass asks."""
        if number not in self._made:
            self._made = self._make()
        return self._made.pop(number)

    def _make(self) -> dict[int, Tensor]:
        made: dict[int, Tensor] = {}

        def pack(tensor: Tensor) -> None:
            number = len(made)
            made[number] = tensor.detach().clone() if number in self._changed else tensor.detach()

        with self._inputs.copied() as (args, kwargs), saved_tensors_hooks(pack, lambda _: None):
            self._again(*args, **kwargs)
        if [_kind(tensor) for tensor in made.values()] != self._kinds:
            raise NotRepeated("a part of the network did something else when it was run again")
        return made


def _kind(tensor: Tensor) -> tuple:
    return tensor.shape, tensor.dtype


class _Inputs:
    """The inputs of a call and the arithmetic that it is made in; tensors in containers too."""

    def __init__(self, args: tuple, kwargs: dict) -> None:
        tensors: list[Tensor] = []

        def keep(tensor: Tensor) -> _Place | Tensor:
            if tensor.is_inference():
                return tensor  # autograd cannot save it
            tensors.append(tensor.detach())
            return _Place(len(tensors) - 1, tensor.requires_grad)

        self._places = _each((args, kwargs), Tensor, keep)
        self._kept = _Keep.apply(torch.empty(0, requires_grad=True), *tensors)
        devices = filter(torch.is_autocast_enabled, {tensor.device.type for tensor in tensors})
        self._autocast = {device: torch.get_autocast_dtype(device) for device in devices}

    @contextmanager
    def copied(self) -> Iterator[tuple[tuple, dict]]:
        """(args, kwargs) with copies of all tensors, with gradients on, in the same arithmetic."""
        tensors = self._kept.grad_fn.saved_tensors

        def copy(place: _Place) -> Tensor:
            return tensors[place.number].detach().requires_grad_(place.has_gradient).clone()

        with ExitStack() as stack:
            stack.enter_context(torch.enable_grad())
            for device, dtype in self._autocast.items():
                stack.enter_context(torch.autocast(device, dtype))
            yield _each(self._places, _Place, copy)


class _Place(NamedTuple):
    """Where a tensor stands among a call's inputs."""

    number: int
    has_gradient: bool


class _Keep(torch.autograd.Function):
    """Tensors as autograd saves them, in a node of its own."""

    @staticmethod
    def forward(ctx: object, like: Tensor, *tensors: Tensor) -> Tensor:
        ctx.save_for_backward(*tensors)
        return like.clone()


def _each(value: object, kind: type, change: Callable) -> object:
    """A copy of the containers in ``value`` with each ``kind`` in them changed; dataclasses hold it directly."""
    if isinstance(value, kind):
        return change(value)
    if type(value) is dict:
        return {key: _each(part, kind, change) for key, part in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_each(part, kind, change) for part in value)
    if is_dataclass(value) and not isinstance(value, type):
        parts = {field.name: getattr(value, field.name) for field in fields(value)}
        held = {name: change(part) for name, part in parts.items() if isinstance(part, kind)}
        return replace(value, **held) if held else value
    return value
