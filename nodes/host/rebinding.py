"""Copies of other packs' objects that stand on their own: nothing of a copy points at its original.

Objects that bind a method to themselves (``self.get_control = self.inject``, as Advanced-ControlNet does), or keep
``super()`` or a helper that knows its owner, take these with them into a plain copy: what is set on the copy then has
no effect, because the original answers.
"""

import copy
import gc
import weakref
from collections.abc import Callable
from functools import partial
from types import CellType, FunctionType, MethodType

from .reach import LEAVES

Swap = Callable[[object], object]
"""What takes the place of an object in a copy; itself where nothing does."""
DEPTH = 4


def rebind(twin: object, original: object, swap: Swap = lambda value: value) -> None:
    """Make the attributes of a shallow copy mean the copy wherever they mean the original.

    Bound methods, ``super()``, partial calls, closures, weak references, collections and helper objects are followed.
    swap: for other objects that the copy should have another in place of.
    """
    weak = weakref.getweakrefs(original)

    def replace(value: object) -> object:
        if value is original:
            return twin
        if any(value is reference for reference in weak):
            return weakref.ref(twin) if isinstance(value, weakref.ReferenceType) else weakref.proxy(twin)
        return swap(value)

    vars(twin).update({name: _followed(value, replace, DEPTH) for name, value in vars(twin).items()})


def refuse_rest(twin: object, original: object, what: str) -> None:
    """Raise ValueError where a copy still points at its original, in a way that could not be followed.

    what: how to call it in the error.
    """
    for name, value in vars(twin).items():
        if _reaches(value, original):
            raise ValueError(
                f"{what}: {type(original).__name__} keeps itself in '{name}' in a way that a copy of it cannot follow, "
                "so that windows would be shown the whole canvas; use the host's own nodes in its place"
            )


def _followed(value: object, replace: Swap, depth: int) -> object:
    """The value with everything in it replaced; the value itself where nothing was."""
    if (other := replace(value)) is not value:
        return other
    if depth == 0 or isinstance(value, LEAVES):
        return value

    def inner(part: object) -> object:
        return _followed(part, replace, depth - 1)

    if isinstance(value, MethodType):
        return _if_new(value, [value.__self__], inner, lambda owner: MethodType(value.__func__, owner))
    if isinstance(value, super):
        return _if_new(value, [value.__self__], inner, lambda owner: super(value.__thisclass__, owner))
    if isinstance(value, partial):
        parts = [value.func, *value.args, *value.keywords.values()]
        return _if_new(value, parts, inner, lambda *new: _as_partial(value, new))
    if isinstance(value, FunctionType):
        held = [cell.cell_contents for cell in value.__closure__ or () if cell != CellType()]
        return _if_new(value, held, inner, lambda *new: _with_closure(value, new))
    if type(value) in (list, tuple, set):
        return _if_new(value, list(value), inner, lambda *new: type(value)(new))
    if type(value) is dict:
        return _if_new(value, list(value.values()), inner, lambda *new: dict(zip(value, new, strict=True)))
    attributes = list(getattr(value, "__dict__", {}).values())
    return _if_new(value, attributes, inner, lambda *new: _with_attributes(value, new))


def _if_new(value: object, parts: list, inner: Swap, make: Callable[..., object]) -> object:
    new = [inner(part) for part in parts]
    changed = any(one is not other for one, other in zip(new, parts, strict=True))
    return make(*new) if changed else value


def _as_partial(value: partial, new: tuple) -> partial:
    count = 1 + len(value.args)
    return partial(*new[:count], **dict(zip(value.keywords, new[count:], strict=True)))


def _with_closure(function: FunctionType, new: tuple) -> FunctionType:
    contents = iter(new)
    cells = [cell if cell == CellType() else CellType(next(contents)) for cell in function.__closure__ or ()]
    twin = FunctionType(function.__code__, function.__globals__, function.__name__, function.__defaults__, tuple(cells))
    twin.__kwdefaults__ = function.__kwdefaults__
    vars(twin).update(vars(function))
    return twin


def _with_attributes(helper: object, new: tuple) -> object:
    twin = copy.copy(helper)
    vars(twin).update(zip(vars(helper), new, strict=True))
    return twin


def _reaches(value: object, original: object) -> bool:
    """Whether a value holds the original still, as the garbage collector sees it."""
    level, seen = [value], set()
    for _ in range(DEPTH):
        level = [part for part in level if id(part) not in seen and not isinstance(part, LEAVES)]
        seen.update(map(id, level))
        level = [part for held in level for part in _referents(held)]
        if any(part is original for part in level):
            return True
    return False


def _referents(held: object) -> list:
    """What an object refers to; of a function without the module that it was written in."""
    if isinstance(held, FunctionType):
        return [cell.cell_contents for cell in held.__closure__ or () if cell != CellType()]
    return gc.get_referents(held)
