"""The contract of views, asked of every canvas in ``contract.CANVASES``."""

import core_toys as toys
import pytest
import torch
from contract import CANVASES, Canvas
from core_toys import randn
from one_order import OneOrder
from torch import Tensor

from syncdiffusion_core.process import variance_exploding
from syncdiffusion_core.sampling import Method, sample
from syncdiffusion_core.strategies import STRATEGIES, Synchronisation
from syncdiffusion_core.views import relations
from syncdiffusion_core.views.noise import noise_of
from syncdiffusion_core.views.schedule import ViewSchedule
from syncdiffusion_core.views.view_set import Sums, ViewSet, aggregate

N, C = 2, 3


def _cases() -> list:
    """Every canvas: the views of a step, and where these are others at each step all of them."""
    cases = []
    for name, canvas in CANVASES.items():
        cases.append(pytest.param((canvas, False), id=name))
        if canvas.moves:
            cases.append(pytest.param((canvas, True), id=f"{name}, all"))
    return cases


@pytest.fixture(params=_cases())
def case(request: pytest.FixtureRequest) -> tuple[Canvas, bool]:
    return request.param


@pytest.fixture
def canvas(case: tuple[Canvas, bool]) -> Canvas:
    return case[0]


@pytest.fixture
def schedule(canvas: Canvas) -> ViewSchedule:
    return canvas.make()


@pytest.fixture
def views(case: tuple[Canvas, bool], schedule: ViewSchedule) -> ViewSet:
    return schedule.every if case[1] else schedule.at(0)


def on_canvas(views: ViewSet, seed: int = 0, frames: int | None = None) -> Tensor:
    lead = (N, C) if frames is None else (N, C, frames)
    return randn(*lead, *views.canvas, seed=seed)


def in_views(views: ViewSet, seed: int = 1, frames: int | None = None) -> Tensor:
    lead = (C,) if frames is None else (C, frames)
    return randn(len(views) * N, *lead, *views.view, seed=seed)


def closest(one: Tensor, other: Tensor, within: float) -> None:
    torch.testing.assert_close(one, other, rtol=0, atol=within)


def test_members(views: ViewSet):
    assert len(views.names) == len(views)
    x = views.project(on_canvas(views).float())
    assert x.shape == (len(views) * N, C, *views.view)
    assert x.dtype == torch.float32
    sums = views.unproject(x)
    assert isinstance(sums, Sums)
    assert sums.total.shape == (N, C, *views.canvas)
    assert sums.weight.shape == (1, 1, *views.canvas)


def test_constants_survive(views: ViewSet):
    for value in (1.0, -3.0):
        constant = torch.full((1, 1, *views.canvas), value, dtype=torch.float64)
        agreed, covered = aggregate(views, views.project(constant)), relations.coverage(views) > 0
        closest(agreed[..., covered], constant[..., covered], 1e-6)
        assert not agreed[..., ~covered].any()


def test_weights_are_not_negative(views: ViewSet):
    assert (views.unproject(in_views(views)).weight >= 0).all()


def test_unproject_is_the_adjoint(canvas: Canvas, views: ViewSet):
    if not canvas.adjoint:
        pytest.skip("weights are not 1: not claimed")
    x, y = on_canvas(views), in_views(views)
    forward, back = (views.project(x) * y).sum(), (x * views.unproject(y).total).sum()
    assert abs(forward - back) <= 1e-5 * max(abs(forward), 1)


def test_linear(views: ViewSet):
    x, z = on_canvas(views), on_canvas(views, seed=5)
    closest(views.project(x - 2 * z), views.project(x) - 2 * views.project(z), 1e-6)


def test_names_of_subsets(views: ViewSet):
    numbers = [len(views) - 1, 0, 0]
    some = views.subset(numbers)
    assert some.names == tuple(views.names[number] for number in numbers)
    assert len(some) == 3
    assert (some.canvas, some.view) == (views.canvas, views.view)
    assert some.subset([1, 0]).names == (views.names[0], views.names[-1])
    assert views.names == tuple(dict.fromkeys(views.names)), "no name twice, and those of the whole set stay"


