"""What a person sees while the two commands work: stages with seconds, loud lines; ASCII only."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

HEARTBEAT = 15.0  # seconds between lines where there is no terminal to redraw


class StepFailed(RuntimeError):
    """A command of a stage failed; the message carries the end of its log."""


def prepare_console() -> None:
    """Lets any text be printed: a console of few characters shows a mark where it lacks one."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")


def say(text: str) -> None:
    """One line on stdout, at once."""
    print(text, flush=True)


def loud(text: str) -> None:
    """One line that nobody overlooks, for what will not happen and why."""
    say(f"!!! {text}")


@contextlib.contextmanager
def stage(title: str) -> Iterator[None]:
    """Announces a stage and says how many seconds it took; says nothing more when it raises."""
    say(f"--> {title} ...")
    started = time.monotonic()
    yield
    say(f"    {title}: done in {time.monotonic() - started:.1f} s")


def run_logged(
    title: str,
    command: Sequence[str],
    log: Path,
    timeout: float | None = None,
    env: dict[str, str] | None = None,
) -> None:
    """Runs command with its output in log, showing the seconds that pass.

    Raises StepFailed with the last lines of the log when it fails or runs past timeout seconds.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with stage(title), log.open("a", encoding="utf-8", errors="replace") as stream:
        stream.write(f"\n$ {' '.join(command)}\n")
        stream.flush()
        process = subprocess.Popen(
            list(command), stdin=subprocess.DEVNULL, stdout=stream, stderr=subprocess.STDOUT, env=env
        )
        try:
            code = _wait(process, log, timeout)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    if code != 0:
        raise StepFailed(f"{title} failed (exit status {code}); the end of {log}:\n{tail(log)}")


def _wait(process: subprocess.Popen, log: Path, timeout: float | None) -> int | None:
    """Exit status of process, None when it ran past timeout; a sign of life from the log meanwhile."""
    redraw = sys.stdout.isatty()
    started = spoken = time.monotonic()
    while (code := process.poll()) is None:
        now = time.monotonic()
        if timeout is not None and now - started > timeout:
            return None
        if redraw:
            print(f"\r    {now - started:4.0f} s  {_last_line(log):70.70}", end="", flush=True)
        elif now - spoken > HEARTBEAT:
            spoken = now
            say(f"    {now - started:4.0f} s  {_last_line(log):.70}")
        time.sleep(0.25)
    if redraw:
        print("\r" + " " * 82 + "\r", end="", flush=True)
    return code


def tail(log: Path, lines: int = 30) -> str:
    """The last lines of a log, empty when there is none."""
    try:
        return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
    except OSError:
        return ""


def _last_line(log: Path) -> str:
    line = tail(log, 1).strip()
    return "" if line.startswith("$ ") else line  # our own note of the command
