"""The JSON of a glTF, read with suspicion: a value is of the kind that is asked for, or a sentence says where not."""

import json
import math
from typing import NoReturn

from .refusal import DAMAGED, Unreadable, brief

MOST_MARKS = 2_000_000
"""Commas and brackets that are parsed: in memory each is some dozen times as large as in the file."""


class Entry:
    """One object of the JSON. where: how errors call it."""

    __slots__ = ("_values", "where")

    def __init__(self, where: str, values: object) -> None:
        if not isinstance(values, dict):
            raise Unreadable(f"{where} is no object of a glTF but {brief(values)}; {DAMAGED}")
        self.where, self._values = where, values

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def whole(self, key: str, default: int | None = None) -> int:
        """A number of things, or of one of them: 0 or more. Without a default it has to be there."""
        value = self._values.get(key, default)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**53:
            self._refuse(key, "a whole number")
        return value

    def maybe(self, key: str) -> int | None:
        """The same where it may be missing."""
        return self.whole(key) if key in self._values else None

    def number(self, key: str, default: float) -> float:
        """A number, finite."""
        return self._finite(key, self._values.get(key, default))

    def numbers(self, key: str, default: list[float]) -> list[float]:
        """As many finite numbers as the default has."""
        values = self._values.get(key, default)
        if not isinstance(values, list) or len(values) != len(default):
            self._refuse(key, f"{len(default)} numbers")
        return [self._finite(key, value) for value in values]

    def text(self, key: str, default: str = "") -> str:
        """Words."""
        value = self._values.get(key, default)
        return value if isinstance(value, str) else self._refuse(key, "text")

    def flag(self, key: str) -> bool:
        """Yes or no; no where it is missing."""
        return self._values.get(key, False) is True

    def entry(self, key: str) -> "Entry":
        """An object inside it; an empty one where it is missing."""
        return Entry(f"{self.where}.{key}", self._values.get(key, {}))

    def wholes(self, key: str) -> list[int]:
        """Numbers of things; none where it is missing."""
        values = self._values.get(key, [])
        if not isinstance(values, list) or not all(type(value) is int and 0 <= value < 2**53 for value in values):
            self._refuse(key, "a list of whole numbers")
        return values

    def texts(self, key: str) -> list[str]:
        """Words; none where it is missing."""
        values = self._values.get(key, [])
        if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
            self._refuse(key, "a list of names")
        return values

    def entries(self, key: str) -> list["Entry"]:
        """The objects of a list; none where it is missing."""
        values = self._values.get(key, [])
        if not isinstance(values, list):
            self._refuse(key, "a list")
        return [Entry(f"{key}[{number}]", value) for number, value in enumerate(values)]

    def _finite(self, key: str, value: object) -> float:
        if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300:
            return float(value)
        self._refuse(key, "finite numbers")

    def _refuse(self, key: str, wanted: str) -> NoReturn:
        value = brief(self._values.get(key, "nothing"))
        raise Unreadable(f"'{key}' of {self.where} has to be {wanted}, got {value}; {DAMAGED}")


def parsed(text: bytes) -> Entry:
    """The whole JSON. Raises Unreadable for what is none."""
    if sum(text.count(mark) for mark in (b",", b"{", b"[")) > MOST_MARKS:
        raise Unreadable("its description is too long; keep its numbers in the binary part, as GLB does")
    try:
        values = json.loads(text, parse_constant=lambda _: math.nan)
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"its description is no JSON ({str(error)[:80]}); {DAMAGED}") from None
    return Entry("the file", values)
