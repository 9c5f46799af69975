"""The elements of a PLY file: its header, and their columns of single numbers and of lists."""

from array import array
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .lines import words_of
from .refusal import DAMAGED, Unreadable, brief, check_count

TYPES = {
    **{"char": "i1", "int8": "i1", "uchar": "u1", "uint8": "u1", "short": "i2", "int16": "i2", "ushort": "u2"},
    **{"uint16": "u2", "int": "i4", "int32": "i4", "uint": "u4", "uint32": "u4", "float": "f4", "float32": "f4"},
    **{"double": "f8", "float64": "f8"},
}
ORDERS = {"binary_little_endian": "<", "binary_big_endian": ">", "ascii": ""}
LONGEST_HEADER = 50_000
END = b"end_header"


class Property(NamedTuple):
    """A column. kind: of its numbers, as numpy's. length: kind of the number of them in each row; None for one."""

    name: str
    kind: str
    length: str | None


@dataclass(frozen=True)
class Element:
    """A table of the header."""

    name: str
    count: int
    properties: tuple[Property, ...]


class Lists(NamedTuple):
    """A column of lists: how long each is [M], and all their numbers in a row."""

    counts: np.ndarray
    values: np.ndarray


Table = dict[str, np.ndarray | Lists]


def read_tables(data: bytes) -> dict[str, Table]:
    """The columns of every element by name. Raises Unreadable for what is no PLY, or shorter than its header says."""
    elements, order, start = _header(data)
    if order:
        body = _Body(data, start, order)
    else:
        elements = [_in_words(element) for element in elements]
        body = _Body(_of_words(data, start), 0, "<")
    return {element.name: body.table(element) for element in elements}


def _in_words(element: Element) -> Element:
    """As it is once words are numbers: all of one kind."""
    columns = [Property(each.name, "f8", each.length and "f8") for each in element.properties]
    return Element(element.name, element.count, tuple(columns))


def _header(data: bytes) -> tuple[list[Element], str, int]:
    """(elements, byte order or "" for text, where the body begins)."""
    end = data.find(END, 0, LONGEST_HEADER)
    if not data.startswith(b"ply") or end < 0:
        raise Unreadable(f"it has no header of a PLY file; {DAMAGED}")
    newline = data.find(b"\n", end, end + len(END) + 2)
    start = newline + 1 if newline >= 0 else end + len(END) + 1  # or a lone carriage return
    order, elements = "", list[Element]()
    for line in data[:end].splitlines():
        match line.decode("latin-1").split():
            case ["format", name, _] if name in ORDERS:
                order = ORDERS[name]
            case ["element", name, count] if count.isdecimal() and len(count) < 19:
                elements.append(Element(name, int(count), ()))
            case ["property", "list", length, kind, name] if {length, kind} <= {*TYPES} and elements:
                _add(elements, Property(name, TYPES[kind], TYPES[length]))
            case ["property", kind, name] if kind in TYPES and elements:
                _add(elements, Property(name, TYPES[kind], None))
            case ["format" | "element" | "property", *_]:
                raise Unreadable(f"its header says {brief(line)}, which is not of a PLY file; {DAMAGED}")
    return elements, order, start


def _add(elements: list[Element], column: Property) -> None:
    last = elements[-1]
    if any(column.name == other.name for other in last.properties):
        raise Unreadable(f"its header has two columns {brief(column.name)}; {DAMAGED}")
    elements[-1] = Element(last.name, last.count, (*last.properties, column))


class _Body:
    """What follows the header, as numbers that lie behind each other."""

    def __init__(self, data: bytes, start: int, order: str) -> None:
        self._data, self._at, self._order = data, start, order

    def table(self, element: Element) -> Table:
        """The next element."""
        least = sum(self._kind(column.length or column.kind).itemsize for column in element.properties)
        self._check(element, element.count * least)
        if not element.properties or not element.count:
            return {}
        alike = self._alike(element)
        return self._one_by_one(element) if alike is None else alike

    def _kind(self, name: str) -> np.dtype:
        return np.dtype(self._order + name)

    def _check(self, element: Element, length: int) -> None:
        """Raise Unreadable for rows that are too many, or longer than what is left."""
        check_count(element.count, f"rows '{element.name}'")
        if length > len(self._data) - self._at:
            raise Unreadable(
                f"it ends before the {element.count} rows {brief(element.name)} that its header promises; {DAMAGED}"
            )

    def _alike(self, element: Element) -> Table | None:
        """The table if every row's lists are as long as the first row's, as in meshes of triangles; else None."""
        fields: list[tuple[str, np.dtype, tuple[int, ...]]] = []
        at = self._at
        for column in element.properties:
            shape: tuple[int, ...] = ()
            if column.length is not None:
                fields.append((_length(column), self._kind(column.length), ()))
                shape = (self._length_at(self._kind(column.length), at),)
                at += self._kind(column.length).itemsize
            fields.append((column.name, self._kind(column.kind), shape))
            at += self._kind(column.kind).itemsize * (shape[0] if shape else 1)
        size = (at - self._at) * element.count
        if size > len(self._data) - self._at:
            return None
        rows = np.frombuffer(self._data, np.dtype(fields), element.count, self._at)
        if any((rows[_length(c)] != rows[_length(c)][0]).any() for c in element.properties if c.length is not None):
            return None
        self._at += size
        return {
            column.name: rows[column.name]
            if column.length is None
            else Lists(rows[_length(column)].astype(np.int64), rows[column.name].reshape(-1))
            for column in element.properties
        }

    def _one_by_one(self, element: Element) -> Table:
        """Row by row, for lists of several lengths."""
        columns = element.properties
        lengths = {column.name: array("q") for column in columns}
        values = {column.name: bytearray() for column in columns}
        for _ in range(element.count):
            for column in columns:
                length = 1
                if column.length is not None:
                    kind = self._kind(column.length)
                    length = self._length_at(kind, self._at)
                    self._at += kind.itemsize
                size = length * self._kind(column.kind).itemsize
                self._check(element, size)
                lengths[column.name].append(length)
                values[column.name] += self._data[self._at : self._at + size]
                self._at += size
        found = {column.name: np.frombuffer(values[column.name], self._kind(column.kind)) for column in columns}
        return {
            column.name: found[column.name]
            if column.length is None
            else Lists(np.frombuffer(lengths[column.name], np.int64), found[column.name])
            for column in columns
        }

    def _length_at(self, kind: np.dtype, at: int) -> int:
        """The length of a list that stands there: no more than the bytes that are left."""
        if at + kind.itemsize > len(self._data):
            raise Unreadable(f"it ends inside a list; {DAMAGED}")
        number = float(np.frombuffer(self._data, kind, 1, at)[0])
        if not 0 <= number <= len(self._data) - at:
            raise Unreadable(f"it has a list of {number:g} numbers, more than there are; {DAMAGED}")
        return int(number)


def _length(column: Property) -> str:
    """The name of the column of its lengths; no column of a file has a blank in its name."""
    return f"{column.name} length"


def _of_words(data: bytes, start: int) -> bytes:
    """Numbers in text as float64 in memory."""
    try:
        return np.fromiter((float(word) for words in words_of(data[start:]) for word in words), "<f8").tobytes()
    except Unreadable:
        raise
    except ValueError:
        raise Unreadable(f"what follows its header is not all numbers; {DAMAGED}") from None
