"""The drawings of the evaluation nodes: their scale, their letters, what stands where."""

import itertools
import math

import pytest
from PIL import Image


@pytest.fixture
def drawing(module_of):
    """drawing("colours") -> that module of nodes/drawing."""
    return lambda name: module_of(f"drawing.{name}")


@pytest.fixture
def panorama(drawing):
    """panorama(levels, odd, tall) -> grey stripes of 64 px whose distance is that of their levels (0 to 255)."""

    def make(levels: list[int], odd: tuple[int, ...] = (), tall: bool = False, side: int = 64):
        picture = Image.new("RGB", (side * len(levels), side))
        for k, level in enumerate(levels):
            picture.paste((level,) * 3, (side * k, 0, side * (k + 1), side))
        boxes = [(side * k, 0, side * (k + 1), side) for k in range(len(levels))]
        if tall:
            picture = picture.transpose(Image.Transpose.TRANSPOSE)
            boxes = [(top, left, bottom, right) for left, top, right, bottom in boxes]
        pairs = tuple(tuple(abs(a - b) / 255 for b in levels) for a in levels)
        means = tuple(sum(row) / max(len(levels) - 1, 1) for row in pairs)
        return drawing("panorama").Panorama(picture, tuple(boxes), pairs, means, odd, 0.1, 1.0)

    return make


def lab(colour: tuple[int, int, int]) -> tuple[float, float, float]:
    """CIELAB (D65) of an sRGB colour, by IEC 61966-2-1 and CIE 15."""
    r, g, b = ((v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4) for v in (c / 255 for c in colour))
    x = (0.4124 * r + 0.3576 * g + 0.1805 * b) / 0.9505
    y = 0.2126 * r + 0.7152 * g + 0.0722 * b
    z = (0.0193 * r + 0.1192 * g + 0.9505 * b) / 1.089
    fx, fy, fz = (t ** (1 / 3) if t > 216 / 24389 else (24389 / 27 * t + 16) / 116 for t in (x, y, z))
    return 116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)


