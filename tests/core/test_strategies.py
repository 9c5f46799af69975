"""The five strategies: one canvas on views that permute cells, five on views that mix them (METHODS, section 3)."""

import core_toys as toys
import pytest
import torch

from syncdiffusion_core.agreement import LATENTS
from syncdiffusion_core.canvases.window_layout import WindowLayout
from syncdiffusion_core.process import rectified_flow, variance_exploding
from syncdiffusion_core.sampling import Ancestral, Method, sample
from syncdiffusion_core.strategies import STRATEGIES, Synchronisation
from syncdiffusion_core.views.noise import noise_of
from syncdiffusion_core.views.schedule import Still
from syncdiffusion_core.views.view_set import Sums, aggregate

SIGMAS = [14.6, 5.0, 2.0, 0.7, 0.2, 0.0]
FLOW_SIGMAS = [0.99, 0.8, 0.5, 0.2, 0.0]
VIEW_STATES = (Synchronisation.VIEW_NOISE, Synchronisation.SYNCTWEEDIES)
CLEAN_MEANS = {Synchronisation.SYNCTWEEDIES, Synchronisation.CANONICAL_CLEAN}
NOISE_MEANS = (Synchronisation.VIEW_NOISE, Synchronisation.CANONICAL_NOISE)


class LinearViews:
    """Views by explicit matrices: f_v = P_v, g_v = P_v^T, weights P_v^T 1. Where they move cells, a table too."""

    def __init__(self, canvas, matrices: list[torch.Tensor], view: tuple[int, int], names=None) -> None:
        self.canvas, self.matrices, self.view = canvas, torch.stack(matrices), view  # [V, hw, HW]
        self.names = tuple(range(len(matrices))) if names is None else names
        moves_cells = bool((self.matrices == 1).sum(dim=-1).eq(1).all())
        self.index = self.matrices.argmax(dim=-1).unflatten(-1, view) if moves_cells else None

    def __len__(self) -> int:
        return len(self.matrices)

    def project(self, canvas):
        views = torch.einsum("vpq,ncq->vncp", self.matrices.to(canvas), canvas.flatten(-2))
        return views.flatten(0, 1).unflatten(-1, self.view)

    def unproject(self, views):
        stacked = views.flatten(-2).unflatten(0, (len(self), -1))
        total = torch.einsum("vpq,vncp->ncq", self.matrices.to(views), stacked)
        return Sums(total.unflatten(-1, self.canvas), self.matrices.to(views).sum((0, 1)).view(1, 1, *self.canvas))

    def subset(self, numbers):
        names = tuple(self.names[number] for number in numbers)
        return LinearViews(self.canvas, [self.matrices[number] for number in numbers], self.view, names)

    def mean(self) -> torch.Tensor:
        """A f on the flattened canvas, [HW, HW]."""
        return torch.einsum("vpq,vpr->qr", self.matrices, self.matrices) / self.matrices.sum((0, 1))[:, None]


def permutation(order: torch.Tensor) -> torch.Tensor:
    return torch.eye(order.numel(), dtype=torch.float64)[order.flatten()]


def permuting_views(*pictures_of) -> LinearViews:
    """Views that see the cells of an 8 x 8 canvas in another order."""
    cells = torch.arange(64).view(8, 8)
    return LinearViews((8, 8), [permutation(f(cells)) for f in pictures_of], (8, 8))


def same(cells):
    return cells


def shuffled(cells):
    order = torch.randperm(64, generator=torch.Generator().manual_seed(0))
    return cells.flatten()[order].view(8, 8)


def half_cell_shifts(size: int = 8) -> LinearViews:
    """Bilinear views of a closed canvas, shifted by half a cell to the right and half a cell down."""
    cells = torch.arange(size * size).view(size, size)
    here = permutation(cells)
    views = [(here + permutation(cells.roll(-1, dims))) / 2 for dims in (1, 0)]
    return LinearViews((size, size), views, (size, size))


