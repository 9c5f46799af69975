"""Fixtures of the end-to-end tests."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from types import ModuleType

import pytest

# Whole runs over HTTP and in the browser. They have not been seen to finish on a quiet machine yet, so they run on
# request only: SYNCDIFFUSION_SLOW=1 python scripts/test.py tests/e2e
if os.environ.get("SYNCDIFFUSION_SLOW") != "1":
    collect_ignore = ["test_http.py", "test_browser.py", "test_workflows.py"]


@pytest.fixture(scope="session")
def graphs() -> ModuleType:
    """The shipped workflows and their API prompts."""
    return _import_file(Path(__file__).with_name("graphs.py"))


@pytest.fixture(scope="session")
def small_models(host: object) -> ModuleType:
    """Small random models of the host's own classes, shared with the host tests."""
    return _import_file(Path(__file__).parents[1] / "host" / "small_models.py")


def _import_file(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"syncdiffusion_e2e_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
