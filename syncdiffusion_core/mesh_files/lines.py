"""Files of text, line by line: as lists of words all at once they would take many times their size in memory."""

from collections.abc import Iterator
from io import BytesIO

from .refusal import DAMAGED, MOST, Unreadable

LONGEST = 1_000_000
"""Bytes of a line."""


def words_of(data: bytes) -> Iterator[list[bytes]]:
    """The words of each line that has some; it ends with a line feed, a carriage return or both.

    Raises Unreadable for far too many lines, or for one that is none.
    """
    if b"\n" not in data:
        data = data.replace(b"\r", b"\n")
    if data.count(b"\n") > 4 * MOST:
        raise Unreadable(f"it has more than {4 * MOST} lines; export a simpler mesh")
    for line in BytesIO(data):
        if len(line) > LONGEST:
            raise Unreadable(f"one of its lines has {len(line)} bytes; {DAMAGED}")
        words = line.split()
        if words:
            yield words