def halves(size: int = 8) -> LinearViews:
    """One view of half the width: each of its cells is the mean of two (n-to-1)."""
    matrix = torch.eye(size * size // 2, dtype=torch.float64).repeat_interleave(2, dim=1) / 2
    return LinearViews((size, size), [matrix], (size, size // 2))


def doubles(size: int = 8) -> LinearViews:
    """One view of twice the width: each cell of the canvas is seen twice (1-to-n)."""
    matrix = torch.eye(size * size, dtype=torch.float64).repeat_interleave(2, dim=0)
    return LinearViews((size, size), [matrix], (size, 2 * size))


MIXING = {"half-cell shifts": half_cell_shifts(), "halves": halves()}
PERMUTING = {
    "crops": toys.tiled(WindowLayout(6, 6, 4, 6), (6, 17)),
    "wrapped crops": toys.tiled(WindowLayout(6, 6, 4, 6, wrap_x=True), (6, 14)),
    "grid": toys.tiled(WindowLayout(5, 4, 3, 2), (9, 11)),
    "wrapped grid": toys.tiled(WindowLayout(4, 4, 3, 3, wrap_x=True, wrap_y=True), (8, 9)),
    "flips": permuting_views(same, lambda c: c.flip(0), lambda c: c.flip(1)),
    "a flip alone": permuting_views(lambda c: c.flip(1)),
    "quarter turns": permuting_views(same, lambda c: c.rot90(1), lambda c: c.rot90(2), lambda c: c.rot90(3)),
    "permutations": permuting_views(same, shuffled),
    "doubled cells": doubles(),
}


def run(view_set, synchronisation, denoiser=toys.eps_denoiser, process=None, sigmas=SIGMAS, n=2, **options):
    start = sigmas[0] * toys.randn(n, 4, *view_set.canvas)
    if not STRATEGIES[synchronisation].on_canvas:
        start = view_set.project(start)  # of one canvas, where views mix cells too
    method = Method(synchronisation, **options)
    return sample(denoiser, process or variance_exploding(), Still(view_set), start, sigmas, method).canvas


@pytest.mark.parametrize("synchronisation", list(Synchronisation))
@pytest.mark.parametrize("views", PERMUTING)
def test_all_strategies_agree_where_views_permute_cells(views, synchronisation):
    expected = run(PERMUTING[views], Synchronisation.MULTIDIFFUSION)
    got = run(PERMUTING[views], synchronisation, batches=3)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("synchronisation", list(Synchronisation))
@pytest.mark.parametrize("views", ["wrapped grid", "quarter turns"])
def test_all_strategies_agree_in_flow_models(views, synchronisation):
    flow = {"denoiser": toys.flow_denoiser, "process": rectified_flow(), "sigmas": FLOW_SIGMAS}
    expected = run(PERMUTING[views], Synchronisation.MULTIDIFFUSION, **flow)
    torch.testing.assert_close(run(PERMUTING[views], synchronisation, **flow), expected, rtol=0, atol=1e-10)


# Views that see a cell twice have noise of their own there: see below.
SHARING = [(v, s) for v in PERMUTING for s in Synchronisation if v != "doubled cells" or s not in VIEW_STATES]


@pytest.mark.parametrize(("views", "synchronisation"), SHARING)
def test_all_strategies_agree_under_ancestral_noise(views, synchronisation):
    fresh = toys.randn(2, 4, *PERMUTING[views].canvas, seed=5)
    options = {"ancestral": Ancestral(0.8, lambda: fresh)}
    expected = run(PERMUTING[views], Synchronisation.MULTIDIFFUSION, **options)
    torch.testing.assert_close(run(PERMUTING[views], synchronisation, **options), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("synchronisation", VIEW_STATES)
def test_a_cell_that_a_view_sees_twice_has_two_noises_in_it(synchronisation):
    """Ancestral noise in the views is white: F takes x0's halves together, and the noise of both stays."""
    views, fresh = doubles(), toys.randn(64, 4, 8, 8, seed=5)
    seen = []
    options = {"ancestral": Ancestral(1.0, lambda: fresh), "on_step": lambda *report: seen.append(report[2])}
    run(views, synchronisation, denoiser=black, sigmas=[2.0, 1.0], n=64, **options)
    down, up = variance_exploding().ancestral_split(2.0, 1.0, 1.0)
    own = noise_of(views, fresh)
    # Of a canvas's noise projected, both halves would be one.
    assert (own[..., ::2] - own[..., 1::2]).std() == pytest.approx(2**0.5, rel=0.03)
    start = views.project(2.0 * toys.randn(64, 4, 8, 8)) / 2.0
    torch.testing.assert_close(seen[0], down * start + up * own, rtol=0, atol=1e-12)


def guidance(weights):
    return toys.guided(weights)


@pytest.mark.parametrize("synchronisation", list(Synchronisation))
@pytest.mark.parametrize("views", ["crops", "wrapped grid", "quarter turns"])
def test_one_guided_step_is_the_same_in_all_strategies(views, synchronisation):
    """Eq. 14 moves the views; what the canvas makes of them is their mean, whatever else is averaged."""
    sigmas = [2.0, 1.0]
    expected = run(
        PERMUTING[views], Synchronisation.MULTIDIFFUSION, sigmas=sigmas, guidance=guidance([1_000.0]), batches=2
    )
    plain = run(PERMUTING[views], Synchronisation.MULTIDIFFUSION, sigmas=sigmas)
    assert toys.report_difference(plain, expected) > 1e-3
    got = run(PERMUTING[views], synchronisation, sigmas=sigmas, guidance=guidance([1_000.0]), batches=2)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("synchronisation", [Synchronisation.CANONICAL_CLEAN, Synchronisation.CANONICAL_NOISE])
def test_a_guided_run_is_the_same_in_all_strategies_of_the_canvas(synchronisation):
    views, weights = PERMUTING["crops"], [1_000.0] * 5
    expected = run(views, Synchronisation.MULTIDIFFUSION, guidance=guidance(weights))
    got = run(views, synchronisation, guidance=guidance(weights))
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-10)


# Views that mix cells: the strategies by their definitions (METHODS, section 3), in matrices.


def transcription(name, view_set, denoiser, sigmas, z):
    """Five loops in VE; psi(x, x0) = x0 + (sigma'/sigma)(x - x0). SyncTweedies ends at A(g(x0)), not A(g(F(x0)))."""
    n_samples = z.shape[0]
    rows = toys.Rows.grid(n_samples, tuple(range(len(view_set))))

    def f(canvas):
        return view_set.project(canvas)

    def mean(views):
        total, weight = view_set.unproject(views)
        return total / weight

    views = f(z)
    for sigma, following in zip(sigmas[:-1], sigmas[1:], strict=True):
        if name in ("multidiffusion", "canonical_noise", "canonical_clean"):
            views = f(z)
        x0 = denoiser(views, sigma, rows)
        eps = (views - x0) / sigma

        def psi(x, clean, sigma=sigma, following=following):
            return clean + following / sigma * (x - clean)

        if name == "view_noise":
            views = psi(views, views - sigma * f(mean(eps)))
        elif name == "synctweedies":
            views = psi(views, f(mean(x0)))
        elif name == "multidiffusion":
            z = mean(psi(views, x0))
        elif name == "canonical_noise":
            z = psi(z, z - sigma * mean(eps))
        else:
            z = psi(z, mean(x0))
    if name == "synctweedies":
        return mean(x0)
    return mean(views) if name == "view_noise" else z


@pytest.mark.parametrize("views", MIXING)
@pytest.mark.parametrize("synchronisation", list(Synchronisation))
def test_strategies_are_what_their_names_say_where_views_mix_cells(views, synchronisation):
    start = SIGMAS[0] * toys.randn(2, 4, *MIXING[views].canvas)
    expected = transcription(synchronisation.value, MIXING[views], toys.eps_denoiser, SIGMAS, start)
    torch.testing.assert_close(run(MIXING[views], synchronisation), expected, rtol=0, atol=1e-10)


def test_all_five_differ_where_views_mix_cells():
    """As long as there is noise; without, SyncTweedies from a projected start ends where the canvas's own does."""
    clean = [run(half_cell_shifts(), synchronisation) for synchronisation in Synchronisation]
    for i, one in enumerate(clean):
        for j, other in enumerate(clean[:i]):
            same_end = {list(Synchronisation)[i], list(Synchronisation)[j]} == CLEAN_MEANS
            assert (toys.report_difference(one, other) < 1e-10) == same_end
            assert same_end or toys.report_difference(one, other) > 1e-2
    canvases = [run(half_cell_shifts(), synchronisation, sigmas=SIGMAS[:-1]) for synchronisation in Synchronisation]
    for i, one in enumerate(canvases):
        for other in canvases[:i]:
            assert toys.report_difference(one, other) > 1e-2


def black(x, sigma, rows):
    """A model that is sure of the clean picture: it is 0, and all of a state is noise."""
    return torch.zeros_like(x)


def own_noise(view_set, synchronisation, n=64):
    """A state of unit noise where the strategy keeps its state: on the canvas or in the views."""
    if synchronisation in VIEW_STATES:
        return toys.randn(len(view_set) * n, 4, *view_set.view)
    return toys.randn(n, 4, *view_set.canvas)


def advance(view_set, synchronisation, state, denoiser, sigma, following):
    strategy, process = STRATEGIES[synchronisation], variance_exploding()
    moment = toys.moment(view_set, strategy.views(view_set, state), sigma, denoiser, process)
    x0 = denoiser(moment.x, sigma, None)
    return strategy.advance(moment, state, x0, lambda x, x0: process.step(x, x0, sigma, following), LATENTS)


@pytest.mark.parametrize("synchronisation", list(Synchronisation))
def test_averaging_noise_shrinks_the_noise_that_a_step_takes_off(synchronisation):
    """In VE a step takes off (sigma - sigma') eps: all of it, or the mean that the two half-cell shifts make of it.

    A f = I/2 + (S_x + S_x^-1 + S_y + S_y^-1)/8 leaves sqrt(1/4 + 4/64) of white noise on the canvas; F leaves
    sqrt(3/32 + 1/16) of noise that is white in the views.
    """
    views = half_cell_shifts()
    state = own_noise(views, synchronisation)
    taken = (state - advance(views, synchronisation, state, black, 1.0, 0.5)) / 0.5
    expected = {
        Synchronisation.VIEW_NOISE: (3 / 32 + 1 / 16) ** 0.5,
        Synchronisation.CANONICAL_NOISE: (1 / 4 + 4 / 64) ** 0.5,
        Synchronisation.SYNCTWEEDIES: 1.0,
        Synchronisation.CANONICAL_CLEAN: 1.0,
        # The projection takes part of the state as well: 2 - A f.
        Synchronisation.MULTIDIFFUSION: (1.5**2 + 4 / 64) ** 0.5,
    }
    assert taken.std() == pytest.approx(expected[synchronisation], rel=0.03)


@pytest.mark.parametrize("synchronisation", list(Synchronisation))
def test_averaging_noise_leaves_noise_in_the_picture(synchronisation):
    """Though the model knows the picture exactly, what the mean took from the noise is never removed."""
    left = run(half_cell_shifts(), synchronisation, denoiser=black, n=16)
    if synchronisation in NOISE_MEANS:
        assert left.std() > 0.5
    else:
        assert left.abs().max() == 0


def noise_levels(view_set, synchronisation, sigmas):
    """Spread of the states that the model sees, in units of the noise level it is told."""
    seen = []

    def spy(x, sigma, rows):
        seen.append(float(x.std()) / sigma)
        return torch.zeros_like(x)

    run(view_set, synchronisation, denoiser=spy, sigmas=sigmas, n=16, batches=len(view_set))
    return seen


def test_synctweedies_does_not_project_its_state_again():
    """The views keep their own noise at full strength; re-projected every step it would fade as below."""
    views, sigmas = half_cell_shifts(), [8.0, 4.0, 2.0, 1.0, 0.5, 0.0]
    levels = noise_levels(views, Synchronisation.SYNCTWEEDIES, sigmas)
    assert levels == pytest.approx([levels[0]] * 5, rel=1e-12)
    faded = noise_levels(views, Synchronisation.MULTIDIFFUSION, sigmas)
    assert faded[-1] < 0.8 * faded[0]
    state = views.project(toys.randn(16, 4, 8, 8))
    for _ in range(4):
        state = LATENTS.views(views, state)
    assert state.std() < 0.8 * levels[0]


def test_synctweedies_views_evolve_by_their_own_states():
    """Literally: x' = F(x0) + (sigma'/sigma)(x - F(x0)), for a state that no canvas could have projected."""
    views, sigma, following = half_cell_shifts(), 2.0, 0.8
    state = own_noise(views, Synchronisation.SYNCTWEEDIES, n=1)

    def denoise(x, sigma, rows):
        return x.tanh()

    mean = aggregate(views, state.tanh())
    expected = views.project(mean) + following / sigma * (state - views.project(mean))
    got = advance(views, Synchronisation.SYNCTWEEDIES, state, denoise, sigma, following)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-12)
    assert toys.report_difference(LATENTS.views(views, got), got) > 0.1


def final_views(synchronisation, view_set, n=64):
    """Views of a run under a white unit prior, from unit noise where the strategy keeps its state."""
    sigmas = [20 * (0.02 / 20) ** (k / 40) for k in range(40)] + [0.0]
    state = sigmas[0] * own_noise(view_set, synchronisation, n)
    for sigma, following in zip(sigmas[:-1], sigmas[1:], strict=True):
        state = advance(view_set, synchronisation, state, lambda x, sigma, rows: x / (1 + sigma**2), sigma, following)
    return STRATEGIES[synchronisation].views(view_set, state)


def test_synctweedies_keeps_the_detail_that_canvas_states_blur():
    """Each view cell is the mean of two of the canvas: canvas noise reaches the view at 1/sqrt(2) of its strength."""
    spread = {s: float(final_views(s, halves()).std()) for s in Synchronisation}
    assert spread[Synchronisation.SYNCTWEEDIES] == pytest.approx(1.0, abs=0.1)
    assert spread[Synchronisation.CANONICAL_CLEAN] < 0.8 * spread[Synchronisation.SYNCTWEEDIES]
    assert spread[Synchronisation.MULTIDIFFUSION] < 0.8 * spread[Synchronisation.SYNCTWEEDIES]


def test_from_a_projected_start_synctweedies_and_canonical_clean_see_the_same_views():
    """For linear views f psi(z, A g x0) = psi(f z, F x0): they part by the noise that the views start from."""
    views = half_cell_shifts()
    seen = {}

    def spy(x, sigma, rows):
        seen.setdefault(name, []).append(x)
        return toys.eps_denoiser(x, sigma, rows)

    for name in (Synchronisation.SYNCTWEEDIES, Synchronisation.CANONICAL_CLEAN):
        run(views, name, denoiser=spy, batches=2)
    for one, other in zip(*seen.values(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-10)


@pytest.mark.parametrize("synchronisation", NOISE_MEANS)
def test_the_mean_of_noise_needs_a_state_with_signal(synchronisation):
    with pytest.raises(ValueError, match="at sigma 1, .* choose a strategy"):
        run(PERMUTING["crops"], synchronisation, toys.flow_denoiser, rectified_flow(), [1.0, 0.5, 0.0])


def test_every_name_has_a_strategy():
    assert set(STRATEGIES) == set(Synchronisation)
    names = ["view_noise", "synctweedies", "multidiffusion", "canonical_noise", "canonical_clean"]
    assert [s.value for s in Synchronisation] == names
