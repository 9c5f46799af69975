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
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if not line.endswith(b"\n"):
                    return
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
        if not self._ready:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._cut_off_torn_line()
            self._ready = True
        with self._path.open("ab") as file:
            file.write(_line(row))

    def drop(self, unwanted: Callable[[dict], bool]) -> int:
        """Take rows out; how many. A kill meanwhile leaves all of them."""
        rows = list(self)
        kept = [row for row in rows if not unwanted(row)]
        if len(kept) < len(rows):
            write_whole(self._path, b"".join(map(_line, kept)))
        return len(rows) - len(kept)

    def _cut_off_torn_line(self) -> None:
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            torn = sum(len(line) for line in file if not line.endswith(b"\n"))  # the last one, if any
        if torn:
            os.truncate(self._path, self._path.stat().st_size - torn)


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
