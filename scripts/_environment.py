"""A Python that has what a task needs: the running one, else one environment per requirement set.

Everything lives in the user's cache folder; an environment counts only once its marker is written, so an
install that was killed is made again.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import re
import shutil
import sys
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from _progress import StepFailed, run_logged, say

PACK_ROOT = Path(__file__).resolve().parent.parent
OLDEST, NEWEST = (3, 10), (3, 13)  # the Pythons that are tested
# These three import together on CPU and CUDA machines; other combinations of the three do not.
TORCH = ("torch==2.11.0", "torchvision==0.26.0", "torchaudio==2.11.0")
WITHOUT_HOST = (*TORCH[:2], "numpy", "safetensors", "Pillow", "scipy", "tqdm", "aiohttp", "requests", "pydantic")
MARKER = "complete.json"


def require_python() -> None:
    """Exits with a sentence on a Python that is too old; says so on one newer than the tested ones."""
    here = ".".join(map(str, sys.version_info[:2]))
    if sys.version_info[:2] < OLDEST:
        raise SystemExit(f"Python {here} is too old: run this with Python 3.10, 3.11, 3.12 or 3.13.")
    if sys.version_info[:2] > NEWEST:
        say(f"Python {here} is newer than the tested ones (3.10 to 3.13); trying all the same.")


def cache_folder() -> Path:
    """The user's cache folder for this project; $SYNCDIFFUSION_CACHE moves it."""
    if chosen := os.environ.get("SYNCDIFFUSION_CACHE"):
        return Path(chosen).expanduser().resolve()
    home = Path.home()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = home / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache")
    return base / "syncdiffusion"


def read_requirements(path: Path) -> list[str]:
    """The requirement lines of a requirements.txt, without comments and options."""
    lines = (line.split(" #")[0].strip() for line in path.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line and not line.startswith(("#", "-"))]


def with_pinned_torch(requirements: Iterable[str]) -> list[str]:
    """The same requirements with the torch packages replaced by the pinned set."""
    pinned = {name_of(line) for line in TORCH}
    return [*TORCH, *(line for line in requirements if name_of(line) not in pinned)]


def name_of(requirement: str) -> str:
    """Normalised package name of a requirement line."""
    return re.sub(r"[-_.]+", "-", re.split(r"[\s<>=!~;\[(@]", requirement.strip(), maxsplit=1)[0]).lower()


def missing(requirements: Iterable[str]) -> list[str]:
    """The requirements that the running interpreter lacks or has in an older version; imports none of them.

    A pin counts as a lower bound, and a line with an environment marker is left to pip.
    """
    return [line for line in requirements if ";" not in line and not _satisfied(line)]


def _satisfied(requirement: str) -> bool:
    try:
        installed = importlib.metadata.version(name_of(requirement))
    except importlib.metadata.PackageNotFoundError:
        return False
    bounds = re.findall(r"(?:==|>=|~=)\s*([0-9][0-9.]*)", requirement)
    return all(release(installed) >= release(bound) for bound in bounds)


def release(version: str) -> tuple[int, ...]:
    """Numbers of a version, without its suffix: '2.11.0+cpu' -> (2, 11)."""
    numbers = [int(part) for part in re.match(r"[0-9.]*", version).group().split(".") if part]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def environment_key(requirements: Iterable[str], *further: str) -> str:
    """Name of the environment of a requirement set: the same lines on the same Python give the same name."""
    lines = [*sorted(requirements), *further, sys.implementation.cache_tag, sys.platform, platform.machine()]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def ensure(base: list[str], extra: list[str], run: Callable[..., None] = run_logged) -> Path:
    """An interpreter that has base (torch and the host's packages) and extra (the task's own).

    The running interpreter when it has both; a thin environment on top of it when only extra is missing;
    else an environment of its own. Raises StepFailed when an install fails.
    """
    lacks_base, lacks_extra = missing(base), missing(extra)
    if not lacks_base and not lacks_extra:
        say(f"Using this Python as it is: {sys.executable}")
        return Path(sys.executable)
    if not lacks_base:
        return _make(extra, run, below=_site_folders())
    say(f"This Python lacks {', '.join(map(name_of, lacks_base[:4]))}{' ...' if lacks_base[4:] else ''}")
    return _make([*with_pinned_torch(base), *extra], run)


