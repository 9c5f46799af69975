"""What views are pulled towards: which view stays, which have to be known, and whose features each is compared with."""

import core_toys as toys
import pytest
import torch

from syncdiffusion_core.batching import batches
from syncdiffusion_core.canvases.grids import Grid, moving_grid
from syncdiffusion_core.canvases.windows import Windows, full_canvas
from syncdiffusion_core.guidance.targets import (
    AnchorKind,
    MeanOfViews,
    Neighbours,
    Picture,
    ReferenceView,
    check_picture,
    make_target,
)
from syncdiffusion_core.guidance.turns import Guided
from syncdiffusion_core.views.view_set import Sums

SIGMA, WEIGHT = 0.8, 3000.0


class Looked:
    """Eyes that see the clean predictions x0 [V, N, C, h, w] themselves and their squares, and remember at what."""

    def __init__(self, x0, size: int = 1) -> None:
        self.x0, self.size, self.n_samples, self.seen = x0, size, x0.shape[1], []

    def features(self, x0):
        return x0, x0.square().mean(dim=(2, 3), keepdim=True)

    def view(self, number):
        self.seen.append(number)
        return self.features(self.x0[number])

    def each(self, numbers):
        for picks, real in batches(len(numbers), self.size):
            batch = [numbers[pick] for pick in picks]
            self.seen += batch[:real]
            yield tuple(batch[:real]), self.features(self.x0[batch].flatten(0, 1))

    def picture(self, image):
        return self.features(image.to(self.x0))


def row(*lefts: int, width: int = 6, length: int = 24) -> Windows:
    """Windows of one row of a canvas that may wrap."""
    return Windows((4, length), (4, width), tuple((0, left) for left in lefts))


def predictions(views, n=2):
    return toys.randn(len(views), n, 3, *views.view)


def same(found, wanted, atol=1e-12):
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=atol)


