"""The loss scale where float16 loses a gradient, where it overflows, and where nothing helps: powers of two, exact."""

import pytest
import torch

from syncdiffusion_core.guidance.loss_scale import LARGEST, QUIET_PASSES, SMALLEST, START, LossScale


def half_loss(leaf: torch.Tensor, outer: float, inner: float) -> torch.Tensor:
    """outer * sum(inner * leaf), the inner product and its gradient in float16."""
    return outer * (leaf.half() * torch.tensor(inner).half()).float().sum()


@pytest.fixture
def leaf():
    return torch.ones(2, 3, requires_grad=True)


def plain(loss, leaf):
    return torch.autograd.grad(loss, leaf, retain_graph=True)[0]


def test_a_gradient_that_float16_loses_is_found(leaf):
    loss = half_loss(leaf, 2.0**-20, 2.0**-10)
    assert (plain(loss, leaf) == 0).all()
    scale = LossScale()
    assert (scale.gradient(loss, leaf) == 2.0**-30).all()
    assert scale.value == START


def test_at_overflow_the_scale_is_halved_until_it_fits_and_stays(leaf):
    scale = LossScale(2.0**14)
    assert (scale.gradient(half_loss(leaf, 2.0**10, 1.0), leaf) == 2.0**10).all()
    assert scale.value == 2.0**5  # 2^10 * 2^5: the largest power of two in float16
    assert (scale.gradient(half_loss(leaf, 2.0**-10, 1.0), leaf) == 2.0**-10).all()
    assert scale.value == 2.0**5


def test_gradients_beyond_float16_are_found_by_scales_below_one(leaf):
    loss = half_loss(leaf, 2.0**20, 1.0)
    assert plain(loss, leaf).isinf().all()
    assert (LossScale().gradient(loss, leaf) == 2.0**20).all()


def test_it_grows_again_after_quiet_passes(leaf):
    scale = LossScale(2.0**4)
    for _ in range(QUIET_PASSES - 1):
        scale.gradient(half_loss(leaf, 1.0, 1.0), leaf)
    assert scale.value == 2.0**4
    scale.gradient(half_loss(leaf, 1.0, 1.0), leaf)
    assert scale.value == 2.0**5
    scale.gradient(half_loss(leaf, 2.0**12, 1.0), leaf)  # overflows: the count begins anew
    assert scale.value == 2.0**3
    largest = LossScale(LARGEST)
    for _ in range(2 * QUIET_PASSES):
        largest.gradient(leaf.sum() * 2.0**-10, leaf)
    assert largest.value == LARGEST


@pytest.mark.parametrize("outer", [float("nan"), float("inf")])
def test_where_the_loss_is_not_finite_it_gives_up_and_keeps_the_scale(leaf, outer):
    scale = LossScale()
    assert not scale.gradient(half_loss(leaf, outer, 1.0), leaf).isfinite().any()
    assert scale.value == START


def test_where_no_scale_helps_it_gives_up_and_keeps_the_scale(leaf):
    loss = half_loss(leaf, 1.0, 1.0) + (leaf - 1).sqrt().sum()  # an infinite slope of a finite value
    scale = LossScale()
    assert not scale.gradient(loss, leaf).isfinite().any()
    assert scale.value == START


class Failing(torch.autograd.Function):
    """The identity, whose backward pass is infinite at first and runs out of memory at the third time."""

    @staticmethod
    def forward(ctx, x, passes):
        ctx.passes = passes
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        ctx.passes.append(gradient)
        if len(ctx.passes) == 3:
            raise torch.OutOfMemoryError("out of memory")
        return gradient * float("inf"), None


def test_a_pass_that_is_broken_off_half_way_keeps_the_scale(leaf):
    scale, passes = LossScale(), []
    scale.gradient(leaf.sum(), leaf)
    with pytest.raises(torch.OutOfMemoryError):
        scale.gradient(Failing.apply(leaf, passes).sum(), leaf)
    assert [float(gradient[0, 0]) for gradient in passes] == [START, START / 2, START / 4]
    for _ in range(QUIET_PASSES - 2):
        scale.gradient(leaf.sum(), leaf)
    assert scale.value == START
    scale.gradient(leaf.sum(), leaf)  # the eighth quiet one: the broken one counts for nothing
    assert scale.value == 2 * START


def test_double_precision_stays(leaf):
    wide = leaf.detach().double().requires_grad_(True)
    gradient = LossScale().gradient((wide**2).sum(), wide)
    assert gradient.dtype == torch.float64
    torch.testing.assert_close(gradient, 2 * wide.detach())


@pytest.mark.parametrize("start", [0.0, -1.0, 2 * LARGEST, SMALLEST / 2])
def test_a_start_out_of_range_is_refused(start):
    with pytest.raises(ValueError, match="starts between"):
        LossScale(start)
