"""Fixtures of the end-to-end tests."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def graphs() -> ModuleType:
    """The shipped workflows and their API prompts."""
    return _import_file(Path(__file__).with_name("graphs.py"))


def _import_file(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"syncdiffusion_e2e_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
