"""What objects of other packs hold, as far as Python lets one look: attributes, closures, bound and given arguments.

Patches, wrappers and samplers are callables of any make. What decides how windows treat them is what they keep: a
picture of the canvas, a tensor for each sample, another sampler, the host's model.
"""

from collections import deque
from collections.abc import Iterator
from functools import partial
from types import CellType, FunctionType, MethodType, ModuleType

import comfy.model_base
import comfy.model_patcher
import comfy.sd
from torch import Tensor, nn

DEPTH = 4
LEAVES = (
    *(str, bytes, int, float, complex, type(None), type, ModuleType, Tensor),
    *(comfy.model_base.BaseModel, comfy.model_patcher.ModelPatcher, comfy.sd.VAE, comfy.sd.CLIP),
)
"""What is not looked into: plain values, and the host's models, which hold everything."""


def parts(thing: object) -> list[tuple[str, object]]:
    """What a thing holds itself, by name; what a list or a tuple holds has no name of its own."""
    if isinstance(thing, LEAVES):
        return []
    if isinstance(thing, dict):
        return [(str(key), value) for key, value in thing.items()]
    if isinstance(thing, list | tuple | set | frozenset | deque):
        return [("", value) for value in thing]
    if isinstance(thing, super):
        return [("", thing.__self__)]
    if isinstance(thing, MethodType):
        return [("", thing.__self__), ("", thing.__func__)]
    if isinstance(thing, partial):
        return [("", thing.func), *(("", value) for value in thing.args), *thing.keywords.items()]
    if isinstance(thing, FunctionType):
        defaults = [*(("", value) for value in thing.__defaults__ or ()), *(thing.__kwdefaults__ or {}).items()]
        return [*_closure(thing), *defaults, *vars(thing).items()]
    if isinstance(thing, nn.Module):  # its weights are its own
        return [*thing._buffers.items(), *((k, v) for k, v in vars(thing).items() if not k.startswith("_"))]
    return slots(thing) + list(getattr(thing, "__dict__", {}).items())


def slots(thing: object) -> list[tuple[str, object]]:
    """(name, value) of what an object holds beside its ``__dict__``."""
    names = (name for cls in type(thing).__mro__ for name in _slots(cls) if name not in ("__dict__", "__weakref__"))
    return [(name, getattr(thing, name)) for name in names if hasattr(thing, name)]


def reachable(thing: object) -> Iterator[tuple[str, object]]:
    """(name, value) of a thing and of all that it holds, each once; unnamed values go by what holds them."""
    level, seen = [("", thing)], {id(thing)}
    for _ in range(DEPTH + 1):
        yield from level
        inner = [(own or outer, value) for outer, held in level for own, value in parts(held)]
        level = []
        for own, value in inner:
            if id(value) not in seen:
                seen.add(id(value))
                level.append((own, value))


def title(thing: object) -> str:
    """How to call a callable or an object in a sentence: by its function's, or its class's, name."""
    while isinstance(thing, partial):
        thing = thing.func
    return getattr(thing, "__qualname__", type(thing).__qualname__).split(".<locals>")[0]


def _closure(function: FunctionType) -> list[tuple[str, object]]:
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    return [(name, cell.cell_contents) for name, cell in cells if cell != CellType()]


def _slots(cls: type) -> tuple[str, ...]:
    slots = cls.__dict__.get("__slots__", ())
    return (slots,) if isinstance(slots, str) else tuple(slots)
