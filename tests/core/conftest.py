"""Lets the core's tests import their shared toys (`import core_toys`) and keeps tiny tensors on one thread."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

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


@pytest.fixture
def no_init(monkeypatch: pytest.MonkeyPatch) -> None:
    """torchvision fills 100 million weights of a classifier that LPIPS throws away: seconds for nothing."""
    for name in ("kaiming_normal_", "kaiming_uniform_", "normal_", "uniform_"):
        monkeypatch.setattr(nn.init, name, lambda tensor, *args, **kwargs: tensor)
