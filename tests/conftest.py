"""What all tests share: import order (the host first, then the pack), fixtures, a count of the host tests.

The host is imported only when a test under tests/host is collected, so that the core's tests start fast.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

TESTS = Path(__file__).resolve().parent
PACK_ROOT = TESTS.parent
USE_GPU = os.environ.get("SYNCDIFFUSION_TEST_DEVICE", "cpu") == "gpu"
# Networks of the tests are so small that two threads wait for each other longer than they compute; torch is not
# imported yet. Servers and commands that tests start have it from here.
os.environ.setdefault("OMP_NUM_THREADS", "1")


def _import_scripts(*names: str) -> list[ModuleType]:
    """The helpers of the two commands, known by name from now on; sys.path has their folder only meanwhile."""
    sys.path.insert(0, str(PACK_ROOT / "scripts"))
    try:
        return [importlib.import_module(name) for name in names]
    finally:
        sys.path.remove(str(PACK_ROOT / "scripts"))


def _import_file(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"syncdiffusion_tests_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


_host, _browser, *_ = _import_scripts("_host", "_browser", "_client", "_follower")
_harness = _import_file(TESTS / "harness.py")
_damage = _import_file(TESTS / "damage.py")
_running = _import_file(TESTS / "e2e" / "server.py")
comfy_server = _running.comfy_server
browser = _running.browser


class HostTests:
    """Finds and loads the host for one test session, and counts what ran in it."""

    def __init__(self, found: _host.Host | None, base: Path) -> None:
        self.found, self._base = found, base
        self.harness: _harness.Harness | None = None
        self.ran, self.skipped = set(), set()
        self.left_out: list[str] = []  # loud lines

    def load(self) -> _harness.Harness:
        """The host in this process, imported on the first call."""
        if self.harness is None:
            found = self.found
            self.harness = _harness.load_host(found.folder, found.version, self._base, USE_GPU)
        return self.harness

    def count(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        """Notes a report of a host test (or of a module of them that skipped itself)."""
        if report.skipped and not hasattr(report, "wasxfail"):
            self.skipped.add(report.nodeid)
        elif getattr(report, "when", "") == "call":
            self.ran.add(report.nodeid)


KEY = pytest.StashKey[HostTests]()


def _needs_host(path: Path) -> bool:
    return any(folder in path.parents or folder == path for folder in (TESTS / "host", TESTS / "e2e"))


def pytest_configure(config: pytest.Config) -> None:
    """Puts the host first on sys.path and the pack last: `import nodes` has to be the host's."""
    try:
        found = _host.find_host()
    except _host.HostError as error:
        raise pytest.UsageError(str(error)) from error
    sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != PACK_ROOT]
    if found:
        sys.path.insert(0, str(found.folder))
    sys.path += [str(PACK_ROOT), str(TESTS / "host")]  # the latter for the builders of small models
    base = tempfile.TemporaryDirectory(prefix="syncdiffusion-tests-", ignore_cleanup_errors=True)
    config.add_cleanup(base.cleanup)
    config.stash[KEY] = HostTests(found, Path(base.name).resolve())


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leaves the host's tests out where there is no host; the summary says so."""
    tests = config.stash[KEY]
    if tests.found is None and _needs_host(collection_path):
        tests.left_out = ["host tests: none ran, no ComfyUI was found; set COMFYUI_PATH to a checkout of it"]
        return True
    return None


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> None:
    """Loads the host before a module that imports from it is imported."""
    if TESTS / "host" in module_path.parents:
        parent.config.stash[KEY].load()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Marks the host's tests by path; deselects what this machine has no browser or GPU for."""
    tests = config.stash[KEY]
    for item in items:
        if _needs_host(item.path):
            item.add_marker("host")
    if not USE_GPU:
        _deselect(config, items, "gpu", "SYNCDIFFUSION_TEST_DEVICE=gpu runs them")
    # A build machine has to have a browser: there the tests fail instead.
    if _browser.find_browser() is None and os.environ.get("CI") != "true":
        tests.left_out += _deselect(config, items, "browser", "no Chromium, Chrome or Edge was found")


