"""Where graphs run: in this process, in a running ComfyUI, or in servers started for the occasion."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol as Interface

from bench.graphs import PICTURE, Graph

# The two commands know how to find, start and ask a host.
sys.path.append(str(Path(__file__).resolve().parents[1] / "scripts"))

from _client import Client
from _host import Host, find_host
from _progress import prepare_console  # noqa: F401
from _server import StepFailed, running

ONE_HEAP = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 40), "MALLOC_TOP_PAD_": str(1 << 28)}
"""For servers on a processor: glibc then keeps freed memory; guided steps take two thirds of the time."""


class Runner(Interface):
    """Runs graphs in some ComfyUI."""

    def run(self, graph: Graph) -> bytes:
        """The PNG file of the graph's picture. Raises RuntimeError with the host's words when a node fails."""
        ...

    def upload(self, name: str, data: bytes) -> None:
        """Put a file into the host's input folder."""
        ...


@dataclass(frozen=True)
class Address:
    """A ComfyUI that somebody else started, as ``Client`` wants it."""

    url: str

    def __post_init__(self) -> None:
        if not self.url.startswith(("http://", "https://")):
            raise ValueError(f"--url: has to begin with http:// or https://, got {self.url}")

    def lost(self) -> StepFailed:
        """The error that says it does not answer."""
        return StepFailed(f"ComfyUI at {self.url} does not answer; is it running, and is that its address?")


class Remote:
    """A ComfyUI with an HTTP API."""

    def __init__(self, server: Address) -> None:
        self._client = Client(server)

    def run(self, graph: Graph) -> bytes:
        """See Runner."""
        image = self._client.run(graph)[PICTURE]["images"][0]
        return self._client.ask("/view", params={key: image[key] for key in ("filename", "subfolder", "type")}).content

    def upload(self, name: str, data: bytes) -> None:
        """See Runner."""
        self._client.ask("/upload/image", data={"overwrite": "true"}, files={"image": (name, data, "image/png")})


def required_host() -> Host:
    """The ComfyUI of this machine; SystemExit where there is none."""
    host = find_host()
    if host is None:
        raise SystemExit("no ComfyUI was found; set COMFYUI_PATH to a checkout of it, or give --url of a running one")
    return host


@contextlib.contextmanager
def servers(count: int) -> Iterator[list[Remote]]:
    """Started ComfyUIs that share the processor's cores; they end with the block."""
    host = required_host()
    os.environ.update({**ONE_HEAP, "OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // count))})
    with contextlib.ExitStack() as stack:
        yield [Remote(stack.enter_context(running(host, Path(sys.executable), ["--cpu"]))) for _ in range(count)]


@contextlib.contextmanager
def in_process() -> Iterator[Runner]:
    """The ComfyUI of this machine, imported here; models come from its own folders, pictures go to a scratch one."""
    host = required_host()
    with tempfile.TemporaryDirectory(prefix="syncdiffusion-bench-", ignore_cleanup_errors=True) as scratch:
        from bench.in_process import InProcess

        yield InProcess(host.folder, Path(scratch))
