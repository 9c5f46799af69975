"""Runs a Python program that ends when the process that started it does, however that one ended.

`python _leash.py program.py arguments ...` with a pipe as its standard input: the starter holds the other end, and
the system closes it even where the starter was killed.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading
from pathlib import Path


def _end_with_starter() -> None:
    sys.stdin.buffer.read()
    if sys.platform != "win32":
        os.killpg(0, signal.SIGKILL)  # this process leads a group of its own
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=_end_with_starter, daemon=True).start()
    del sys.argv[0]
    sys.path[0] = str(Path(sys.argv[0]).resolve().parent)
    runpy.run_path(sys.argv[0], run_name="__main__")
