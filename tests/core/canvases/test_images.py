"""Ambiguous images: literals that pin what each map does, and that latents and pixels mean the same."""

import math

import pytest
import torch
from torch import Tensor

from syncdiffusion_core.canvases.discs import turned_disc
from syncdiffusion_core.canvases.images import ImageLook, ImageMap, ImageViews, image_views
from syncdiffusion_core.canvases.jigsaw import _owners, _sides, jigsaw
from syncdiffusion_core.canvases.permutations import (
    blocks_in_order,
    order_of_brightness,
    quarter_turns,
    random_order,
    skewed,
)
from syncdiffusion_core.views.schedule import CellGrid, Space, ViewSpec
from syncdiffusion_core.views.tables import IndexedViews, ResampledViews
from syncdiffusion_core.views.view_set import aggregate

PICTURE = torch.linspace(0, 1, 3 * 50 * 40).view(3, 50, 40)
MIXING = (ImageMap.INNER_CIRCLE, ImageMap.ROTATE)
EXACT = [kind for kind in ImageMap if kind not in (*MIXING, ImageMap.SKEW, ImageMap.JIGSAW)]


def shown(kind: ImageMap, numbers: list[list[float]], **look) -> list[list[float]]:
    """What a view of that kind shows of a small picture."""
    canvas = torch.tensor(numbers, dtype=torch.float32)
    size = (canvas.shape[0], canvas.shape[1])
    return image_views((ImageLook(kind, **look),), size, size).project(canvas[None, None])[0, 0].tolist()


TWO = [[1, 2], [3, 4]]


@pytest.mark.parametrize(
    ("kind", "view"),
    [
        (ImageMap.IDENTITY, [[1, 2], [3, 4]]),
        (ImageMap.FLIP_LEFT_RIGHT, [[2, 1], [4, 3]]),
        (ImageMap.FLIP_UPSIDE_DOWN, [[3, 4], [1, 2]]),
        (ImageMap.ROTATE_90, [[3, 1], [4, 2]]),  # clockwise: the left column becomes the top row
        (ImageMap.ROTATE_180, [[4, 3], [2, 1]]),
        (ImageMap.ROTATE_270, [[2, 4], [1, 3]]),
        (ImageMap.NEGATE, [[-1, -2], [-3, -4]]),
    ],
)
def test_two_by_two(kind: ImageMap, view: list[list[float]]):
    assert shown(kind, TWO) == view


def test_quarter_turn_is_that_of_torch():
    picture = torch.arange(12).view(3, 4)
    assert torch.equal(quarter_turns(picture, 1), torch.rot90(picture, k=-1))


def test_a_rectangle_may_be_flipped_and_turned_upside_down():
    assert shown(ImageMap.FLIP_LEFT_RIGHT, [[1, 2, 3], [4, 5, 6]]) == [[3, 2, 1], [6, 5, 4]]
    assert shown(ImageMap.ROTATE_180, [[1, 2, 3], [4, 5, 6]]) == [[6, 5, 4], [3, 2, 1]]


def test_skew_moves_columns_down_and_around():
    picture = torch.arange(4)[:, None].repeat(1, 4)
    assert skewed(picture, 1.0).tolist() == [[0, 3, 2, 1], [1, 0, 3, 2], [2, 1, 0, 3], [3, 2, 1, 0]]
    assert skewed(picture, 1.5)[0].tolist() == [3, 2, 0, 3]  # moved by 1, 2, 4, 5
    assert skewed(picture, -1.0)[0].tolist() == [1, 2, 3, 0]  # -0.5 is as near to -1


def test_blocks_in_order():
    picture = torch.arange(16).view(4, 4)
    order = torch.tensor([[3, 0], [1, 2]])
    assert blocks_in_order(picture, order).tolist() == [[10, 11, 0, 1], [14, 15, 4, 5], [2, 3, 8, 9], [6, 7, 12, 13]]


