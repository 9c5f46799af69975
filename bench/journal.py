"""A file of JSON lines that a kill at any moment leaves usable."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path


class Journal:
    """Rows that were appended so far, and a way to append one.

    A row counts once its line is whole: what a kill left of a last line is passed over, for another process may be at
    it, and cut off before the first row that is appended here. A line that is not JSON elsewhere (a damaged disk) is
    left in place and listed in ``damaged`` by number.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._ready = False
        self.damaged: list[int] = []

    def __iter__(self) -> Iterator[dict]:
        self.damaged.clear()
        lines = self._path.read_bytes().split(b"\n")[:-1] if self._path.exists() else []  # not what has no end
        for number, line in enumerate(lines, start=1):
            try:
                row = json.loads(line)
            except ValueError:
                row = None
            if isinstance(row, dict):
                yield row
            else:
                self.damaged.append(number)

    def append(self, row: dict) -> None:
        """Write a row and hand it to the system before returning."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("ab+") as file:
            if not self._ready:
                file.seek(0)
                file.truncate(file.read().rfind(b"\n") + 1)
                self._ready = True
            file.write(_line(row))

    def drop(self, unwanted: Callable[[dict], bool]) -> int:
        """Take rows out; how many. A kill meanwhile leaves all of them."""
        rows = list(self)
        kept = [row for row in rows if not unwanted(row)]
        if len(kept) < len(rows):
            write_whole(self._path, b"".join(map(_line, kept)))
        return len(rows) - len(kept)


def _line(row: dict) -> bytes:
    return json.dumps(row, ensure_ascii=False).encode() + b"\n"


def write_whole(path: Path, data: bytes) -> None:
    """A file that is there whole or not at all: written beside its place, then renamed.

    Two processes that write one file at a time do not meet: the last to finish has it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    part.write_bytes(data)
    os.replace(part, path)