def _deselect(config: pytest.Config, items: list[pytest.Item], marker: str, reason: str) -> list[str]:
    """Takes the marked tests out of items; a line on it where there were any."""
    out = [item for item in items if item.get_closest_marker(marker)]
    if not out:
        return []
    config.hook.pytest_deselected(items=out)
    items[:] = [item for item in items if item not in out]
    return [f"{marker} tests: {len(out)} left out, {reason}"]


class Account:
    """Counts the host tests by their reports; a host test that skips itself fails the session."""

    def __init__(self, tests: HostTests) -> None:
        self._tests = tests

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if "host" in report.keywords:
            self._tests.count(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.skipped and report.fspath and _needs_host(PACK_ROOT / report.fspath):
            self._tests.count(report)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if hasattr(session.config, "workeroutput"):  # one of several processes: what no report of a test tells
            session.config.workeroutput |= {"left_out": self._tests.left_out, "skipped": [*self._tests.skipped]}
        if self._tests.found and self._tests.skipped and session.exitstatus in (0, pytest.ExitCode.NO_TESTS_COLLECTED):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: object, error: object) -> None:
        """Takes over what one of several processes has noted; every one collects all tests."""
        told = getattr(node, "workeroutput", {})
        self._tests.left_out = told.get("left_out", self._tests.left_out)
        self._tests.skipped.update(told.get("skipped", ()))

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        tests, write = self._tests, terminalreporter.write_line
        for line in tests.left_out:
            write(f"!!! {line}", red=True)
        if tests.found:
            write(f"host tests: {len(tests.ran)} ran in ComfyUI {tests.found.version} ({tests.found.folder})")
        if tests.found and tests.skipped:
            write(f"!!! host tests: {len(tests.skipped)} skipped though there is a ComfyUI: a failure", red=True)


@pytest.hookimpl(trylast=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """Registers the account once the configuration stands."""
    session.config.pluginmanager.register(Account(session.config.stash[KEY]), "host-account")


@pytest.fixture(scope="session")
def host_tests(request: pytest.FixtureRequest) -> HostTests:
    """The session's host, found but perhaps not loaded; skips where there is none."""
    tests = request.config.stash[KEY]
    if tests.found is None:
        pytest.skip("no ComfyUI was found; set COMFYUI_PATH to a checkout of it")
    return tests


@pytest.fixture(scope="session")
def host(host_tests: HostTests) -> _harness.Harness:
    """The real ComfyUI in this process."""
    return host_tests.load()


@pytest.fixture(scope="session")
def pack(host: _harness.Harness) -> dict[str, type]:
    """The pack's node classes by id, loaded as ComfyUI loads it."""
    assert asyncio.run(host.nodes.load_custom_node(str(PACK_ROOT))), "ComfyUI could not load the pack (see its log)"
    return {name: cls for name, cls in host.mappings.items() if name.startswith("SyncDiffusion")}


@pytest.fixture
def run_node(host: _harness.Harness, pack: dict[str, type]) -> Callable[..., tuple]:
    """run_node("NodeId", input=value, ...) -> outputs, as the executor runs it."""
    return host.run_node


@pytest.fixture
def run_graph(host: _harness.Harness, pack: dict[str, type]) -> Iterator[Callable[..., _harness.GraphRun]]:
    """run_graph(api_graph, model=object, ...) -> GraphRun, by the host's executor in this process."""
    yield host.run_graph
    host._objects.clear()


@pytest.fixture(scope="session")
def damage() -> ModuleType:
    """The module of what happens to files."""
    return _damage


@pytest.fixture(scope="session")
def small(host: _harness.Harness) -> ModuleType:
    """The module of small models; it imports the host, so it waits until the host is loaded."""
    return importlib.import_module("small_models")


@pytest.fixture(scope="session")
def oracle(host: _harness.Harness) -> ModuleType:
    """The module of the windows' oracle; it imports the host too."""
    return _import_file(TESTS / "host" / "windows_alone.py")


@pytest.fixture(scope="session")
def perceptual(host, pack) -> object:
    """A small random scene network as a PERCEPTUAL_MODEL, without a file."""
    import torch

    from syncdiffusion_core.perceptual.scene_net import SceneNet

    torch.manual_seed(5)
    network = SceneNet(widths=(8, 16), depth=1).eval().requires_grad_(False)
    sampler = pack["SyncDiffusionLoadPerceptualModel"]
    module = sys.modules[sampler.__module__]
    return module.PerceptualModel.wrap(network, "random scene")
