"""Passes and memory against counts by hand."""

import pytest
import torch
from torch import nn

from bench.meter import DECODER, MODEL, LiveTensors, counted


class Net(nn.Module):
    """A network that holds another of its kind."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Conv2d(4, 4, 1)

    def forward(self, x):
        return self.inner(x), None


@pytest.fixture
def kind_of():
    def kind(module):
        return MODEL if isinstance(module, Net) else DECODER if isinstance(module, nn.Conv2d) else None

    return kind


def test_passes_are_windows_worth_forward_and_backward(kind_of):
    net, decoder, x = Net(), nn.Conv2d(4, 3, 1), torch.randn(6, 4, 8, 8)
    with counted(kind_of, window_cells=64) as passes:
        with torch.no_grad():
            net(x)
            decoder(torch.randn(1, 4, 8, 24))
        guided = x[:2].clone().requires_grad_()
        torch.autograd.grad(decoder(net(guided)[0]).sum(), guided)
    net(x)
    assert (passes[MODEL].forward, passes[MODEL].backward) == (8, 2)  # the convolution within is not another
    assert (passes[DECODER].forward, passes[DECODER].backward) == (5, 2)
    assert passes[DECODER].total == 7


def test_a_failure_within_leaves_no_hook(kind_of):
    with pytest.raises(RuntimeError), counted(kind_of, window_cells=64) as passes:
        Net()(torch.randn(1, 3, 8, 8))
    Net()(torch.randn(1, 4, 8, 8))
    assert passes[MODEL].forward == 0


def test_what_comes_after_a_failure_is_counted(kind_of):
    """A batch of windows that did not fit is halved and done again; checkpointing ends a forward pass by raising."""
    net = Net()
    with counted(kind_of, window_cells=64) as passes:
        with pytest.raises(RuntimeError):
            net(torch.randn(5, 3, 8, 8))
        nn.Conv2d(4, 3, 1)(torch.randn(1, 4, 8, 8))  # another: the one that failed would end its own failure
        net(torch.randn(2, 4, 8, 8))
    assert (passes[MODEL].forward, passes[DECODER].forward) == (2, 1)


def test_live_tensors_are_what_is_held():
    weight = torch.ones(100, 100)
    with LiveTensors() as memory:
        a = torch.zeros(1000)
        b = a + 1
        view = b.view(10, 100)
        assert (memory.live, memory.peak) == (8000, 8000)
        del a, b
        assert memory.live == 4000  # the view holds it
        with torch.inference_mode():
            product = weight @ weight
            product.relu_()
        assert (memory.live, memory.peak) == (44000, 44000)
        del view, product
    assert (memory.live, memory.peak) == (0, 44000)


def test_live_tensors_see_what_autograd_keeps():
    x = torch.randn(250, requires_grad=True)
    with LiveTensors() as memory:
        y = x.exp().sin().exp()  # keeps the result of each exp, and of sin what it was given
        assert memory.live == 2 * 1000
        (gradient,) = torch.autograd.grad(y.sum(), x)
        del y
    assert memory.live == gradient.nbytes
