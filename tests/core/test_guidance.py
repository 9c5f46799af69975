"""Eq. 14 in two stages, its anchors, its pullbacks and its guards, in closed form where there is one."""

import math
from dataclasses import dataclass, field, replace

import core_toys as toys
import pytest
import torch

from syncdiffusion_core.canvases.window_layout import WindowLayout
from syncdiffusion_core.canvases.windows import Windows
from syncdiffusion_core.guidance.loss_scale import LossScale
from syncdiffusion_core.guidance.pullbacks import Gradient, MissingBackward
from syncdiffusion_core.guidance.targets import AnchorKind, MeanOfViews, Picture, ReferenceView, make_target
from syncdiffusion_core.guidance.trace import GuidanceTrace
from syncdiffusion_core.guidance.turns import Guided
from syncdiffusion_core.process import rectified_flow, variance_exploding
from syncdiffusion_core.sampling import Ancestral
from syncdiffusion_core.strategies import Synchronisation

VE, FLOW, EDM = variance_exploding(), rectified_flow(), variance_exploding(0.5)
SIGMA, VIEWS, SIZE = 0.8, 5, 6
CELLS = SIZE * SIZE / 4096
WEIGHT = 3000.0


def states(n=1, views=VIEWS, seed=0) -> torch.Tensor:
    return 1.3 * toys.randn(views * n, 4, SIZE, SIZE, seed=seed)


def make(weight=WEIGHT, **options):
    return toys.guided([weight], **{"decode": toys.smooth_decode} | options)


def moves(guidance, x, denoiser=toys.eps_denoiser, process=VE, sigma=SIGMA, n=1) -> torch.Tensor:
    """The moves of a guided step, [V, N, C, h, w]."""
    return (guidance(toys.moment(row(x, n), x, sigma, denoiser, process)).x - x).unflatten(0, (-1, n))