def contrast(one: tuple[int, int, int], other: tuple[int, int, int]) -> float:
    """Contrast of two colours as in WCAG 2."""
    light, dark = sorted((((lab(colour)[0] + 16) / 116) ** 3 for colour in (one, other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


class TestScale:
    """The colours that stand for distances."""

    def test_steps_look_alike(self, drawing):
        places = [lab(colour) for colour in drawing("colours").SCALE]
        steps = [math.dist(a, b) for a, b in itertools.pairwise(places)]
        assert max(steps) < 1.25 * min(steps)

    def test_lightness_rises_all_the_way(self, drawing):
        """So that it reads without hues: for the colour-blind and in print."""
        light = [lab(drawing("colours").colour_at(k / 200))[0] for k in range(201)]
        assert all(b > a - 0.6 for a, b in itertools.pairwise(light)), "rounding to whole sRGB values only"
        assert light[0] < 20
        assert light[-1] > 90

    def test_runs_through_its_entries_and_stays_between_its_ends(self, drawing):
        colours = drawing("colours")
        last = len(colours.SCALE) - 1
        assert [colours.colour_at(k / last) for k in range(last + 1)] == list(colours.SCALE)
        assert colours.colour_at(-1.0) == colours.SCALE[0]
        assert colours.colour_at(2.0) == colours.SCALE[-1]

    def test_letters_can_be_read_on_every_colour(self, drawing):
        colours = drawing("colours")
        for k in range(101):
            ground = colours.colour_at(k / 100)
            assert contrast(ground, colours.readable_on(ground)) > 3.5
        for letters, ground in (("TEXT", "GROUND"), ("QUIET", "GROUND"), ("WARNING", "GROUND"), ("TEXT", "PANEL")):
            assert contrast(getattr(colours, letters), getattr(colours, ground)) > 4.5
        assert contrast(colours.INK, colours.WARNING) > 4.5
        assert contrast(colours.INK, colours.GOOD) > 4.5


class TestLetters:
    """Figures and names."""

    @pytest.mark.parametrize(
        ("largest", "decimals"), [(1.2, 2), (0.4, 2), (0.12, 2), (0.04, 3), (0.003, 4), (2e-9, 6), (0.0, 2)]
    )
    def test_two_digits_say_something(self, drawing, largest, decimals):
        assert drawing("lettering").decimals_for(largest) == decimals

    def test_short_figures(self, drawing):
        figure = drawing("lettering").figure
        assert [figure(0.314, 2), figure(0.314, 2, short=True), figure(1.25, 2, short=True)] == ["0.31", ".31", "1.25"]

    @pytest.mark.parametrize(
        ("largest", "top"), [(0.1, 0.12), (0.13, 0.2), (0.21, 0.4), (0.7, 0.8), (0.9, 1.2), (1.0, 1.2), (0.0031, 0.004)]
    )
    def test_scales_end_at_round_numbers(self, drawing, largest, top):
        assert drawing("lettering").round_top(largest) == pytest.approx(top)

    @pytest.mark.parametrize(
        ("name", "printed"), [("weight 20", "weight 20"), ("\u00e9t\u00e9 \n 2", "ete 2"), ("\u7e4b\u304e", "A")]
    )
    def test_names_in_the_fonts_letters(self, drawing, name, printed):
        assert drawing("lettering").printable(name, "A") == printed

    def test_long_names_are_made_to_fit(self, drawing):
        lettering = drawing("lettering")
        assert lettering.fitted("a name of many words", 200, 40).getlength("a name of many words") <= 200
        assert lettering.fitted("short", 200, 40).size == 40


class TestHeatMap:
    """Squares where they belong, in the scale's colours."""

    LEVELS = (0, 51, 204, 255)
    CELL, LEFT, TOP = 120, 16 + 34 + 120, 64 + 34 + 120  # largest cell; edge, number and thumbnail before it

    def corner(self, sheet: Image.Image, row: int, column: int) -> tuple[int, int, int]:
        """Colour of a square, beside its letters."""
        return sheet.getpixel((self.LEFT + self.CELL * column + 6, self.TOP + self.CELL * row + 6))

    def test_every_pair_has_its_colour(self, drawing, panorama):
        colours, seen = drawing("colours"), panorama(self.LEVELS)
        sheet = drawing("heat_map").draw_heat_map(seen, 1.2, "all")
        for row, column in itertools.product(range(4), repeat=2):
            wanted = colours.PANEL if row == column else colours.colour_at(seen.pairs[row][column] / 1.2)
            assert self.corner(sheet, row, column) == wanted

    def test_windows_stand_along_both_edges(self, drawing, panorama):
        sheet = drawing("heat_map").draw_heat_map(panorama(self.LEVELS), 1.0, "all")
        for k, level in enumerate(self.LEVELS):
            middle = self.CELL * k + self.CELL // 2
            assert sheet.getpixel((self.LEFT + middle, self.TOP - 60)) == (level,) * 3
            assert sheet.getpixel((self.LEFT - 60, self.TOP + middle)) == (level,) * 3

    def test_those_that_disagree_are_marked_on_both_edges(self, drawing, panorama):
        warning = drawing("colours").WARNING
        plain, marked = (
            drawing("heat_map").draw_heat_map(panorama(self.LEVELS, odd), 1.0, "all") for odd in ((), (2,))
        )
        assert plain.size == marked.size
        middle = self.CELL * 2 + self.CELL // 2
        for place in ((self.LEFT + middle - 13, self.TOP - 137), (self.LEFT - 137 - 13, self.TOP + middle)):
            assert plain.getpixel(place) != warning
            assert marked.getpixel(place) == warning

    @pytest.mark.parametrize("count", [1, 2, 6, 40, 200])
    @pytest.mark.parametrize("tall", [False, True])
    def test_any_number_of_windows(self, drawing, panorama, count, tall):
        levels = [k * 255 // count for k in range(count)]
        seen = panorama(levels, tuple(range(0, count, 7))[1:], tall, side=8)
        sheet = drawing("heat_map").draw_heat_map(seen, 1.0, "all")
        assert max(sheet.size) < 1100


class TestWindows:
    """The panorama with its windows marked."""

    @pytest.mark.parametrize("tall", [False, True])
    def test_nothing_is_dimmed_where_all_agree(self, drawing, panorama, tall):
        seen = panorama([200] * 12, tall=tall)
        sheet = drawing("windows").draw_windows(seen, "title")
        start = sheet.height - 768 if tall else 2 * (sheet.height - 64) // 5
        assert sheet.getpixel((32, start + 96) if tall else (96, start + 32)) == (200,) * 3

    def test_small_panoramas_are_enlarged_and_large_ones_kept(self, drawing, panorama):
        draw = drawing("windows").draw_windows
        assert draw(panorama([9, 9], side=32), "title").width == 768
        assert draw(panorama([9, 9], side=512), "title").width == 1024

    def test_size_does_not_depend_on_what_disagrees(self, drawing, panorama):
        draw = drawing("windows").draw_windows
        for tall in (False, True):
            sizes = {draw(panorama([9, 99, 9], odd, tall), "t" * 9).size for odd in ((), (1,), (0, 2))}
            assert len(sizes) == 1

    @pytest.mark.parametrize(
        ("count", "every", "odd", "numbered"),
        [(5, 1, (), (0, 1, 2, 3, 4)), (9, 3, (), (0, 3, 6)), (9, 3, (4,), (0, 4)), (9, 3, (4, 5, 8), (0, 4, 8))],
    )
    def test_which_are_numbered_where_room_is_short(self, panorama, count, every, odd, numbered):
        assert panorama([0] * count, odd, side=8).numbered(every) == numbered


class TestComparison:
    """Two in one picture."""

    def sides(self, drawing, first, second, better: int):
        side = drawing("comparison").Side
        names = ("intra distance 0.1234", "seam 1.23")
        return (side(seen, "name " * 12, names, k == better) for k, seen in enumerate((first, second)))

    @pytest.mark.parametrize("tall", [False, True])
    def test_the_better_one_has_the_frame(self, drawing, panorama, tall):
        draw, good = drawing("comparison").draw_comparison, drawing("colours").GOOD
        both = panorama([50] * 12, tall=tall), panorama([60] * 12, tall=tall)
        plain, first, second = (draw(*self.sides(drawing, *both, better)) for better in (2, 0, 1))
        assert plain.size == first.size == second.size
        counts = [[self.count(half, good) for half in self.halves(sheet, tall)] for sheet in (plain, first, second)]
        assert counts[0] == [0, 0]
        assert counts[1][0] > 2000 > counts[1][1] == 0
        assert counts[2][1] > 2000 > counts[2][0] == 0

    @staticmethod
    def halves(sheet: Image.Image, tall: bool) -> tuple[Image.Image, Image.Image]:
        width, height = sheet.size
        cut = (width // 2, height) if tall else (width, height // 2)
        return sheet.crop((0, 0, *cut)), sheet.crop((cut[0] if tall else 0, 0 if tall else cut[1], width, height))

    @staticmethod
    def count(picture: Image.Image, colour: tuple[int, int, int]) -> int:
        return sum(number for number, found in picture.getcolors(1 << 20) if found == colour)
