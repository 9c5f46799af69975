"""A running ComfyUI with the pack in it, in a temporary base directory: the installation stays as it is."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from _environment import PACK_ROOT
from _host import Host
from _progress import StepFailed, tail

PACK_NAME = "ComfyUI-SyncDiffusion"  # its folder under custom_nodes, whatever the checkout is called
START_TIMEOUT = 900.0  # seconds; a cold start on a busy machine takes minutes
# A proxy of the environment cannot reach this machine.
LOCAL = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True)
class Server:
    """A ComfyUI that answers at url; base is its temporary base directory, log its output."""

    url: str
    base: Path
    log: Path
    process: subprocess.Popen

    @property
    def output(self) -> Path:
        """The folder where its SaveImage nodes write."""
        return self.base / "output"

    def lost(self) -> StepFailed:
        """The error that says why it does not answer any more."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(5)
        code = self.process.poll()
        what = "does not answer any more" if code is None else f"ended (exit status {code})"
        return StepFailed(f"ComfyUI {what}; the end of its log:\n{tail(self.log)}")


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def has_accelerator(python: Path) -> bool:
    """Whether that interpreter's torch sees CUDA or MPS."""
    question = "import torch; print(torch.cuda.is_available() or torch.backends.mps.is_available())"
    answer = subprocess.run([str(python), "-c", question], capture_output=True, text=True, check=False)
    return answer.stdout.strip() == "True"


def make_base(base: Path, pack: Path = PACK_ROOT) -> None:
    """Fills a base directory: the folders that the host expects, and the pack as a link or a copy."""
    for name in ("custom_nodes", "input", "models", "output", "temp", "user"):
        (base / name).mkdir(parents=True, exist_ok=True)
    place = base / "custom_nodes" / PACK_NAME
    try:
        place.symlink_to(pack, target_is_directory=True)
    except OSError:  # Windows grants links to few users
        ignored = shutil.ignore_patterns(".git", ".*_cache", "__pycache__", "tests", "bench", "demo_output")
        shutil.copytree(pack, place, ignore=ignored)


def command_line(host: Host, python: Path, base: Path, port: int, options: Sequence[str]) -> list[str]:
    """The command that starts the host with nothing but the pack, in memory and on this machine only."""
    return [
        *(str(python), "-u", str(PACK_ROOT / "scripts" / "_leash.py"), str(host.folder / "main.py")),
        *("--base-directory", str(base)),
        *("--disable-all-custom-nodes", "--whitelist-custom-nodes", PACK_NAME),
        *("--database-url", "sqlite:///:memory:"),
        "--disable-api-nodes",
        *("--listen", "127.0.0.1", "--port", str(port), "--disable-auto-launch"),
        *("--preview-method", "latent2rgb"),
        *options,
    ]


@contextlib.contextmanager
def running(host: Host, python: Path, options: Sequence[str] = (), pack: Path = PACK_ROOT) -> Iterator[Server]:
    """A started host that answers; it and its base directory are gone afterwards, whatever happens.

    options: further command line words such as --cpu. Raises StepFailed with the end of its log when it does
    not come up.
    """
    with tempfile.TemporaryDirectory(prefix="syncdiffusion-", ignore_cleanup_errors=True) as scratch:
        base = Path(scratch).resolve()
        make_base(base, pack)
        port = free_port()
        log = base / "comfyui.log"
        command = command_line(host, python, base, port, options)
        with log.open("wb") as stream, _ended(_spawn(command, stream, base)) as process:
            server = Server(f"http://127.0.0.1:{port}", base, log, process)
            _wait_until_up(server)
            yield server


def _spawn(command: Sequence[str], stream, cwd: Path) -> subprocess.Popen:
    """The process on a leash, in a group of its own: all of it can be ended, and Ctrl-C reaches only us."""
    # No compiled modules: a found installation stays as it is.
    env = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1"}
    group = (
        {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
        if sys.platform == "win32"
        else {"start_new_session": True}
    )
    return subprocess.Popen(
        list(command), cwd=cwd, env=env, stdin=subprocess.PIPE, stdout=stream, stderr=stream, **group
    )


@contextlib.contextmanager
def _ended(process: subprocess.Popen) -> Iterator[subprocess.Popen]:
    try:
        yield process
    finally:
        _end(process)


def _end(process: subprocess.Popen, patience: float = 10.0) -> None:
    """Ends the process and its children, by force after patience seconds."""
    if sys.platform == "win32":
        command = ["taskkill", "/F", "/T", "/PID", str(process.pid)]
        subprocess.run(command, capture_output=True, check=False)
        process.wait()
        return
    try:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience)
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdin.close()


def _wait_until_up(server: Server) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline:
        if server.process.poll() is not None:
            raise server.lost()
        with contextlib.suppress(OSError, urllib.error.URLError):
            LOCAL.open(f"{server.url}/system_stats", timeout=5).close()
            return
        time.sleep(0.2)
    raise StepFailed(f"ComfyUI did not answer within {START_TIMEOUT:.0f} s:\n{tail(server.log)}")


def end_on_signals() -> None:
    """Turns the signals that would end this process at once into SystemExit: servers are ended with it."""

    def leave(number: int, _frame) -> None:
        raise SystemExit(128 + number)

    for name in ("SIGTERM", "SIGHUP", "SIGBREAK"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), leave)
