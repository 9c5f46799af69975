"""Lets the core's tests import their shared toys (`import core_toys`) and keeps tiny tensors on one thread."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

FOLDER = str(Path(__file__).resolve().parent)
if FOLDER not in sys.path:
    sys.path.append(FOLDER)


@pytest.fixture(autouse=True)
def one_thread(request: pytest.FixtureRequest) -> Iterator[None]:
    """Threads that wait for each other cost more than toys do, above all on a busy machine."""
    if request.path.name.startswith("test_demo_"):
        yield
        return
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