def test_maps_of_subsets(views: ViewSet):
    numbers = [len(views) - 1, 0]
    x, y = on_canvas(views), in_views(views)
    picked = y.unflatten(0, (-1, N))[numbers].flatten(0, 1)
    some = views.subset(numbers)
    assert torch.equal(some.project(x), views.project(x).unflatten(0, (-1, N))[numbers].flatten(0, 1))
    again = views.subset([*numbers, 0]).subset([0, 1])
    for one, other in zip(some.unproject(picked), again.unproject(picked), strict=True):
        assert torch.equal(one, other)
    if relations.index(views) is not None:
        assert torch.equal(relations.index(some), relations.index(views)[numbers])


def test_batch_by_batch(views: ViewSet):
    y = in_views(views)
    sums = None
    for start in range(0, len(views), 2):
        numbers = list(range(start, min(start + 2, len(views))))
        part = views.subset(numbers).unproject(y[start * N : (start + len(numbers)) * N])
        sums = part if sums is None else sums.plus(part)
    whole = views.unproject(y)
    closest(sums.total, whole.total, 1e-6)
    closest(sums.weight, whole.weight, 1e-6)


def test_samples_do_not_mix(views: ViewSet):
    x, y = on_canvas(views), in_views(views)
    alone = views.project(x[1:])
    assert torch.equal(views.project(x)[1::N], alone)
    closest(views.unproject(y).total[1:], views.unproject(y[1::N]).total, 0)


def test_frames(views: ViewSet):
    x, y = on_canvas(views, frames=2), in_views(views, frames=2)
    seen, total = views.project(x), views.unproject(y).total
    assert seen.shape == (len(views) * N, C, 2, *views.view)
    for frame in range(2):
        assert torch.equal(seen[:, :, frame], views.project(x[:, :, frame]))
        assert torch.equal(total[:, :, frame], views.unproject(y[:, :, frame]).total)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_sums_in_float32(views: ViewSet, dtype: torch.dtype):
    assert views.project(on_canvas(views).to(dtype)).dtype == dtype
    y = in_views(views).to(dtype)
    half, full = views.unproject(y), views.unproject(y.float())
    assert half.total.dtype == half.weight.dtype == torch.float32
    assert torch.equal(half.total, full.total)


def test_same_bits_at_every_run(canvas: Canvas, views: ViewSet):
    y = in_views(views).float()
    with OneOrder():
        first = views.unproject(y)
    again = canvas.make()
    other = (again.at(0) if again.at(0).names == views.names else again.every).unproject(y)
    assert torch.equal(first.total, other.total)
    assert torch.equal(first.weight, other.weight)


def test_under_no_grad(views: ViewSet):
    with torch.no_grad():
        sums = views.unproject(in_views(views))
    assert not sums.total.requires_grad


def test_noise_is_white(views: ViewSet):
    n, channels = 4, 60
    noise = randn(n, channels, *views.canvas, seed=3).float()
    seen = noise_of(views, noise).unflatten(0, (len(views), n))
    for view in seen:
        assert view.mean().abs() < 0.03
        assert abs(view.std() - 1) < 0.03
        for one, other in ((view[..., 1:, :], view[..., :-1, :]), (view[..., 1:], view[..., :-1])):
            assert (one * other).mean().abs() < 0.05
        assert abs((view[0] * view[1]).mean()) < 0.05, "samples share no noise"


def test_noise_of_nothing_is_nothing(views: ViewSet):
    assert not noise_of(views, torch.zeros(N, C, *views.canvas)).any()


def test_noise_of_a_canvas_is_always_the_same(views: ViewSet):
    noise = on_canvas(views).float()
    seen = noise_of(views, noise)
    assert torch.equal(seen, noise_of(views, noise.clone()))
    assert not torch.equal(seen, noise_of(views, on_canvas(views, seed=9).float()))
    numbers = [len(views) - 1, 0]
    some = noise_of(views.subset(numbers), noise)
    assert torch.equal(some, seen.unflatten(0, (-1, N))[numbers].flatten(0, 1)), "whichever views are asked for"


def test_noise_is_the_canvas_noise_where_a_cell_is_seen(views: ViewSet):
    index = relations.index(views)
    if index is None:
        pytest.skip("a function has no nearest cell")
    noise = on_canvas(views).float()
    sign = getattr(views, "sign", torch.ones(len(views)))
    for view, cells, seen in zip(sign, index, noise_of(views, noise).unflatten(0, (-1, N)), strict=True):
        taken = (noise.flatten(2)[..., cells.clamp(min=0)] * view == seen).all(dim=(0, 1))
        assert taken.sum() == cells[cells >= 0].unique().numel()


