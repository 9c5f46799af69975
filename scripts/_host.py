"""The ComfyUI that the demo and the tests run in: found on this machine, else the pinned release, fetched."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from _environment import PACK_ROOT, cache_folder, release
from _progress import StepFailed, loud, run_logged, say, stage

UPSTREAM = "https://github.com/comfyanonymous/ComfyUI"
PINNED = "v0.33.0"
NETWORK_TIMEOUT = 10.0  # seconds to find out whether upstream answers at all


class HostError(RuntimeError):
    """A ComfyUI was named by $COMFYUI_PATH and cannot be used; the message says why."""


@dataclass(frozen=True)
class Host:
    """A ComfyUI checkout: its folder, its version, and where it was found."""

    folder: Path
    version: str
    origin: str

    @property
    def requirements(self) -> Path:
        """The host's own requirements.txt."""
        return self.folder / "requirements.txt"

    def __str__(self) -> str:
        return f"ComfyUI {self.version} at {self.folder} ({self.origin})"


def floor() -> str:
    """The oldest ComfyUI that the pack declares to work with (`requires-comfyui` in pyproject.toml)."""
    text = (PACK_ROOT / "pyproject.toml").read_text(encoding="utf-8")
    return re.search(r'^requires-comfyui\s*=\s*">=([0-9.]+)"', text, re.MULTILINE).group(1)


def open_host(folder: Path, origin: str) -> Host | None:
    """The ComfyUI in folder, None where there is none."""
    try:
        text = (folder / "comfyui_version.py").read_text(encoding="utf-8")
    except OSError:
        return None
    version = re.search(r'__version__\s*=\s*["\']([^"\']+)', text)
    whole = all((folder / part).exists() for part in ("main.py", "nodes.py", "execution.py", "comfy"))
    return Host(folder.resolve(), version.group(1), origin) if version and whole else None


def candidates(pack: Path, home: Path) -> Iterator[tuple[Path, str]]:
    """Folders where a ComfyUI may be, in the order of preference, each with a word on it."""
    if pack.parent.name == "custom_nodes":
        yield pack.parent.parent, "encloses the pack"
    yield home / "comfy" / "ComfyUI", "found"
    yield home / "ComfyUI", "found"
    yield fetched_folder(), "fetched"


def find_host(environ: Mapping[str, str] = os.environ, pack: Path = PACK_ROOT, home: Path | None = None) -> Host | None:
    """The first usable ComfyUI of this machine, None where there is none.

    Raises HostError when $COMFYUI_PATH names something else or a version below the floor; a found one that is
    too old is passed over with a line.
    """
    if named := environ.get("COMFYUI_PATH"):
        host = open_host(Path(named).expanduser(), "$COMFYUI_PATH")
        if host is None:
            raise HostError(f"COMFYUI_PATH={named} is not a ComfyUI checkout: no comfyui_version.py and main.py.")
        if not is_new_enough(host):
            raise HostError(f"COMFYUI_PATH={named} is ComfyUI {host.version}; {floor()} or newer is needed.")
        return host
    for folder, origin in candidates(pack, home or Path.home()):
        if host := open_host(folder, origin):
            if is_new_enough(host):
                return host
            say(f"Passing over {host}: {floor()} or newer is needed.")
    return None


def is_new_enough(host: Host) -> bool:
    """Whether the host's version reaches the floor."""
    return release(host.version) >= release(floor())


def fetched_folder() -> Path:
    """Where a fetched ComfyUI of the pinned release lives."""
    return cache_folder() / f"ComfyUI-{PINNED}"


def find_or_fetch_host() -> Host | None:
    """find_host, else the pinned release from upstream; None and one loud line where it cannot be had."""
    host = find_host()
    if host is None:
        try:
            host = fetch_host()
        except (OSError, StepFailed, zipfile.BadZipFile) as error:
            loud(f"No ComfyUI: none on this machine, and {UPSTREAM} cannot be fetched ({_brief(error)}).")
            return None
    say(f"Using {host}")
    return host


def _brief(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def fetch_host() -> Host | None:
    """The pinned release in the cache folder, by git or as an archive; raises OSError or StepFailed."""
    urllib.request.urlopen(urllib.request.Request(UPSTREAM, method="HEAD"), timeout=NETWORK_TIMEOUT).close()
    target = fetched_folder()
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix="fetch-") as scratch:
        if shutil.which("git"):
            source = _clone(Path(scratch))
        else:
            source = _download(Path(scratch))
        shutil.rmtree(target, ignore_errors=True)
        source.rename(target)
    return open_host(target, "fetched")


def _clone(scratch: Path) -> Path:
    folder = scratch / "ComfyUI"
    slow = ["-c", "http.lowSpeedLimit=1000", "-c", "http.lowSpeedTime=30"]
    command = ["git", *slow, "clone", "--depth", "1", "--branch", PINNED, UPSTREAM, str(folder)]
    env = {**os.environ, "GIT_TERMINAL_PROMPT": "0"}
    run_logged(f"fetching ComfyUI {PINNED}", command, cache_folder() / "fetch.log", timeout=900, env=env)
    return folder


def _download(scratch: Path) -> Path:
    archive = scratch / "ComfyUI.zip"
    with stage(f"downloading ComfyUI {PINNED}"):
        url = f"{UPSTREAM}/archive/refs/tags/{PINNED}.zip"
        with urllib.request.urlopen(url, timeout=60) as answer, archive.open("wb") as stream:
            shutil.copyfileobj(answer, stream)
        with zipfile.ZipFile(archive) as opened:
            opened.extractall(scratch / "unpacked")
    return next((scratch / "unpacked").iterdir())
