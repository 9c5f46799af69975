"""How a picture turns into a view of it: exact ends, and on the way what turns, flips and pieces really do."""

import math

import pytest
import torch

from syncdiffusion_core.canvases.images import ImageLook, ImageMap, seen
from syncdiffusion_core.canvases.pieces import blocks, jigsaw_pieces
from syncdiffusion_core.canvases.transitions import (
    DIMMED,
    QUARTERS,
    SHADE,
    Easing,
    backdrop,
    motion,
    pictures_between,
)

CELLS = (8, 8)


def a_picture(height: int = 32, width: int = 32) -> torch.Tensor:
    return torch.rand(3, height, width, generator=torch.Generator().manual_seed(0))


def look_of(kind: ImageMap, **settings: object) -> ImageLook:
    return ImageLook(kind, picture=a_picture() if kind is ImageMap.FROM_PICTURE else None, **settings)


def plain(value: float, height: int = 32, width: int = 32) -> torch.Tensor:
    return torch.full((3, height, width), value)


@pytest.mark.parametrize("kind", ImageMap)
@pytest.mark.parametrize("easing", Easing)
def test_the_ends_are_exact_and_what_is_between_is_a_picture(kind, easing):
    picture, look = a_picture(), look_of(kind)
    frames = list(pictures_between(picture, look, CELLS, 6, easing))
    assert len(frames) == 6
    assert torch.equal(frames[0], picture)
    assert torch.equal(frames[-1], seen(look, picture[None], CELLS)[0])
    assert all(frame.shape == picture.shape and frame.dtype == picture.dtype for frame in frames)
    assert all(frame.min() >= 0 and frame.max() <= 1 for frame in frames)


@pytest.mark.parametrize("kind", ImageMap)
def test_the_motion_meets_both_ends(kind):
    """Each is drawn by its own means, so that an end which is drawn elsewhere would be a jump of the last frame."""
    picture, look = a_picture(), look_of(kind, angle_deg=110.0)
    move = motion(picture, look, CELLS)
    torch.testing.assert_close(move(0.0), picture, atol=1e-5, rtol=0)
    torch.testing.assert_close(move(1.0), seen(look, picture[None], CELLS)[0], atol=1e-5, rtol=0)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("pieces", [1, 2, 4, 8])
def test_every_jigsaw_piece_arrives_where_the_view_has_it(pieces, seed):
    picture, look = a_picture(), ImageLook(ImageMap.JIGSAW, seed=seed, amount=pieces)
    assert torch.equal(motion(picture, look, CELLS)(1.0), seen(look, picture[None], CELLS)[0])


@pytest.mark.parametrize("kind", [kind for kind in ImageMap if kind is not ImageMap.JIGSAW and "90" not in kind.value])
def test_pictures_that_are_not_square_meet_both_ends(kind):
    if kind is ImageMap.ROTATE_270:
        return
    picture, look, cells = a_picture(32, 64), look_of(kind, seed=1), (8, 16)
    move = motion(picture, look, cells)
    torch.testing.assert_close(move(0.0), picture, atol=1e-5, rtol=0)
    torch.testing.assert_close(move(1.0), seen(look, picture[None], cells)[0], atol=1e-5, rtol=0)


def test_easing():
    assert [Easing.EVEN(part) for part in (0, 0.25, 1)] == [0, 0.25, 1]
    assert [Easing.SMOOTH(part) for part in (0, 0.25, 0.5, 1)] == [0, 0.15625, 0.5, 1]


def test_frames_follow_the_easing():
    look = ImageLook(ImageMap.NEGATE)
    for easing, quarter in ((Easing.EVEN, 0.25), (Easing.SMOOTH, 0.15625)):
        frames = list(pictures_between(plain(0.0), look, CELLS, 5, easing))
        torch.testing.assert_close(frames[1], plain(quarter))


def test_a_picture_that_cannot_be_cut_is_refused():
    with pytest.raises(ValueError, match="cannot cut"):
        list(pictures_between(a_picture(), ImageLook(ImageMap.PATCHES, amount=3), CELLS, 5, Easing.EVEN))


