"""Calls that forget what autograd saves: the gradients of plain calls, whatever they write into."""

import gc
import weakref
from contextlib import nullcontext
from dataclasses import dataclass

import pytest
import torch
from torch.autograd.graph import allow_mutation_on_saved_tensors

X = torch.linspace(-2, 2, 6, dtype=torch.float64)


@pytest.fixture
def forgetful(module_of):
    return module_of("host.gradient.forgetful")


def gradient(made, saved=nullcontext):
    """Of a fixed functional of made(x), x [6]: a list, one of each of two backward passes."""
    with torch.enable_grad(), saved():
        leaf = X.clone().requires_grad_(True)
        y = made(leaf * 1).cos().sum()
        return [torch.autograd.grad(y, leaf, retain_graph=True)[0] for _ in range(2)]


@pytest.fixture
def remembered(forgetful):
    """remembered(call, *args) -> its result, by a forgetful call that is repeated by itself."""
    return lambda call, *args, **kwargs: forgetful.forgetful_call(call, call, args, kwargs)


def same(call, remembered, saved=nullcontext):
    wanted = gradient(call, allow_mutation_on_saved_tensors)[0]
    for got in gradient(lambda x: remembered(call, x), saved):
        torch.testing.assert_close(got, wanted, rtol=0, atol=0)


def over_its_own(x):
    """Writes into what it has saved."""
    y = x.sigmoid()
    z = y * 2
    y.add_(1)
    return z * z.sin() + y


def over_its_input(x):
    y = x * x
    x.add_(y.sin())
    return x * y


def test_a_call_that_writes_into_what_it_has_saved(remembered):
    """torch's checkpoint gives another gradient here, without a word."""
    same(over_its_own, remembered)
    same(over_its_own, remembered, allow_mutation_on_saved_tensors)


def test_a_call_that_writes_into_its_input_is_right_or_refused(remembered):
    same(over_its_input, remembered, allow_mutation_on_saved_tensors)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        gradient(lambda x: remembered(over_its_input, x))


def test_a_caller_that_writes_into_the_input_or_the_output(remembered):
    def call(repeat):
        def made(x):
            y = repeat(over_its_own, x)
            x.mul_(3)
            y.mul_(3)
            return x * y

        return made

    wanted = gradient(call(lambda block, x: block(x)), allow_mutation_on_saved_tensors)[0]
    for got in gradient(call(remembered), allow_mutation_on_saved_tensors):
        torch.testing.assert_close(got, wanted, rtol=0, atol=0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        gradient(call(remembered))


@dataclass
class Modulation:
    shift: torch.Tensor
    name: str


def test_tensors_in_containers_and_what_is_told_in_them(remembered):
    """Containers are as they were at the call, in both runs; what the first run writes into them is seen outside."""
    told = {"block": 0, "scales": [torch.full((6,), 2.0, dtype=torch.float64)]}

    def block(x, given, modulation):
        given["block"] += 1
        assert given["block"] == 1
        given["scales"][0].mul_(x.detach())
        return x * given["scales"][0] + modulation.shift.sin() * x, (x.tanh(), given["block"])

    def made(x):
        y, (z, _) = remembered(block, x, told, modulation=Modulation(x * 3, "m"))
        told["block"] = 7
        return y + z

    x = X.clone().requires_grad_(True)
    wanted = torch.autograd.grad((x * 2 * x.detach() + (x * 3).sin() * x + x.tanh()).cos().sum(), x)[0]
    got = gradient(made, allow_mutation_on_saved_tensors)[0]
    torch.testing.assert_close(got, wanted)
    assert told["block"] == 7


def test_what_a_call_closes_over_has_its_gradient_too(remembered):
    def call(repeat):
        def made(x):
            outside = x.exp()
            return repeat(lambda y: (y * outside).sin() * outside, x)

        return made

    torch.testing.assert_close(gradient(call(remembered)), gradient(call(lambda block, x: block(x))), rtol=0, atol=0)


def test_autocast_is_that_of_the_call(remembered):
    weight = torch.linspace(-1, 1, 36).view(6, 6)

    def made(repeat):
        def run(x):
            with torch.autocast("cpu", torch.bfloat16):
                return repeat(lambda y: (y.float() @ weight).sin() @ weight, x).float()

        return run

    torch.testing.assert_close(gradient(made(remembered)), gradient(made(lambda block, x: block(x))), rtol=0, atol=0)


def test_a_call_that_is_not_repeated_is_refused(forgetful):
    def again(x):
        return x.sin().cos()

    with pytest.raises(forgetful.NotRepeated, match="something else"):
        gradient(lambda x: forgetful.forgetful_call(torch.sin, again, (x,), {}))


def test_nothing_is_kept_but_the_inputs_and_that_no_longer_than_the_graph(remembered):
    alive = []

    def block(x):
        y = x.sigmoid()
        alive.append(weakref.ref(y.untyped_storage()))
        return y.exp()

    with torch.enable_grad():
        x = X.clone().requires_grad_(True)
        inputs = x * 1
        alive.append(weakref.ref(inputs.untyped_storage()))
        out = remembered(block, inputs)
        del inputs
        assert [ref() is not None for ref in alive] == [True, False]
        torch.autograd.grad(out.sum(), x)
        assert alive[-1]() is None
        gc.disable()
        del out
        gc.enable()
    assert alive[0]() is None