def test_coverage(canvas: Canvas, views: ViewSet):
    coverage = relations.coverage(views)
    assert coverage.shape == views.canvas
    closest(coverage, views.unproject(torch.ones(len(views), 1, *views.view)).weight[0, 0], 1e-6)
    assert bool((coverage > 0).all()) == canvas.covers


def test_visible(views: ViewSet):
    visible, shown = relations.visible(views), views.project(torch.ones(1, 1, *views.canvas)).abs() > 0
    if visible is None:
        assert shown.all()
        return
    assert visible.dtype == torch.bool
    assert torch.equal(visible, shown)
    assert not shown.all()


def test_overlap(views: ViewSet):
    overlap = relations.overlap(views)
    assert torch.equal(overlap > 0, (overlap > 0).T)
    assert (overlap.diagonal() == 1).all()
    assert ((overlap >= 0) & (overlap <= 1)).all()
    with_first = relations.overlap_with(views.subset([0]), views)
    closest(with_first / with_first[0], overlap[0], 1e-6)
    for other, share in relations.neighbours(views, 0).items():
        assert share == overlap[0, other] >= relations.LEAST


def test_views_apart(views: ViewSet):
    touches, seen = relations.overlap(views) > 0, set()
    for turn in range(2 * len(views)):
        chosen = relations.apart(views, turn)
        assert chosen == tuple(sorted(set(chosen)))
        assert torch.equal(touches[list(chosen)][:, list(chosen)], torch.eye(len(chosen), dtype=torch.bool))
        seen |= set(chosen)
    assert seen == set(range(len(views))), "every view has its turn"


def test_reference(views: ViewSet):
    assert 0 <= relations.reference(views) < len(views)


def test_steps(canvas: Canvas, schedule: ViewSchedule):
    steps = [schedule.at(step) for step in range(12)]
    assert schedule.moves == canvas.moves
    assert max(len(step) for step in steps) <= schedule.largest
    assert all(set(step.names) <= set(schedule.every.names) for step in steps)
    assert len({step.names for step in steps}) > 1 or canvas.turns or not schedule.moves
    assert not canvas.turns or not torch.equal(steps[1].index, steps[2].index)
    assert [schedule.later(3).at(step).names for step in range(9)] == [step.names for step in steps[3:]]
    if not schedule.moves:
        assert schedule.largest == len(schedule.every)


def test_steps_see_what_the_set_sees(canvas: Canvas, schedule: ViewSchedule):
    if canvas.turns:
        pytest.skip("views of a step stand in for those of their names")
    step, x = schedule.at(1), on_canvas(schedule.every)
    numbers = [schedule.every.names.index(name) for name in step.names]
    assert torch.equal(step.project(x), schedule.every.subset(numbers).project(x))


@pytest.mark.parametrize("synchronisation", Synchronisation)
def test_five_strategies_run_or_refuse(canvas, synchronisation):
    """A finite canvas; or a sentence, where views that move cannot be the state."""
    schedule = canvas.make()
    views, strategy = schedule.at(0), STRATEGIES[synchronisation]
    noise = randn(N, toys.CHANNELS, *views.canvas)
    run = (toys.eps_denoiser, variance_exploding(), schedule, 5 * strategy.start(views, noise), [5.0, 1.0, 0.0])
    if schedule.moves and not strategy.on_canvas:
        with pytest.raises(ValueError, match="stand elsewhere"):
            sample(*run, Method(synchronisation))
        return
    made = sample(*run, Method(synchronisation))
    assert made.canvas.shape == noise.shape
    assert made.canvas.isfinite().all()


def test_a_guided_step_is_finite(canvas):
    """Towards the reference, on every strategy's kind of state: something moves where views share a canvas."""
    schedule = canvas.make()
    views, guidance = schedule.at(0), toys.guided([100.0, 0.0])
    for synchronisation in (Synchronisation.MULTIDIFFUSION, Synchronisation.SYNCTWEEDIES):
        strategy = STRATEGIES[synchronisation]
        if schedule.moves and not strategy.on_canvas:
            continue
        state = 5 * strategy.start(views, randn(N, toys.CHANNELS, *views.canvas))
        method = Method(synchronisation, guidance=guidance)
        run = (toys.eps_denoiser, variance_exploding(), schedule, state, [5.0, 1.0, 0.0])
        made, plain = sample(*run, method), sample(*run, Method(synchronisation))
        assert made.canvas.isfinite().all()
        assert len(views) == 1 or not torch.equal(made.canvas, plain.canvas)