def use(python: Path) -> None:
    """Lets this process import what an interpreter of ensure has; both are of one version, for one made the other."""
    if python != Path(sys.executable):
        sys.path.insert(1, str(_site_of(python.parents[1])))


def _site_of(folder: Path) -> Path:
    return next(folder.glob("lib/python*/site-packages"), folder / "Lib" / "site-packages")


def _site_folders() -> tuple[str, ...]:
    return tuple(p for p in sys.path if Path(p).name in ("site-packages", "dist-packages"))


def _make(requirements: list[str], run: Callable[..., None], below: tuple[str, ...] = ()) -> Path:
    """Interpreter of the environment of requirements, made unless its marker is there; it also sees below."""
    folder = cache_folder() / "envs" / environment_key(requirements, *below)
    with _lock(folder.with_suffix(".lock")):
        if (folder / MARKER).is_file() and python_of(folder).exists():
            say(f"Using the environment {folder}")
            return python_of(folder)
        if folder.exists():
            say(f"Removing an environment that is unfinished or has lost its Python: {folder}")
            shutil.rmtree(folder)
        _install(folder, requirements, below, run)
        facts = {"python": sys.version, "requirements": requirements}
        (folder / MARKER).write_text(json.dumps(facts, indent=1), encoding="utf-8")
    return python_of(folder)


def _install(folder: Path, requirements: list[str], below: tuple[str, ...], run: Callable[..., None]) -> None:
    log = folder.with_suffix(".log")
    log.unlink(missing_ok=True)
    pip = _create(folder, log, run)
    if below:
        (_site_of(folder) / "below.pth").write_text("\n".join(below) + "\n", encoding="utf-8")
    listed = folder / "requirements.txt"
    listed.write_text("\n".join(requirements) + "\n", encoding="utf-8")
    note = "" if below else ", torch among them: some minutes"
    title = f"installing {len(requirements)} packages{note}"
    quiet = ["--no-input", "--disable-pip-version-check", "--progress-bar", "off"]
    run(title, [*pip, "install", *quiet, "-r", str(listed)], log)


def _create(folder: Path, log: Path, run: Callable[..., None]) -> list[str]:
    """Makes the bare environment; returns the command that is its pip."""
    if importlib.util.find_spec("venv") is None:
        raise StepFailed("This Python has no venv module: use a full one (Debian: apt install python3-venv).")
    folder.parent.mkdir(parents=True, exist_ok=True)
    whole = importlib.util.find_spec("ensurepip") is not None
    options = [] if whole else ["--without-pip"]
    run(f"making the environment {folder}", [sys.executable, "-m", "venv", *options, str(folder)], log)
    if whole:
        return [str(python_of(folder)), "-m", "pip"]
    # Debian keeps ensurepip in a package of its own; pip runs from its wheel as well.
    return [str(python_of(folder)), str(_pip_wheel(cache_folder()) / "pip")]


def _pip_wheel(folder: Path) -> Path:
    """pip's newest wheel from PyPI, checked against the hash that PyPI gives."""
    index = "https://pypi.org/pypi/pip/json"
    files = json.loads(_fetch(index))["urls"]
    wheel = next(f for f in files if f["packagetype"] == "bdist_wheel")
    data = _fetch(urllib.parse.urljoin(index, wheel["url"]))  # a mirror's may be relative
    if hashlib.sha256(data).hexdigest() != wheel["digests"]["sha256"]:
        raise StepFailed(f"{wheel['url']} does not match PyPI's hash; try again.")
    path = folder / wheel["filename"]
    path.write_bytes(data)
    return path


def _fetch(url: str) -> bytes:
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:
            return answer.read()
    except OSError as error:
        raise StepFailed(f"{url} cannot be fetched: {error}") from error


def python_of(folder: Path) -> Path:
    """The interpreter inside an environment."""
    return folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Only one process at a time inside; the system frees it when a process is killed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as stream:
        if sys.platform == "win32":
            import msvcrt

            while True:  # one call gives up after ten seconds
                with contextlib.suppress(OSError):
                    msvcrt.locking(stream.fileno(), msvcrt.LK_LOCK, 1)
                    break
        else:
            import fcntl

            fcntl.flock(stream, fcntl.LOCK_EX)
        yield