def test_random_orders_are_seeded():
    assert torch.equal(random_order(4, 5, seed=1), random_order(4, 5, seed=1))
    assert not torch.equal(random_order(4, 5, seed=1), random_order(4, 5, seed=2))


def test_from_picture_shows_dark_places_first():
    given = torch.tensor([[[0.9, 0.1], [0.5, 0.1]]])  # the darkest: top right, then bottom right (further down)
    assert shown(ImageMap.FROM_PICTURE, TWO, picture=given) == [[2, 4], [3, 1]]
    coloured = torch.zeros(3, 1, 3)
    coloured[0, 0, 0] = coloured[1, 0, 1] = coloured[2, 0, 2] = 1  # red, green, blue
    assert order_of_brightness(coloured, 1, 3).tolist() == [[2, 0, 1]]
    assert order_of_brightness(given.repeat_interleave(3, 1).repeat_interleave(5, 2), 2, 2).tolist() == [[1, 3], [2, 0]]


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_inner_circle_turns_its_middle_and_nothing_else(quarters: int):
    picture = torch.arange(16).view(4, 4)
    taps, weights = turned_disc((4, 4), quarters * math.pi / 2, 0.5)
    assert (weights.amax(dim=0) == 1).all()
    view = picture.flatten()[taps.amax(dim=0)]
    expected = picture.clone()
    expected[1:3, 1:3] = torch.rot90(picture[1:3, 1:3], k=-quarters)
    assert torch.equal(view, expected)


def test_inner_circle_by_45_degrees():
    """Around the middle cell its neighbours stand on the diagonals: one is half way between up and right."""
    picture = torch.zeros(1, 1, 5, 5)
    picture[..., 1, 2] = 1  # above the middle: turned clockwise it goes to the right of it
    views = image_views((ImageLook(ImageMap.INNER_CIRCLE, angle_deg=45, amount=0.8),), (5, 5), (5, 5))
    assert isinstance(views, ResampledViews)
    view = views.project(picture)[0, 0]
    assert view[1, 3] > view[1, 2] > view[1, 1] == 0
    assert torch.equal(view[0], picture[0, 0, 0])
    corners = image_views((ImageLook(ImageMap.ROTATE, angle_deg=30),), (8, 8), (8, 8)).index[0]
    for row, column in ((0, 0), (0, 7), (7, 0), (7, 7), (0, 1)):
        assert corners[row, column] == 8 * row + column


def test_a_quarter_turn_of_the_circle_only_moves_cells():
    looks = (ImageLook(ImageMap.INNER_CIRCLE, angle_deg=90), ImageLook(ImageMap.ROTATE, angle_deg=-180))
    views = image_views(looks, (16, 24), (16, 24))
    assert isinstance(views, IndexedViews)
    assert torch.equal(views.index.flatten(1).sort(dim=1).values, torch.arange(16 * 24).expand(2, -1))


def test_one_map_that_mixes_makes_all_resampled():
    mixed = image_views((ImageLook(), ImageLook(ImageMap.INNER_CIRCLE)), (16, 16), (16, 16))
    assert not isinstance(mixed, IndexedViews)
    canvas = torch.rand(1, 1, 16, 16)
    assert torch.equal(mixed.project(canvas)[:1], canvas)


@pytest.mark.parametrize(("pieces", "side"), [(4, 16), (4, 128), (3, 48), (2, 6), (1, 5), (8, 16), (5, 50), (4, 4)])
@pytest.mark.parametrize("seed", range(4))
def test_jigsaw_is_a_permutation(pieces: int, side: int, seed: int):
    puzzle = jigsaw(torch.arange(side * side).view(side, side), pieces, seed)
    assert torch.equal(puzzle.flatten().sort().values, torch.arange(side * side))
    assert torch.equal(puzzle, jigsaw(torch.arange(side * side).view(side, side), pieces, seed))


