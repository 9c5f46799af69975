"""A file of JSON lines that a kill at any moment leaves usable."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path


class Journal:
    """Rows that were appended so far, and a way to append one.

    A row counts once its line is whole: what a kill left of a last line is cut off on opening. A line that is not
    JSON elsewhere (a damaged disk) is left in place and listed in ``damaged`` by number.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.damaged: list[int] = []
        path.parent.mkdir(parents=True, exist_ok=True)
        self._cut_off_torn_line()

    def _cut_off_torn_line(self) -> None:
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            torn = sum(len(line) for line in file if not line.endswith(b"\n"))  # the last one, if any
        if torn:
            os.truncate(self._path, self._path.stat().st_size - torn)

    def __iter__(self) -> Iterator[dict]:
        self.damaged.clear()
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            for number, line in enumerate(file, start=1):
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
        with self._path.open("ab") as file:
            file.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")


def write_whole(path: Path, data: bytes) -> None:
    """A file that is there whole or not at all: written beside its place, then renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_bytes(data)
    os.replace(part, path)