def row(x, n=1) -> Windows:
    """The windows of states [V*n, …]."""
    return toys.side_by_side(x.shape[0] // n, SIZE)


def on_canvas(where) -> torch.Tensor:
    """Of each window of a row, [V, N, h, w] -> of their canvas, [N, h, V*w]."""
    return torch.cat(list(where), dim=-1)


def images(x, n=1, denoiser=toys.eps_denoiser, sigma=SIGMA) -> torch.Tensor:
    rows = toys.Rows.grid(n, tuple(range(x.shape[0] // n)))
    return toys.smooth_decode(denoiser(x, sigma, rows))


def anchored_loss(x, anchor_image, n=1) -> torch.Tensor:
    return toys.loss_of(images(x, n), anchor_image)


# The move is the gradient.


def test_the_move_is_the_slope_of_the_loss():
    """Against finite differences in random directions, one window at a time."""
    x = states()
    got = moves(make(), x)[:, 0]
    anchor_image = images(x)[VIEWS // 2 : VIEWS // 2 + 1]
    factor = WEIGHT * CELLS * (1 + SIGMA**2)
    for view in range(VIEWS):
        if view == VIEWS // 2:
            continue
        direction = torch.zeros_like(x)
        direction[view] = toys.randn(4, SIZE, SIZE, seed=10 + view)
        h = 1e-5
        ahead, behind = (anchored_loss(x + s * h * direction, anchor_image).sum() for s in (1, -1))
        slope = (ahead - behind) / (2 * h)
        assert -(got * direction).sum() / factor == pytest.approx(float(slope), rel=1e-6)


def test_a_small_move_lowers_the_loss():
    losses = []
    x = states()
    for _ in range(2):
        x = x + moves(make(weight=50.0, report=lambda t: losses.append(t.loss.sum())), x)[:, 0]
    assert losses[1] < losses[0]


def test_the_constant_and_the_cells_scale_the_weight():
    """Effective weight: w * C * cells / 4096."""
    x = states()
    one = moves(make(), x)
    torch.testing.assert_close(moves(make(distance=toys.ToyDistance(constant=2.5)), x), 2.5 * one)
    torch.testing.assert_close(moves(make(weight=2 * WEIGHT), x), 2 * one)


def test_at_the_papers_window_the_weight_is_the_papers():
    """64 x 64 cells, C = 1: x <- x - w s^2 dL/dx with w as it stands."""
    x = toys.randn(2, 1, 64, 64)
    images = x.sigmoid().repeat_interleave(3, dim=1)
    leaf = x.clone().requires_grad_(True)
    loss = toys.loss_of(leaf.sigmoid().repeat_interleave(3, dim=1)[:1], images[1:])
    (gradient,) = torch.autograd.grad(loss.sum(), leaf)
    guidance = make(weight=20.0, decode=lambda x0: x0.sigmoid().repeat_interleave(3, dim=1))
    got = moves(guidance, x, denoiser=lambda x, sigma, rows: x * 1.0)
    torch.testing.assert_close(got[0, 0], -20.0 * (1 + SIGMA**2) * gradient[0], rtol=1e-10, atol=0)


# Anchors.


@pytest.mark.parametrize("views", [2, 3, 4, 5])
def test_the_centre_window_is_the_anchor_and_stays(views):
    got = moves(make(), states(views=views))
    still = [view for view in range(views) if got[view].abs().max() == 0]
    assert still == [views // 2]


@pytest.mark.parametrize("index", [0, 1, 4, -1, -5])
def test_an_anchor_by_index_stays_and_draws_the_others(index):
    x = states()
    got = moves(make(target=ReferenceView(index)), x)[:, 0]
    assert got[index].abs().max() == 0
    leaf = x.clone().requires_grad_(True)
    loss = anchored_loss(leaf, images(x)[[index]])
    (gradient,) = torch.autograd.grad(loss.sum(), leaf)
    expected = -WEIGHT * CELLS * (1 + SIGMA**2) * gradient
    expected[index] = 0
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("index", [5, -6, 99])
def test_an_anchor_that_is_not_there_is_named(index):
    with pytest.raises(ValueError, match=f"anchor_index must be between .* and 4 .*5 windows.*got {index}"):
        moves(make(target=ReferenceView(index)), states())


@pytest.mark.parametrize("gradient", list(Gradient))
def test_the_anchor_stays_even_where_its_own_distance_has_a_slope(gradient):
    class Slope(toys.ToyDistance):
        def distance(self, features, anchor):
            return (features[0] - anchor[0]).flatten(1).sum(1)

    got = moves(make(distance=Slope(), gradient=gradient), states())
    assert [view for view in range(VIEWS) if got[view].abs().max() == 0] == [VIEWS // 2]


@pytest.mark.parametrize("count", [1, 2])
def test_a_reference_picture_draws_every_window(count):
    """One picture for all samples, or one each."""
    x = states(n=2)
    picture = toys.randn(count, 3, 2 * SIZE, 2 * SIZE, seed=3).sigmoid()
    got = moves(make(target=Picture(picture), pulled=2), x, n=2)
    leaf = x.clone().requires_grad_(True)
    loss = anchored_loss(leaf, picture.expand(2, -1, -1, -1).repeat(VIEWS, 1, 1, 1), n=2)
    (gradient,) = torch.autograd.grad(loss.sum(), leaf)
    torch.testing.assert_close(got.flatten(0, 1), -WEIGHT * CELLS * (1 + SIGMA**2) * gradient, rtol=0, atol=1e-12)
    assert (got.flatten(2).abs().amax(dim=2) > 0).all()


def test_a_reference_picture_is_asked_for():
    with pytest.raises(ValueError, match="needs a picture; connect one to anchor_image or choose 'centre window'"):
        make_target(AnchorKind.IMAGE)


class PixelDistance:
    """Linear features: the picture itself; mean squared difference."""

    constant = 1.0

    def features(self, image):
        return (image,)

    def distance(self, features, anchor):
        return (features[0] - anchor[0]).square().flatten(1).mean(1)


@pytest.mark.parametrize("batch_size", [1, 2, 3, 5])
def test_the_mean_anchor_draws_windows_to_their_mean(batch_size):
    """With D = a' x and linear features: delta_i = -w s^2 cells/4096 * a'^2 * 2 (x_i - mean) / size."""
    x, gain = states(n=2).unflatten(0, (VIEWS, 2)), 0.6
    guidance = make(decode=lambda x0: x0, distance=PixelDistance(), target=MeanOfViews(), pulled=batch_size)
    got = moves(guidance, x.flatten(0, 1), denoiser=lambda x, sigma, rows: gain * x, n=2)
    size = 4 * SIZE * SIZE
    expected = -WEIGHT * CELLS * (1 + SIGMA**2) * gain**2 * 2 * (x - x.mean(0)) / size
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(got.sum(0), torch.zeros_like(got[0]), rtol=0, atol=1e-12)


def test_the_anchor_is_no_part_of_the_gradient():
    """L has no derivative by the anchor: the others are drawn as if it were a picture."""
    x = states()
    picture = images(x)[[VIEWS // 2]]
    got = moves(make(), x)
    by_picture = moves(make(target=Picture(picture)), x)
    others = [0, 1, 3, 4]
    torch.testing.assert_close(got[others], by_picture[others], rtol=0, atol=1e-12)


def test_the_only_window_is_its_own_anchor():
    x = states(views=1)
    assert torch.equal(make()(toys.moment(row(x), x, SIGMA)).x, x)


# Pullbacks.


@pytest.mark.parametrize(
    ("process", "sigma"), [(VE, 0.05), (VE, 0.8), (VE, 14.0), (FLOW, 0.3), (FLOW, 0.99), (EDM, 2.0)]
)
def test_forward_only_is_exact_where_the_jacobian_is_symmetric_and_constant(process, sigma):
    """An exact Gaussian posterior mean: J = a S / (a^2 S + b^2), linear, so the difference quotient is exact too."""
    denoiser = toys.gaussian_denoiser(process, toys.random_covariance(4 * SIZE * SIZE))
    x = states(n=2) * process.state_scale(sigma)
    true = moves(make(), x, denoiser, process, sigma, 2)
    got = moves(make(gradient=Gradient.FORWARD_ONLY), x, denoiser, process, sigma, 2)
    assert true.abs().max() > 1e-2
    torch.testing.assert_close(got, true, rtol=1e-6, atol=1e-9)


def test_forward_only_takes_the_transposed_jacobian_for_the_jacobian():
    """Named honestly: where J is not symmetric it moves along J g, not along its transpose."""
    matrix = toys.randn(4 * SIZE * SIZE, 4 * SIZE * SIZE) / 12

    def skewed(x, sigma, rows):
        return (x.flatten(1) @ matrix.T).view_as(x)

    x = states()
    target = ReferenceView(0)
    leaf = skewed(x, SIGMA, None).requires_grad_(True)
    loss = toys.loss_of(toys.smooth_decode(leaf), toys.smooth_decode(leaf[:1].detach()))
    (g,) = torch.autograd.grad(loss.sum(), leaf)
    scale = -WEIGHT * CELLS * (1 + SIGMA**2)
    for gradient, jacobian in ((Gradient.FORWARD_ONLY, matrix), (Gradient.THROUGH_MODEL, matrix.T)):
        expected = scale * (g.flatten(1) @ jacobian.T).view_as(x)
        got = moves(make(gradient=gradient, target=target), x, skewed)[:, 0]
        torch.testing.assert_close(got[1:], expected[1:], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(("process", "sigma"), [(VE, 0.05), (VE, 14.0), (FLOW, 0.3), (FLOW, 0.9)])
def test_decoder_only_is_exact_for_a_white_prior(process, sigma):
    denoiser = toys.gaussian_denoiser(process, torch.eye(4 * SIZE * SIZE, dtype=torch.float64))
    x = states() * process.state_scale(sigma)
    true = moves(make(), x, denoiser, process, sigma)
    torch.testing.assert_close(
        moves(make(gradient=Gradient.DECODER_ONLY), x, denoiser, process, sigma), true, rtol=1e-10, atol=1e-12
    )


@pytest.mark.parametrize(("process", "sigma"), [(VE, 0.05), (VE, 14.0), (EDM, 1.5), (FLOW, 0.3)])
def test_decoder_only_moves_by_the_decoders_gradient(process, sigma):
    """METHODS, section 2: delta x = -w a dL/dx0, in every family."""

    def denoiser(x, sigma, rows):
        return x.tanh()

    x = states()
    target = ReferenceView(0)
    leaf = x.tanh().requires_grad_(True)
    loss = toys.loss_of(toys.smooth_decode(leaf), toys.smooth_decode(leaf[:1].detach()))
    (g,) = torch.autograd.grad(loss.sum(), leaf)
    got = moves(make(gradient=Gradient.DECODER_ONLY, target=target), x, denoiser, process, sigma)[:, 0]
    torch.testing.assert_close(got, -WEIGHT * CELLS * process.a(sigma) * g, rtol=1e-10, atol=1e-14)


def test_decoder_only_asks_the_model_for_no_gradient():
    asked = []

    def spy(x, sigma, rows):
        asked.append(torch.is_grad_enabled())
        return x.tanh()

    for gradient in (Gradient.DECODER_ONLY, Gradient.FORWARD_ONLY):
        moves(make(gradient=gradient), states(), spy)
    assert not any(asked)


@pytest.mark.parametrize(("process", "sigma"), [(VE, 0.1), (VE, 13.0), (FLOW, 0.4)])
def test_the_ablation_decodes_the_noisy_latent(process, sigma):
    """Eq. 13 in VP units: x_vp <- x_vp - w dL(D(x_vp), D(anchor_vp))/dx_vp, phi nowhere."""
    x = states() * process.state_scale(sigma)
    leaf = (x / process.state_scale(sigma)).requires_grad_(True)
    pictures = toys.smooth_decode(leaf)
    loss = toys.loss_of(pictures, pictures[[VIEWS // 2]].detach())
    (gradient,) = torch.autograd.grad(loss.sum(), leaf)
    expected = -WEIGHT * CELLS * gradient * process.state_scale(sigma)

    def never(x, sigma, rows):
        raise AssertionError("Eq. 13 needs no model")

    got = moves(make(gradient=Gradient.NOISY_LATENT), x, never, process, sigma)[:, 0]
    torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-13)


def test_a_model_without_a_backward_pass_is_told_apart():
    with pytest.raises(ValueError, match="without a gradient .* choose the gradient 'forward only'"):
        moves(make(), states(), lambda x, sigma, rows: x.detach() * 0.5)


def changes_in_place(x: torch.Tensor) -> torch.Tensor:
    """A network as it is written for inference: y = 2 (x^3 + x), its steps over what autograd has saved."""
    y = x * 1
    cube = y * y * y
    y += cube
    y.mul_(2)
    return y


def test_a_network_that_changes_its_activations_in_place():
    """It is differentiated all the same: two tries at its first batch, one from then on."""
    x, calls = states(), []

    def in_place(x, sigma, rows):
        calls.append(torch.is_grad_enabled())
        return changes_in_place(x)

    wanted = moves(make(), x, lambda x, sigma, rows: 2 * (x**3 + x))
    torch.testing.assert_close(moves(make(), x, in_place), wanted, rtol=1e-9, atol=1e-12)
    assert sum(calls) == (VIEWS - 1) + 1


def test_a_network_that_writes_out_has_no_backward_pass():
    def writes(x, sigma, rows):
        return torch.add(x, x, out=torch.empty_like(x))

    with pytest.raises(MissingBackward, match="automatic differentiation.* choose the gradient 'forward only'"):
        moves(make(), states(), writes)


def test_other_errors_of_a_network_stay_what_they_are():
    with pytest.raises(RuntimeError, match="must match the size"):
        moves(make(), states(), lambda x, sigma, rows: x + torch.zeros(5))


def test_what_else_means_that_there_is_no_backward_pass():
    """The caller's own reasons; an error of the decoder is never asked about."""

    def evicted(x, sigma, rows):
        if x.requires_grad:
            raise RuntimeError("evicted")
        return x

    def broken(z):
        raise RuntimeError("the decoder broke")

    with pytest.raises(MissingBackward, match=r"\(evicted!\)"):
        moves(make(refusal=lambda error: f"{error}!"), states(), evicted)
    with pytest.raises(RuntimeError, match="^evicted$"):
        moves(make(refusal=lambda error: None), states(), evicted)
    with pytest.raises(RuntimeError, match="the decoder broke"):
        moves(make(decode=broken, refusal=lambda error: "all"), states(), evicted)


@pytest.mark.parametrize("gradient", Gradient)
def test_pictures_with_a_time_axis(gradient):
    """[V*N, C, 1, h, w] moves as [V*N, C, h, w] does, guards included."""
    x = states(2)
    x[0, 0, 0, 0] = float("nan")
    plain = make(gradient=gradient, max_move=0.01)
    timed = make(gradient=gradient, max_move=0.01, decode=lambda x0: toys.smooth_decode(x0[:, :, 0]))

    def in_time(x, sigma, rows):
        return toys.eps_denoiser(x[:, :, 0], sigma, rows)[:, :, None]

    wanted = plain(toys.moment(row(x, 2), x, SIGMA)).x
    got = timed(toys.moment(row(x, 2), x[:, :, None], SIGMA, in_time)).x
    torch.testing.assert_close(got[:, :, 0], wanted, rtol=1e-10, atol=1e-13, equal_nan=True)


def test_forward_only_stands_still_where_there_is_no_gradient():
    x = states(views=1).repeat(3, 1, 1, 1)

    def denoiser(x, sigma, rows):
        return x.tanh()

    for gradient in Gradient:
        torch.testing.assert_close(
            moves(make(gradient=gradient), x, denoiser), torch.zeros_like(x)[:, None], rtol=0, atol=1e-12
        )


# Batches.

GRADIENTS = pytest.mark.parametrize("gradient", list(Gradient))


@GRADIENTS
@pytest.mark.parametrize("kind", [AnchorKind.CENTRE, AnchorKind.MEAN])
@pytest.mark.parametrize("batch_size", [2, 3, 16])
def test_windows_in_a_batch_do_not_see_each_other(gradient, kind, batch_size):
    x = states(n=2)
    one = moves(make(gradient=gradient, target=make_target(kind)), x, n=2)
    got = moves(make(gradient=gradient, target=make_target(kind), pulled=batch_size), x, n=2)
    torch.testing.assert_close(got, one, rtol=0, atol=1e-10)


def sample_k_of(denoiser, k):
    """The denoiser of a run of its own for sample k of a batch."""
    return lambda x, sigma, rows: denoiser(x, sigma, toys.Rows((k,) * len(rows.views), rows.views))


@GRADIENTS
@pytest.mark.parametrize("kind", [AnchorKind.CENTRE, AnchorKind.MEAN, AnchorKind.IMAGE])
def test_each_sample_of_a_batch_has_its_own_anchor(gradient, kind):
    n = 3
    pictures = toys.randn(n, 3, 2 * SIZE, 2 * SIZE, seed=3).sigmoid()
    x = states(n=n)
    together = moves(make(gradient=gradient, target=make_target(kind, image=pictures), pulled=2), x, n=n)
    for k in range(n):
        alone = make(gradient=gradient, target=make_target(kind, image=pictures[[k]]), pulled=2)
        own = x.unflatten(0, (VIEWS, n))[:, k]
        got = moves(alone, own, sample_k_of(toys.eps_denoiser, k))
        torch.testing.assert_close(together[:, [k]], got, rtol=0, atol=1e-10)


@pytest.mark.parametrize("synchronisation", [Synchronisation.MULTIDIFFUSION, Synchronisation.SYNCTWEEDIES])
def test_sample_k_of_a_guided_run_is_its_own_run(synchronisation):
    n, windows = 3, toys.tiled(WindowLayout(6, 6, 3, 6, wrap_x=True), (6, 12))
    start, fresh = 8.0 * toys.randn(n, 4, 6, 12), toys.randn(n, 4, 6, 12, seed=1)
    sigmas = [8.0, 2.0, 0.5, 0.0]

    def run(denoiser, start, fresh, batch_size):
        guidance = toys.guided([2000.0, 1000.0, 0.0], pulled=batch_size, max_move=0.5)
        options = {"guidance": guidance, "batches": batch_size, "ancestral": Ancestral(0.5, lambda: fresh)}
        return toys.sampled(denoiser, VE, windows, start, sigmas, synchronisation, **options).canvas

    together = run(toys.eps_denoiser, start, fresh, 3)
    for k in range(n):
        alone = run(sample_k_of(toys.eps_denoiser, k), start[[k]], fresh[[k]], 1)
        torch.testing.assert_close(together[[k]], alone, rtol=0, atol=1e-10)


# Guards.


@dataclass
class Broken:
    """A decoder whose picture of some rows has no finite gradient. Rows are told by a mark in their corner."""

    value: float
    marks: tuple[float, ...]
    hits: list = field(default_factory=list)

    def __call__(self, x0):
        picture = toys.smooth_decode(x0)
        bad = torch.tensor([any(abs(row[0, 0, 0].item() - m) < 1e-9 for m in self.marks) for row in x0])
        self.hits.append(int(bad.sum()))
        return picture * torch.where(bad, self.value, 1.0).to(picture)[:, None, None, None]


def marked_denoiser(x, sigma, rows):
    """Rows tell their number in the corner: 1000 + view."""
    x0 = 0.7 * x + 0.1 * x.roll(1, -1).tanh()
    mark = torch.zeros_like(x0)
    mark[:, 0, 0, 0] = torch.tensor([1000.0 + v for v in rows.views], dtype=x.dtype) - x0[:, 0, 0, 0].detach()
    return x0 + mark


@pytest.mark.parametrize("gradient", [Gradient.THROUGH_MODEL, Gradient.FORWARD_ONLY, Gradient.DECODER_ONLY])
@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("batch_size", [1, 3, 5])
def test_a_gradient_that_is_not_finite_costs_its_own_window_only(gradient, value, batch_size):
    x = states()
    whole = moves(make(gradient=gradient, max_move=1e9), x, marked_denoiser)
    broken = Broken(value, (1001.0,))
    got = moves(make(gradient=gradient, max_move=1e9, decode=broken, pulled=batch_size), x, marked_denoiser)
    assert sum(broken.hits) >= 1
    assert got[1].abs().max() == 0
    others = [0, 3, 4]
    assert whole[others].abs().amax(dim=(1, 2, 3, 4)).min() > 0
    torch.testing.assert_close(got[others], whole[others], rtol=0, atol=1e-10)


def test_the_papers_move_is_unguarded():
    got = moves(make(decode=Broken(math.nan, (1001.0,))), states(), marked_denoiser)
    assert got[1].isnan().any()
    assert got[[0, 3, 4]].isfinite().all()


def test_a_move_is_scaled_down_to_its_limit():
    """In standard deviations of the state; the direction stays."""
    x, limit = states(n=2), 0.05
    free = moves(make(), x, n=2)
    sizes = free.flatten(2).square().mean(-1).sqrt() / VE.state_scale(SIGMA)
    limit = float(sizes[sizes > 0].median())
    got = moves(make(max_move=limit), x, n=2)
    factor = (limit / sizes).clamp(max=1)[:, :, None, None, None].nan_to_num(1.0)
    assert (factor < 1).any()
    assert (factor[free.flatten(2).abs().amax(-1) > 0] == 1).any()
    torch.testing.assert_close(got, free * factor, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("scale", [2.0**10, 2.0**14])
def test_a_loss_scale_cancels_out(scale):
    x = states()
    torch.testing.assert_close(moves(make(loss_scale=LossScale(scale)), x), moves(make(), x), rtol=0, atol=1e-12)


class Faint(toys.ToyDistance):
    """A millionth of the toy distance, said to be worth a million."""

    def __init__(self):
        super().__init__(constant=1e6)

    def distance(self, features, anchor):
        return 1e-6 * super().distance(features, anchor)


def test_a_loss_scale_saves_what_half_precision_would_lose():
    """Gradients that pass a tensor in float16 are 0 below 6e-8."""

    def in_half(x0):
        return toys.smooth_decode(x0.half().to(x0.dtype))

    x = states()
    whole = moves(make(decode=in_half), x)
    scaled = moves(make(decode=in_half, distance=Faint(), loss_scale=LossScale()), x)
    plain = moves(make(decode=in_half, distance=Faint()), x)
    assert (scaled - whole).norm() < 0.01 * whole.norm()
    assert (plain - whole).norm() > 0.1 * whole.norm()


# Steps that are not guided, and the trace.


def never(*args):
    raise AssertionError("nothing is asked on a step that is not guided")


def test_a_step_without_weight_is_left_alone():
    x = states()
    guidance = toys.guided([0.0, 1.0], decode=never)
    assert not guidance.guides(0)
    assert guidance.guides(1)
    moved = guidance(toys.moment(row(x), x, SIGMA, never))
    assert moved.x is x
    assert moved.x0 is moved.trace is None


@pytest.mark.parametrize("synchronisation", list(Synchronisation))
def test_a_run_without_weight_is_untouched(synchronisation):
    windows = toys.tiled(WindowLayout(6, 6, 3, 6), (6, 12))
    start = 8.0 * toys.randn(1, 4, 6, 12)
    guidance = toys.guided([0.0] * 3, decode=never)
    runs = [
        toys.sampled(toys.eps_denoiser, VE, windows, start, [8.0, 2.0, 0.5, 0.0], synchronisation, guidance=g).canvas
        for g in (guidance, None)
    ]
    assert torch.equal(*runs)


def test_guidance_leaves_its_input_alone():
    x = states()
    before = x.clone()
    make()(toys.moment(row(x), x, SIGMA))
    assert torch.equal(x, before)
    assert not make()(toys.moment(row(x), x, SIGMA)).x.requires_grad


def test_the_trace_tells_what_a_step_did():
    traces: list[GuidanceTrace] = []
    x = states(n=2)
    guidance = toys.guided([0.0, WEIGHT], decode=toys.smooth_decode, pulled=2, report=traces.append)
    got = guidance(toys.moment(row(x, 2), x, SIGMA, step=1)).x - x
    (trace,) = traces
    assert (trace.step, trace.sigma, trace.weight) == (1, SIGMA, WEIGHT)
    anchors = images(x, 2).unflatten(0, (VIEWS, 2))[VIEWS // 2]
    loss = anchored_loss(x, anchors.repeat(VIEWS, 1, 1, 1), 2).unflatten(0, (VIEWS, 2))
    torch.testing.assert_close(trace.loss, loss, rtol=1e-10, atol=1e-14)
    size = got.flatten(1).square().mean(1).sqrt().unflatten(0, (VIEWS, 2)) / math.sqrt(1 + SIGMA**2)
    torch.testing.assert_close(trace.move, size, rtol=1e-10, atol=1e-14)
    assert trace.loss[VIEWS // 2].abs().max() < 1e-12
    assert not trace.loss.requires_grad
    done = GuidanceTrace(1, 0.8, 20.0, torch.tensor([[0.5], [0.25]]), torch.tensor([[0.1], [0.0]]))
    line = "step 2: at noise 0.8 the windows differed from their anchor by 0.3750 and were moved by 5.0%"
    assert done.describe() == line
    left = replace(done, unmoved=3).describe()
    assert left == f"{line}; 3 of them were left alone, because their gradient holds NaN or infinite values"


def test_the_anchors_features_are_made_once_a_step():
    made = []

    class Counting(toys.ToyDistance):
        def features(self, image):
            if not torch.is_grad_enabled():
                made.append(image.shape[0])
            return super().features(image)

    moves(make(distance=Counting(), pulled=2), states(n=2), n=2)
    assert made == [2]


def test_no_gradient_is_computed_for_the_anchor_and_thrown_away():
    """The official code does (METHODS, section 1: bugs not to be ported); of six windows it is a sixth of the cost."""
    asked = []

    def spy(x, sigma, rows):
        if x.requires_grad:
            asked.extend(rows.views)
        return toys.eps_denoiser(x, sigma, rows)

    moves(make(), states(), spy)
    assert asked == [0, 1, 3, 4]


def test_inference_needs_no_gradient_around_it():
    x = states()
    with torch.no_grad():
        inside = moves(make(), x)
    torch.testing.assert_close(inside, moves(make(), x), rtol=0, atol=0)


# Where it acts.


def test_a_mask_scales_the_move_cell_by_cell():
    x = states(n=2)
    where = toys.randn(VIEWS, 2, SIZE, SIZE, seed=4).sigmoid()
    torch.testing.assert_close(moves(make(where=on_canvas(where)), x, n=2), moves(make(), x, n=2) * where[:, :, None])
    one = where[:, :1]
    torch.testing.assert_close(moves(make(where=on_canvas(one)), x, n=2), moves(make(), x, n=2) * one[:, :, None])


def test_windows_outside_the_mask_are_not_evaluated():
    where = torch.zeros(VIEWS, 1, SIZE, SIZE)
    where[0], where[3, :, 2:] = 1, 1
    seen = set()

    def denoiser(x, sigma, rows):
        seen.update(rows.views)
        return toys.eps_denoiser(x, sigma, rows)

    got = moves(make(where=on_canvas(where)), states(), denoiser=denoiser)
    assert seen == {0, 3, VIEWS // 2}  # and the anchor, though nothing moves there
    assert [view for view in range(VIEWS) if got[view].abs().max() > 0] == [0, 3]


def test_the_mean_of_windows_is_of_those_in_the_mask():
    x = states()
    where = torch.ones(VIEWS, 1, SIZE, SIZE)
    where[1] = 0
    got = moves(make(target=MeanOfViews(), where=on_canvas(where)), x)
    kept = [0, 2, 3, 4]
    names = dict(enumerate(kept))

    def denoiser(x, sigma, rows):
        return toys.eps_denoiser(x, sigma, toys.Rows(rows.samples, tuple(names[v] for v in rows.views)))

    torch.testing.assert_close(got[kept], moves(make(target=MeanOfViews()), x[kept], denoiser=denoiser))


def test_an_empty_mask_moves_nothing():
    x = states()
    got = make(where=torch.zeros(1, SIZE, VIEWS * SIZE))(toys.moment(row(x), x, SIGMA)).x
    assert torch.equal(got, x)


# What is left out of the paper's work.


def wide(canvas_width=3 * SIZE, stride=SIZE // 2) -> Windows:
    return toys.tiled(WindowLayout(SIZE, SIZE, stride, SIZE), (SIZE, canvas_width))


def step(guidance, windows, x, denoiser=toys.eps_denoiser):
    """(moves, x0) of a guided step of windows on a canvas."""
    moved = guidance(toys.moment(windows, x, SIGMA, denoiser))
    return moved.x - x, moved.x0


def test_the_clean_prediction_from_before_the_move_is_handed_on():
    windows = wide()
    x = windows.project(1.3 * toys.randn(2, 4, *windows.canvas))
    paper, reusing = (step(make(second=second), windows, x) for second in (True, False))
    assert paper[1] is None
    torch.testing.assert_close(reusing[0], paper[0], rtol=0, atol=1e-12)
    wanted = toys.eps_denoiser(x, SIGMA, toys.Rows.grid(2, windows.names))
    torch.testing.assert_close(reusing[1], wanted, rtol=0, atol=1e-12)


def test_the_ablation_of_eq_13_has_no_clean_prediction_to_hand_on():
    x = states()
    assert make(gradient=Gradient.NOISY_LATENT, second=False)(toys.moment(row(x), x, SIGMA)).x0 is None


@pytest.mark.parametrize("gradient", [Gradient.THROUGH_MODEL, Gradient.IMAGE_PRIOR])
def test_windows_in_turns_move_the_canvas_and_all_windows_with_it(gradient):
    """Against the moves of all windows: of those whose turn it is, put side by side, and cut out of that."""
    windows = wide()
    x = windows.project(1.3 * toys.randn(2, 4, *windows.canvas))
    alone, _ = step(make(gradient=gradient), windows, x)
    got, _ = step(make(gradient=gradient, guided=Guided.ROTATING, pulled=2), windows, x)
    turn = windows.apart(0)
    canvas = torch.zeros(2, 4, *windows.canvas, dtype=x.dtype)
    for view in turn:
        left = windows.origins[view][1]
        canvas[..., left : left + SIZE] = alone.unflatten(0, (-1, 2))[view]
    torch.testing.assert_close(got, windows.project(canvas), rtol=0, atol=1e-12)


def turns_of(windows, weights) -> list[GuidanceTrace]:
    """What rotating guidance reports of a step for each weight."""
    x = windows.project(1.3 * toys.randn(1, 4, *windows.canvas))
    traces = []
    guidance = toys.guided(weights, decode=toys.smooth_decode, guided=Guided.ROTATING, report=traces.append)
    for k in range(len(weights)):
        guidance(toys.moment(windows, x, SIGMA, step=k))
    return traces


def test_the_turn_goes_on_with_each_guided_step():
    windows = wide()
    turns = [windows.apart(turn) for turn in (0, 1)]
    for trace, turn in zip(turns_of(windows, [WEIGHT, 0.0, WEIGHT]), turns, strict=True):
        moves = [view != windows.reference for view in turn]
        assert (trace.loss[:, 0] > 0).tolist() == (trace.move[:, 0] > 0).tolist() == moves


def test_a_turn_in_which_only_the_anchor_would_move_is_passed_over():
    windows = wide(SIZE + SIZE // 2, SIZE // 4)  # four windows that all overlap, the third of them the anchor
    assert [windows.apart(turn) for turn in range(4)] == [(0,), (1,), (2,), (3,)]
    losses = torch.cat([trace.loss for trace in turns_of(windows, [WEIGHT] * 6)])
    assert (losses > 0).all()
    assert torch.equal(losses[:3], losses[3:])
    assert len(losses[:3].unique()) == 3


def test_each_window_is_asked_for_by_its_name_and_no_more_often_than_needed():
    windows, asked = wide().subset([4, 1, 3, 0]), []

    def spy(x, sigma, rows):
        asked.extend(rows.views)
        return toys.eps_denoiser(x, sigma, rows)

    x = windows.project(toys.randn(1, 4, *windows.canvas))
    step(make(gradient=Gradient.IMAGE_PRIOR), windows, x, denoiser=spy)
    assert asked == [4, 1, 3, 0]  # the anchor comes with the others


def test_an_anchor_by_its_place_is_the_window_that_sees_the_most_of_it():
    windows = wide()
    x = windows.project(1.3 * toys.randn(1, 4, *windows.canvas))
    place = Windows(windows.canvas, windows.view, ((0, windows.origins[3][1] + 1),))
    targets = ReferenceView(place=place), ReferenceView(3)
    got, wanted = (step(make(target=target), windows, x)[0] for target in targets)
    assert torch.equal(got, wanted)
