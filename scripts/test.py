"""All checks with one command: `python scripts/test.py [pytest arguments]`.

Makes an environment where this Python lacks something, finds or fetches ComfyUI, finds a browser, then runs
the linter, the type checker and pytest, a process for each of up to four cores (-n 0 keeps to one; on a GPU
there is one). Everything given on the command line goes to pytest. The exit status is pytest's, or the first
failing check's where pytest is content; the last line is pytest's own.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from _browser import find_or_install_browser
from _environment import PACK_ROOT, WITHOUT_HOST, ensure, read_requirements, require_python
from _host import HostError, find_or_fetch_host
from _progress import StepFailed, prepare_console, say
from _server import end_on_signals

MOST_PROCESSES = 4  # each loads ComfyUI: 2 to 3 GB
CHECKS = {
    "linter": ("-m", "ruff", "check", "."),
    "formatter": ("-m", "ruff", "format", "--check", "."),
    "type checker": ("-m", "mypy"),
}


def prepare() -> tuple[Path, dict[str, str]]:
    """(interpreter, environment variables) for the checks and tests."""
    host = find_or_fetch_host()
    base = read_requirements(host.requirements) if host else list(WITHOUT_HOST)
    extra = read_requirements(PACK_ROOT / "requirements.txt")
    extra += read_requirements(Path(__file__).with_name("requirements-test.txt"))
    python = ensure(base, extra)
    env = {**os.environ, "PYTHONUNBUFFERED": "1"}
    if host:
        env["COMFYUI_PATH"] = str(host.folder)
        if browser := find_or_install_browser():
            env["SYNCDIFFUSION_BROWSER"] = browser
    return python, env


def run_checks(python: Path, env: dict[str, str]) -> int:
    """The exit status of the first check that fails, 0 when all pass; every one runs."""
    codes = []
    for title, words in CHECKS.items():
        say(f"--> {title}: {' '.join(words[1:])}")
        codes.append(_call(python, words, env))
    return next(filter(None, codes), 0)


def _call(python: Path, words: tuple[str, ...], env: dict[str, str]) -> int:
    return subprocess.call([str(python), *words], cwd=PACK_ROOT, env=env, stdin=subprocess.DEVNULL)


def spread() -> list[str]:
    """pytest's arguments for several processes. A file's tests stay together, for they share models and servers."""
    if os.environ.get("SYNCDIFFUSION_TEST_DEVICE") == "gpu":
        return []
    return ["--numprocesses", str(min(os.cpu_count() or 1, MOST_PROCESSES)), "--dist", "loadfile"]


def main(arguments: list[str]) -> int:
    """Runs everything; see the module's docstring."""
    prepare_console()
    require_python()
    end_on_signals()
    try:
        python, env = prepare()
    except (HostError, StepFailed) as error:
        raise SystemExit(str(error)) from error
    except KeyboardInterrupt:
        say("\nStopped.")
        return 130
    checked = run_checks(python, env)
    arguments = [*spread(), *arguments]
    say(f"--> tests: pytest {' '.join(arguments)}")
    tested = _call(python, ("-m", "pytest", *arguments), env)
    return tested or checked


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
