"""A real ComfyUI in a process of its own for the tests over HTTP and in the browser, and that browser."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

BROWSER_FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@dataclass
class ComfyServer:
    """A running ComfyUI with the pack: its address, a client of its HTTP API, its output folder, its log."""

    url: str
    client: Any
    output: Path
    log: Path
    before: frozenset[Path]  # the installation's files before it was started

    def new_files(self, installation: Path) -> list[Path]:
        """What stands in the installation now and did not before the start."""
        return sorted(_files(installation) - self.before)

    def run(self, graph: dict) -> tuple[dict, list[tuple[str, dict]]]:
        """(outputs by node id, the host's messages) of an API-format graph; raises _client.GraphError."""
        events = []
        outputs = self.client.run(graph, lambda kind, data: events.append((kind, data)))
        return outputs, events


def _files(folder: Path) -> frozenset[Path]:
    return frozenset(path for path in folder.rglob("*") if not path.is_relative_to(folder / ".git"))


@pytest.fixture(scope="session")
def comfy_server(host_tests: Any) -> Iterator[ComfyServer]:
    """One server for all tests of the session."""
    running = importlib.import_module("_server").running
    client = importlib.import_module("_client")
    options = [] if os.environ.get("SYNCDIFFUSION_TEST_DEVICE") == "gpu" else ["--cpu"]
    before = _files(host_tests.found.folder)
    with running(host_tests.found, Path(sys.executable), options) as server:
        # Otherwise the templates open by themselves, at a moment of their own.
        client.Client(server).request("/settings/Comfy.TutorialCompleted", True)
        yield ComfyServer(server.url, client.Client(server), server.output, server.log, before)


@dataclass
class Page:
    """A browser tab with ComfyUI's interface in it; `page` is playwright's."""

    page: Any
    errors: list[str] = field(default_factory=list)  # uncaught exceptions of the page

    def close_dialogs(self) -> None:
        """Closes what opens by itself, such as the templates on a first visit."""
        self.page.keyboard.press("Escape")

    def load(self, workflow: dict) -> None:
        """Opens a workflow (format 0.4) as dropping its file would."""
        self.page.evaluate("workflow => window.app.loadGraphData(workflow)", workflow)

    def prompt(self) -> dict:
        """The API-format graph that the interface would send now, without the nodes' titles."""
        graph = self.page.evaluate("async () => (await window.app.graphToPrompt()).output")
        return {node_id: {key: node[key] for key in ("inputs", "class_type")} for node_id, node in graph.items()}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A headless browser; per module, for playwright's loop would block asyncio.run in later tests."""
    from playwright.sync_api import sync_playwright

    executable = importlib.import_module("_browser").find_browser()
    assert executable, "no Chromium, Chrome or Edge was found; set SYNCDIFFUSION_BROWSER"
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=executable, args=BROWSER_FLAGS)
        yield launched
        launched.close()