def test_jigsaw_pieces_stay_whole():
    """A picture of the numbers of pieces: every place of the puzzle shows one piece, and every piece once."""
    owners = owners_of(4, 64)
    puzzle = jigsaw(owners, 4, seed=3)
    at = [puzzle[owners == place].unique() for place in range(16)]
    assert all(len(piece) == 1 for piece in at)
    found = torch.cat(at).tolist()
    assert sorted(found) == list(range(16))
    assert found != list(range(16))
    corners, edges = {0, 3, 12, 15}, {1, 2, 4, 7, 8, 11, 13, 14}
    for place, piece in enumerate(found):
        assert (place in corners, place in edges) == (piece in corners, piece in edges)


def test_jigsaw_turns_pieces():
    """A corner piece of the top left that lies at the bottom right is upside down."""
    owners, picture = owners_of(2, 32), torch.arange(32 * 32).view(32, 32)
    for seed in range(24):
        piece = jigsaw(owners, 2, seed)[31, 31]
        corner = {0: (0, 0), 1: (0, 31), 2: (31, 0), 3: (31, 31)}[int(piece)]
        assert jigsaw(picture, 2, seed)[31, 31] == picture[corner], "the outer corner stays the outer corner"


def test_jigsaw_has_tabs():
    owners = owners_of(2, 8)
    assert owners.tolist() == [
        [0, 0, 0, 0, 1, 1, 1, 1],
        [0, 0, 0, 0, 0, 1, 1, 1],
        [0, 0, 0, 0, 0, 1, 1, 1],
        [0, 2, 2, 0, 1, 1, 1, 1],
        [2, 2, 2, 2, 3, 1, 1, 3],
        [2, 2, 2, 3, 3, 3, 3, 3],
        [2, 2, 2, 3, 3, 3, 3, 3],
        [2, 2, 2, 2, 3, 3, 3, 3],
    ]
    tab = owners_of(4, 256)[:64, 64:96] == 0  # of the first piece, in the second's square
    assert tab.any(dim=1).sum() > tab[:, 0].sum() > 0, "wider than its neck"
    assert torch.equal(owners_of(2, 4), torch.tensor([[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 3, 3], [2, 2, 3, 3]]))


