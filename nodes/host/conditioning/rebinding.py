"""Copies of other packs' objects that stand on their own: nothing of a copy points at its original.

Objects that bind a method to themselves (``self.get_control = self.inject``, as Advanced-ControlNet does), or keep
``super()`` or a helper that knows its owner, take these with them into a plain copy: what is set on the copy then has
no effect, because the original answers.
"""

import copy
import gc
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from types import CellType, FunctionType, MethodType

from .reach import LEAVES, parts, slots

Swap = Callable[[object], object]
"""What takes the place of an object in a copy; itself where nothing does."""
DEPTH = 8
"""How far is looked into what an object holds."""


def shallow(original: object) -> object:
    """A copy of an object that has the same attributes, whatever its own class makes of ``copy.copy``."""
    try:
        twin = object.__new__(type(original))
    except TypeError:  # a class written in C
        return copy.copy(original)
    for name, value in slots(original):
        object.__setattr__(twin, name, value)
    getattr(twin, "__dict__", {}).update(getattr(original, "__dict__", {}))
    return twin


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
            return _as_weak(value, twin)
        return swap(value)

    following = _Following(replace, list(vars(twin).values()))
    vars(twin).update({name: following.of(value) for name, value in vars(twin).items()})


def refuse_rest(twin: object, original: object, what: str, is_old: Callable[[object], bool]) -> None:
    """Raise ValueError where a copy still points at its original, in a way that could not be followed.

    what: how to call it in the error. is_old: whether an object is another that should have been replaced.
    """
    classes = [value for cls in type(twin).__mro__ for value in vars(cls).items() if isinstance(value[1], FunctionType)]
    for name, value in [*vars(twin).items(), *classes]:
        found = _reached(value, lambda part: part is original or is_old(part))
        if found is not None:
            held = "itself" if found is original else f"a {type(found).__name__}"
            raise ValueError(
                f"{what}: {type(original).__name__} keeps {held} in '{name}' in a way that a copy of it cannot follow, "
                "so that windows would be shown the whole canvas; use the host's own nodes in its place"
            )


class _Following:
    """Copies of values in which everything is replaced that is to be; what holds nothing of it stays as it is."""

    def __init__(self, replace: Swap, values: list) -> None:
        self._replace, self._new = replace, {}
        self._marked = _holders(values, lambda value: replace(value) is not value)

    def of(self, value: object) -> object:
        """The value with everything in it replaced; the value itself where nothing was."""
        if id(value) in self._new:
            return self._new[id(value)]
        if (other := self._replace(value)) is not value or id(value) not in self._marked:
            return other
        if isinstance(value, MethodType):
            return MethodType(self.of(value.__func__), self.of(value.__self__))
        if isinstance(value, super):
            return super(value.__thisclass__, self.of(value.__self__))
        if isinstance(value, partial):
            given = {name: self.of(held) for name, held in value.keywords.items()}
            return partial(self.of(value.func), *self._all(value.args), **given)
        if isinstance(value, tuple):
            return getattr(type(value), "_make", type(value))(self._all(value))
        if isinstance(value, FunctionType):
            return self._function(value)
        return self._object(value)

    def _all(self, values: object) -> list:
        return [self.of(value) for value in values]

    def _function(self, value: FunctionType) -> FunctionType:
        cells = value.__closure__ or ()
        new = tuple(cell if cell == CellType() else CellType() for cell in cells)
        twin = FunctionType(value.__code__, value.__globals__, value.__name__, value.__defaults__, new)
        self._new[id(value)] = twin  # before the rest: functions may know themselves
        for cell, other in zip(cells, new, strict=True):
            if other is not cell:
                other.cell_contents = self.of(cell.cell_contents)
        twin.__defaults__ = None if value.__defaults__ is None else tuple(self._all(value.__defaults__))
        twin.__kwdefaults__ = {name: self.of(held) for name, held in (value.__kwdefaults__ or {}).items()}
        vars(twin).update({name: self.of(held) for name, held in vars(value).items()})
        return twin

    def _object(self, value: object) -> object:
        """A collection, or a helper with attributes; itself where its class has no copies."""
        collection = isinstance(value, dict | list | set | deque)
        if not collection and not hasattr(value, "__dict__"):
            return value
        twin = copy.copy(value) if collection else shallow(value)
        if twin is value:
            return value
        self._new[id(value)] = twin
        if isinstance(value, dict):
            twin.update({key: self.of(held) for key, held in value.items()})
        elif isinstance(value, list | set | deque):
            twin.clear()
            (twin.update if isinstance(value, set) else twin.extend)(self._all(value))
        if hasattr(value, "__dict__"):
            vars(twin).update({name: self.of(held) for name, held in vars(value).items()})
        return twin


def _holders(values: list, is_meant: Callable[[object], bool]) -> set[int]:
    """Ids of the values, and of what they hold, through which something that is meant can be reached."""
    level, holders, meant = list(values), {}, []
    for _ in range(DEPTH):
        inner = []
        for value in level:
            for _name, part in parts(value):
                if id(part) not in holders:
                    holders[id(part)] = []
                    inner.append(part)
                    meant += [id(part)] if is_meant(part) else []
                holders[id(part)].append(id(value))
        level = [part for part in inner if id(part) not in meant]
    marked: set[int] = set()
    while meant:
        new = {holder for part in meant for holder in holders.get(part, ())} - marked
        marked |= new
        meant = list(new)
    return marked


def _as_weak(reference: object, twin: object) -> object:
    """A weak reference to the copy, of the kind of one to its original."""
    if isinstance(reference, weakref.WeakMethod):
        return weakref.WeakMethod(MethodType(reference().__func__, twin))
    return weakref.ref(twin) if isinstance(reference, weakref.ReferenceType) else weakref.proxy(twin)


def _reached(value: object, is_meant: Callable[[object], bool]) -> object:
    """The first object that is meant among those which a value holds, as the garbage collector sees it."""
    level, seen = [value], set()
    for _ in range(2 * DEPTH):  # an object and its attributes are two
        level = [part for held in level for part in _referents(held) if not isinstance(part, LEAVES)]
        level = [part for part in {id(part): part for part in level}.values() if id(part) not in seen]
        for part in level:
            if is_meant(part):
                return part
        seen.update(map(id, level))
    return None


def _referents(held: object) -> Iterator[object]:
    """What an object refers to; of a function without the module that it was written in."""
    if isinstance(held, FunctionType):
        return (value for _, value in parts(held))
    return iter(gc.get_referents(held))