class TestTurning:
    @pytest.mark.parametrize(("kind", "quadrant"), [(ImageMap.ROTATE_90, 1), (ImageMap.ROTATE_270, 0)])
    def test_the_shorter_way_round(self, kind, quadrant):
        """A light at the top is half way at the upper right of a clockwise turn, at the upper left of the other."""
        picture = plain(0.0)
        picture[:, :6, 13:19] = 1
        half = motion(picture, ImageLook(kind), CELLS)(0.5)[0]
        quarters = [half[:16, :16], half[:16, 16:], half[16:, :16], half[16:, 16:]]
        assert max(range(4), key=lambda k: quarters[k].max()) == quadrant

    @pytest.mark.parametrize("size", [(32, 32), (32, 64), (64, 32)])
    def test_corners_stay_in_the_frame(self, size):
        """A frame in the picture's outline is never cut: all of it is somewhere in every picture of the way."""
        kind = ImageMap.ROTATE_180
        picture = plain(1.0, *size)
        cells = (size[0] // 4, size[1] // 4)
        for part in (0.1, 0.25, 0.4, 0.5, 0.8):
            drawn = motion(picture, ImageLook(kind), cells)(part)[0]
            behind = backdrop(picture)[0]
            shown_share = ((drawn - behind) / (1 - behind)).mean().item()
            angle = part * QUARTERS[kind] * math.pi / 2
            ratio = max(size) / min(size)
            worst = min(angle, math.pi - angle, math.atan(ratio))
            larger = math.cos(worst) + ratio * math.sin(worst)
            assert shown_share == pytest.approx(1 / larger**2, abs=0.02)  # the whole area, scaled


class TestTurningOver:
    def test_half_way_only_the_backdrop_is_seen(self):
        picture = a_picture()
        half = motion(picture, ImageLook(ImageMap.FLIP_LEFT_RIGHT), CELLS)(0.5)
        behind = torch.lerp(backdrop(picture), backdrop(picture.flip(2)), 0.5)
        torch.testing.assert_close(half, behind)

    def test_it_is_squeezed_around_its_middle_and_darker(self):
        """After a third of the way half as wide: cos 60 degrees."""
        drawn = motion(plain(1.0), ImageLook(ImageMap.FLIP_LEFT_RIGHT), CELLS)(1 / 3)
        torch.testing.assert_close(drawn[:, :, 9:23], plain(1 - SHADE / 2, 32, 14))
        torch.testing.assert_close(drawn[:, :, :8], plain(DIMMED, 32, 8))
        torch.testing.assert_close(drawn[:, :, 24:], plain(DIMMED, 32, 8))

    def test_upside_down_is_the_same_on_its_side(self):
        picture = a_picture()
        across = motion(picture, ImageLook(ImageMap.FLIP_LEFT_RIGHT), CELLS)(0.3)
        down = motion(picture.mT, ImageLook(ImageMap.FLIP_UPSIDE_DOWN), CELLS)(0.3)
        torch.testing.assert_close(down.mT, across)


def test_a_skew_slides_columns_around_the_bottom():
    """Column x of slope 2 goes 2x + 1 - .5 cells, rounded up; half way half of that."""
    picture = a_picture()
    half = motion(picture, ImageLook(ImageMap.SKEW, amount=2.0), CELLS)(0.5)
    for column, down in ((0, 0.5), (3, 3.5), (20, 20.5)):
        below, above = int(down), int(down) + 1
        expected = (picture[:, :, column].roll(below, 1) + picture[:, :, column].roll(above, 1)) / 2
        torch.testing.assert_close(half[:, :, column], expected)


class TestPieces:
    def test_two_halves_change_places(self):
        """A quarter of 16 cells is 4: the right half lies above, and the left one shows what is not under it."""
        picture, behind = a_picture(), plain(0.5)
        drawn = blocks(torch.tensor([[1, 0]]), (32, 32)).at(0.25, picture, behind)
        assert torch.equal(drawn[:, :, 12:28], picture[:, :, 16:])
        assert torch.equal(drawn[:, :, 4:12], picture[:, :, :8])
        assert torch.equal(drawn[:, :, :4], behind[:, :, :4])
        assert torch.equal(drawn[:, :, 28:], behind[:, :, 28:])

    def test_halves_of_a_pixel(self):
        picture, behind = a_picture(), plain(0.0)
        drawn = blocks(torch.tensor([[1, 0]]), (32, 32)).at(0.5 / 16, picture, behind)
        torch.testing.assert_close(drawn[:, :, 20], (picture[:, :, 20] + picture[:, :, 21]) / 2)
        torch.testing.assert_close(drawn[:, :, 31], picture[:, :, 31] / 2)

    def test_what_goes_further_lies_above(self):
        """Places 0, 1, 2 get the blocks 2, 0, 1: block 2 goes two places, the others one."""
        picture = torch.arange(3.0).repeat_interleave(8).expand(1, 8, 24)
        drawn = blocks(torch.tensor([[2, 0, 1]]), (8, 24)).at(0.5, picture, torch.full((1, 8, 24), 9.0))
        assert drawn[0, 0].tolist() == [9.0] * 4 + [0.0] * 4 + [2.0] * 8 + [1.0] * 4 + [9.0] * 4

    @pytest.mark.parametrize("part", [0.1, 0.25, 0.5, 0.77])
    def test_turning_pieces_have_no_holes(self, part):
        """One piece that turns by a quarter or more: its middle is covered at every angle."""
        pieces = next(p for p in (jigsaw_pieces(64, 1, seed) for seed in range(20)) if p.turns[0] in (1, 2, -1))
        drawn = pieces.at(part, torch.ones(1, 64, 64), torch.zeros(1, 64, 64))[0]
        at = torch.arange(64) - 31.5
        inside = at[:, None].square() + at.square() < 30**2
        assert bool((drawn[inside] == 1).all())

    @pytest.mark.parametrize("seed", range(3))
    def test_turns_are_the_shorter_ones(self, seed):
        assert set(jigsaw_pieces(32, 4, seed).turns.tolist()) <= {-1.0, 0.0, 1.0, 2.0}


def test_the_backdrop_is_dark_and_out_of_focus():
    torch.testing.assert_close(backdrop(plain(1.0)), plain(DIMMED))
    noise = a_picture(256, 256)
    assert backdrop(noise).std() < 0.1 * noise.std()