def owners_of(pieces: int, side: int) -> Tensor:
    sides = [_sides(row, column, pieces) for row in range(pieces) for column in range(pieces)]
    return _owners(sides, pieces, side // pieces)


def cells_of_pixels(views: ResampledViews) -> Tensor:
    """(row, column) of the latent cell that each pixel of 128 x 128 shows: [V, 128, 128, 2]."""
    return torch.stack([views.index // 128 // 8, views.index % 128 // 8], -1)


def resolved(kind: ImageMap) -> tuple[Tensor, Tensor]:
    """The cells of 16 x 16 that pixels show, and that their latent cells do: [128, 128, 2] each."""
    spec = ImageViews((128, 128), (ImageLook(kind, picture=PICTURE),))
    latent, pixels = (schedule.every for schedule in spec.resolve(None, CellGrid(8)))
    index = latent.index.repeat_interleave(8, 1).repeat_interleave(8, 2)
    return cells_of_pixels(pixels)[0], torch.stack([index // 16, index % 16], -1)[0]


@pytest.mark.parametrize("kind", EXACT)
def test_pixels_show_the_cells_that_latents_do(kind: ImageMap):
    pixels, latents = resolved(kind)
    assert torch.equal(pixels, latents)


@pytest.mark.parametrize(
    ("kind", "same", "near"),
    [
        (ImageMap.SKEW, 0.55, 0.97),  # columns of a cell move by up to ten pixels more than its first
        (ImageMap.JIGSAW, 0.92, 0.92),  # tabs are rounder in pixels
        (ImageMap.INNER_CIRCLE, 0.78, 0.97),  # what is turned by 45 degrees is as far as a corner of a cell off
        (ImageMap.ROTATE, 0.6, 0.95),
    ],
)
def test_pixels_show_nearly_the_cells_that_latents_do(kind: ImageMap, same: float, near: float):
    pixels, latents = resolved(kind)
    away = (pixels - latents).abs().amax(dim=-1)
    assert (away == 0).float().mean() > same
    assert (away <= 1).float().mean() > near


def test_planes():
    views = image_views((ImageLook(), ImageLook(ImageMap.ROTATE_90)), (4, 4), (4, 4), planes=10)
    canvas = torch.randn(1, 3, 10, 4, 4)
    assert views.canvas == (10, 4, 4)
    seen = views.project(canvas)
    torch.testing.assert_close(seen[:1], canvas.mean(dim=2))
    torch.testing.assert_close(seen[1:], torch.rot90(canvas.mean(dim=2), k=-1, dims=(-2, -1)))
    torch.testing.assert_close(views.project(aggregate(views, seen)), seen)


def test_spec():
    spec: ViewSpec = ImageViews((256, 384), (ImageLook(), ImageLook(ImageMap.FLIP_LEFT_RIGHT)))
    assert spec.view_px == (256, 384)
    assert spec.distinct
    assert spec.space is Space.RGB
    for canvas in (None, (32, 48)):
        made = spec.resolve(canvas, CellGrid(8, 2))
        assert (made.latent.every.canvas, made.pixels.every.canvas) == ((32, 48), (256, 384))
        assert (made.latent.every.view, made.pixels.every.view) == ((32, 48), (256, 384))
        assert made.latent.every.names == made.pixels.every.names == (0, 1)
    alone = spec.resolve(None, CellGrid(1))
    assert alone.pixels is alone.latent
    assert hash(ImageLook(picture=PICTURE)) == hash(ImageLook(picture=PICTURE))


SQUARE, WIDE = (128, 128), (128, 256)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ImageViews(SQUARE, ()), "at least one view"),
        (lambda: ImageViews((0, 8), (ImageLook(),)), "at least 1"),
        (lambda: ImageViews(SQUARE, (ImageLook(),), planes=0), "planes"),
        (lambda: ImageLook(ImageMap.JIGSAW, amount=2.5), "whole number of pieces along a side, got 2.5"),
        (lambda: ImageLook(ImageMap.PATCHES, amount=0), "whole number of patches"),
        (lambda: ImageLook(ImageMap.INNER_CIRCLE, amount=1.5), r"in \(0, 1\], got 1.5"),
        (lambda: ImageLook(ImageMap.ROTATE, angle_deg=math.inf), "finite"),
        (lambda: ImageLook(ImageMap.SKEW, amount=math.nan), "finite"),
        (lambda: ImageLook(ImageMap.FROM_PICTURE), "needs a picture"),
        (lambda: ImageLook(ImageMap.FROM_PICTURE, picture=torch.zeros(8, 8)), "must be"),
    ],
)
def test_wrong_settings(make, message: str):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("size_px", "look", "canvas", "message"),
    [
        ((128, 100), ImageLook(), None, "width must be a multiple of 16 px for this model, got 100; use 96 or 112"),
        ((8, 16), ImageLook(), None, "height must be a multiple of 16 px for this model, got 8; use 16"),
        (WIDE, ImageLook(ImageMap.ROTATE_90), None, "'rotate 90' needs a square picture, got 16x32"),
        (WIDE, ImageLook(ImageMap.JIGSAW), None, "'jigsaw' needs a square"),
        (SQUARE, ImageLook(ImageMap.PATCHES, amount=5), None, "into 5 patches along a side; use 1, 2, 4, 8, 16"),
        (SQUARE, ImageLook(ImageMap.JIGSAW, amount=3), None, "into 3 pieces"),
        (SQUARE, ImageLook(), (16, 32), "canvas is 128x256 px .* 128x128 px; give both the same size"),
    ],
)
def test_sizes_that_do_not_fit(size_px, look: ImageLook, canvas, message: str):
    with pytest.raises(ValueError, match=message):
        ImageViews(size_px, (look,)).resolve(canvas, CellGrid(8, 2))
