"""The GPU check's time: each section has a share of what is left, and ends when that is used up."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

RING = 0.25
"""Seconds between two calls to stop: the host forgets one that comes between two of its runs."""
Job = tuple[str, Callable[[], dict]]
"""What a row is of, and what measures the rest of it."""


@dataclass(frozen=True)
class Section:
    """A table of the report. share: of the time, against the others'. jobs: its rows, in order, none of them run yet.

    needs_cuda: whether it says nothing on a processor.
    """

    title: str
    note: str
    share: float
    jobs: Callable[[], Iterator[Job]]
    needs_cuda: bool = False


@dataclass
class Result:
    """What came of a section; of a row that failed, the first line of its error is under "failed"."""

    title: str
    note: str
    rows: list[dict] = field(default_factory=list)
    seconds: float = 0.0


class Clock:
    """The time of one check, from now on."""

    def __init__(self, seconds: float, now: Callable[[], float] = time.monotonic) -> None:
        self._now, self._end = now, now() + seconds

    def left(self) -> float:
        """Seconds."""
        return self._end - self._now()

    def run(
        self,
        sections: Sequence[Section],
        stop: Callable[[], None],
        after: Callable[[list[Result]], None],
        on_cuda: bool = True,
    ) -> list[Result]:
        """Run the sections one after the other. stop: ends the run that is under way, by an error of its own.

        after: called with all results so far at the end of each section. What one section leaves of its time is the
        others'.
        """
        results: list[Result] = []
        for k, section in enumerate(sections):
            share = section.share / sum(each.share for each in sections[k:])
            results.append(result := Result(section.title, section.note))
            if section.needs_cuda and not on_cuda:
                result.rows.append({"": "–", "failed": "needs CUDA"})
            else:
                self._run_one(section, share * self.left(), stop, result)
            after(results)
        return results

    def _run_one(self, section: Section, seconds: float, stop: Callable[[], None], result: Result) -> None:
        started = self._now()
        late = f"the section's {max(seconds, 0):.0f} s were used up"
        with alarm(seconds, stop):
            for name, job in section.jobs():
                row: dict = {"": name}
                is_late = self._now() - started >= seconds
                try:
                    row |= {"failed": late} if is_late else job()
                except Exception as error:  # of any kind: the other rows are worth having
                    is_late = self._now() - started >= seconds
                    row["failed"] = late if is_late else first_line(error)
                result.rows.append(row)
        result.seconds = self._now() - started


@contextmanager
def alarm(seconds: float, ring: Callable[[], None]) -> Iterator[None]:
    """Call ring again and again, from another thread, once the block has taken so long."""
    over = threading.Event()

    def watch() -> None:
        wait = max(seconds, 0.0)
        while not over.wait(wait):
            ring()
            wait = RING

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def first_line(error: BaseException) -> str:
    """Of an error's words, or its kind where it has none."""
    return next(iter(str(error).splitlines()), type(error).__name__)[:200]