# A view of the set.


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_without_an_index_the_sets_own_reference_is_meant(count):
    views = row(*range(0, 3 * count, 3))
    target, x0 = ReferenceView(), predictions(views)
    eyes = Looked(x0)
    assert target.stays(views) == views.reference == count // 2
    assert target.needs(views, range(count)) == {count // 2}
    of = target.of(views, range(count), eyes)
    same(of((0, count - 1)), eyes.features(x0[[count // 2] * 2].flatten(0, 1)))
    assert eyes.seen == [count // 2]  # looked at once, whatever is compared with it


def test_a_set_without_a_reference_follows_its_first_view():
    assert ReferenceView().stays(Flips()) == 0


@pytest.mark.parametrize(("index", "number"), [(0, 0), (2, 2), (3, 3), (-1, 3), (-4, 0)])
def test_an_index_may_count_from_the_end(index, number):
    views = row(0, 4, 8, 12)
    eyes = Looked(predictions(views))
    target = ReferenceView(index)
    assert target.stays(views) == number
    assert target.needs(views, (0, 1)) == {number}
    same(target.of(views, range(4), eyes)((1,)), eyes.features(eyes.x0[number]))


@pytest.mark.parametrize("index", [4, -5, 99])
def test_an_index_beyond_the_views_is_named(index):
    words = rf"anchor_index must be between 0 and 3 \(there are 4 windows\), got {index}; .* down to -4"
    for use in (ReferenceView(index).stays, ReferenceView(index).on):
        with pytest.raises(ValueError, match=words):
            use(row(0, 4, 8, 12))


def test_rows_are_view_major_and_each_sample_has_its_own():
    views = row(0, 4, 8)
    eyes = Looked(predictions(views, n=3))
    found = ReferenceView(2).of(views, range(3), eyes)((0, 1))
    for view in range(2):
        for sample in range(3):
            assert torch.equal(found[0][3 * view + sample], eyes.x0[2, sample])


# Found again on grids that move.


@pytest.mark.parametrize("grid", [Grid.ROLLED, Grid.ALTERNATING])
@pytest.mark.parametrize("wrap", [False, True])
@pytest.mark.parametrize("index", [0, 2, 5, -1])
def test_a_reference_finds_its_place_among_views_that_move(grid, wrap, index):
    """Of each step the window that shares the most columns with it; of several the first."""
    length, width = 26, 8
    moving = moving_grid(grid, Windows((4, length), (4, width), ((0, 0),)), (False, wrap), 1)
    place = moving.every.origins[index][1]
    target = ReferenceView(index).on(moving.every)
    assert (target.index, len(target.place)) == (index, 1)

    def columns(left):
        return {(left + k) % length for k in range(width)}

    found = set()
    for step in range(10):
        views = moving.at(step)
        shared = [len(columns(place) & columns(left)) for _, left in views.origins]
        stays = target.stays(views)
        assert stays == shared.index(max(shared))
        assert target.needs(views, range(len(views))) == {stays}
        eyes = Looked(predictions(views))
        same(target.of(views, range(len(views)), eyes)((0,)), eyes.features(eyes.x0[stays]))
        found.add(views.names[stays])
    assert len(found) > 1 or not wrap  # those at either end stand still


def test_the_sets_own_reference_needs_no_place():
    target = ReferenceView()
    assert target.on(row(0, 4, 8)) is target


def test_a_place_is_found_in_a_subset_by_its_number_there():
    views = row(0, 4, 8, 12)
    target = ReferenceView(-1).on(views)
    assert target.stays(views.subset([3, 1])) == 0
    assert target.stays(views.subset([0, 2, 3])) == 2


# A picture.


@pytest.mark.parametrize("count", [1, 2])
def test_a_picture_is_the_target_of_all_views(count):
    """One for all samples stays one row; one each is repeated view by view."""
    views, picture = row(0, 4, 8), toys.randn(count, 3, 4, 6, seed=3).sigmoid()
    target, eyes = Picture(picture), Looked(predictions(views))
    assert target.stays(views) is None
    assert target.needs(views, range(3)) == set()
    found = target.of(views, range(3), eyes)((0, 2))
    same(found, eyes.features(picture if count == 1 else picture.repeat(2, 1, 1, 1)))
    assert eyes.seen == []


# The mean.


@pytest.mark.parametrize("size", [1, 2, 3, 16])
@pytest.mark.parametrize("moving", [(0, 1, 2, 3, 4), (0, 2, 3), (4,)])
def test_the_mean_is_of_the_features_of_the_views_of_the_turn(size, moving):
    """Whatever the batches, of which the last may hold a view twice."""
    views = row(0, 4, 8, 12, 16)
    target, eyes = MeanOfViews(), Looked(predictions(views), size)
    assert target.stays(views) is None
    assert target.needs(views, moving) == set()
    found = target.of(views, moving, eyes)((moving[0], moving[-1]))
    each = [eyes.features(eyes.x0[view]) for view in moving]
    same(found, [(sum(layer) / len(moving)).repeat(2, 1, 1, 1) for layer in zip(*each, strict=True)])
    assert sorted(eyes.seen) == list(moving)


# Neighbours.


class Flips:
    """Three views of a whole canvas: as it is, upside down, mirrored. It says nothing of their relations."""

    names, canvas, view = (0, 1, 2), (4, 6), (4, 6)

    def __init__(self, names=(0, 1, 2)) -> None:
        self.names = names

    def __len__(self) -> int:
        return len(self.names)

    def _turned(self, picture, name):
        return picture if name == 0 else picture.flip(-name)

    def project(self, canvas):
        return torch.cat([self._turned(canvas, name) for name in self.names])

    def unproject(self, views):
        parts = views.unflatten(0, (len(self), -1))
        total = sum(self._turned(part, name) for part, name in zip(parts, self.names, strict=True))
        return Sums(total, torch.full((1, 1, *self.canvas), float(len(self))).to(views))

    def subset(self, numbers):
        return Flips(tuple(self.names[number] for number in numbers))


NEAR = {
    # views: for each the others that it shares cells with, and how many
    "a row": (row(0, 4, 8), [{1: 2}, {0: 2, 2: 2}, {1: 2}]),
    "uneven": (row(0, 1, 4), [{1: 5, 2: 2}, {0: 5, 2: 3}, {0: 2, 1: 3}]),
    "over the edge": (row(0, 6, 12, 20), [{3: 2}, {2: 0}, {2: 0}, {0: 2}]),
    "a turn": (Flips(), [{1: 24, 2: 24}, {0: 24, 2: 24}, {0: 24, 1: 24}]),
    "one alone": (full_canvas((4, 6)), [{0: 0}]),
    "hardly": (row(0, 39, 60, width=40, length=100), [{1: 0}, {2: 19}, {1: 19}]),  # a fortieth is no neighbour
}


def weights_of(shares):
    """By what is shared; a view without neighbours has the reference, whose share is written as 0."""
    total = sum(shares.values())
    return {other: share / total if total else 1.0 for other, share in shares.items()}


@pytest.mark.parametrize("name", NEAR)
@pytest.mark.parametrize("size", [1, 2, 16])
def test_neighbours_count_by_what_they_share(name, size):
    views, near = NEAR[name]
    target, eyes = Neighbours(), Looked(predictions(views), size)
    assert target.stays(views) is None
    for view, shares in enumerate(near):
        assert target.needs(views, [view]) == set(shares)
    everyone = range(len(views))
    assert target.needs(views, everyone) == set().union(*near)
    found = target.of(views, everyone, eyes)(tuple(everyone))
    wanted = []
    for shares in near:
        each = [[w * f for f in eyes.features(eyes.x0[other])] for other, w in weights_of(shares).items()]
        wanted.append([sum(layer) for layer in zip(*each, strict=True)])
    same(found, [torch.cat(layer) for layer in zip(*wanted, strict=True)], atol=1e-6)
    assert sorted(eyes.seen) == sorted(set().union(*near))  # each looked at once


def test_neighbours_of_a_turn_need_not_be_in_it():
    views = row(0, 4, 8, 12)
    target, eyes = Neighbours(), Looked(predictions(views), 2)
    assert target.needs(views, (0, 2)) == {1, 3}
    of = target.of(views, (0, 2), eyes)
    same(of((2,)), [(a + b) / 2 for a, b in zip(*(eyes.features(eyes.x0[k]) for k in (1, 3)), strict=True)], atol=1e-6)
    same(of((2, 0)), [torch.cat(pair) for pair in zip(of((2,)), of((0,)), strict=True)])


class PixelDistance:
    """Linear features: the picture itself; mean squared difference."""

    constant = 1.0

    def features(self, image):
        return (image,)

    def distance(self, features, anchor):
        return (features[0] - anchor[0]).square().flatten(1).mean(1)


def linear(**options):
    """Guidance whose move is linear in the states of the windows."""
    return toys.guided([WEIGHT], decode=lambda x0: x0, distance=PixelDistance(), target=Neighbours(), **options)


def half(x, sigma, rows):
    return 0.5 * x


def pulled_to(x, means, cells):
    """-w s^2 cells/4096 J dL/dx0 for x0 = x / 2 and the mean squared difference."""
    size = x[0, 0].numel()
    return -WEIGHT * cells / 4096 * (1 + SIGMA**2) * 0.25 * 2 * (x - means) / size


@pytest.mark.parametrize("size", [1, 2, 16])
def test_a_guided_step_draws_windows_to_their_neighbours(size):
    """The shares are those of the windows; every window moves, also those in the middle."""
    views, near = NEAR["uneven"]
    x = toys.randn(len(views), 2, 4, *views.view)
    guidance = linear(first=size, pulled=size)
    got = guidance(toys.moment(views, x.flatten(0, 1), SIGMA, half)).x.view_as(x) - x
    means = torch.stack([sum(w * x[other] for other, w in weights_of(shares).items()) for shares in near])
    torch.testing.assert_close(got, pulled_to(x, means, 24), rtol=0, atol=1e-6)
    assert (got.flatten(2).abs().amax(dim=2) > 1e-4).all()


def test_windows_in_turns_know_their_neighbours_first():
    """The first pass is of the turn and its neighbours; those that nobody looks at are not asked for."""
    views, asked = row(0, 5, 10, 15, 18, width=6), []

    def spy(x, sigma, rows):
        asked.append(rows.views)
        return half(x, sigma, rows)

    x = views.project(toys.randn(1, 4, *views.canvas))
    guidance = linear(guided=Guided.ROTATING, first=16, pulled=16)
    moved = guidance(toys.moment(views, x, SIGMA, spy))
    turn = views.apart(0)
    first = sorted({*turn} | Neighbours().needs(views, turn))
    assert asked[0] == tuple(first)
    assert moved.trace.loss.shape == (len(turn), 1)


def test_neighbours_do_not_depend_on_other_samples():
    views, n = row(0, 4, 8), 3
    x = toys.randn(3 * n, 4, *views.view)
    guidance = toys.guided([WEIGHT], target=Neighbours(), pulled=2)
    together = guidance(toys.moment(views, x, SIGMA)).x.unflatten(0, (-1, n))
    for k in range(n):

        def own(x, sigma, rows, k=k):
            return toys.eps_denoiser(x, sigma, toys.Rows((k,) * len(rows), rows.views))

        alone = guidance(toys.moment(views, x.unflatten(0, (-1, n))[:, k], SIGMA, own)).x
        torch.testing.assert_close(together[:, k], alone, rtol=0, atol=1e-10)


# By name.


def test_every_kind_has_its_target():
    picture = torch.zeros(1, 3, 8, 8)
    assert make_target(AnchorKind.CENTRE) == ReferenceView()
    assert make_target(AnchorKind.INDEX) == ReferenceView(0)
    assert make_target(AnchorKind.INDEX, -2) == ReferenceView(-2)
    assert make_target(AnchorKind.MEAN) == MeanOfViews()
    assert make_target(AnchorKind.NEIGHBOURS) == Neighbours()
    assert make_target(AnchorKind.IMAGE, image=picture).image is picture
    assert make_target(AnchorKind.CENTRE, 3, picture) == ReferenceView()  # what a kind does not ask for is left


@pytest.mark.parametrize("ask", [lambda: check_picture(AnchorKind.IMAGE, False), lambda: make_target(AnchorKind.IMAGE)])
def test_a_picture_is_asked_for(ask):
    with pytest.raises(ValueError, match="needs a picture; connect one to anchor_image or choose 'centre window'"):
        ask()


@pytest.mark.parametrize("kind", [kind for kind in AnchorKind if kind is not AnchorKind.IMAGE])
def test_other_kinds_need_none(kind):
    check_picture(kind, False)
