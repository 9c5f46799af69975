"""A test card: squares with numbers and arrows, by which one sees what a view does to a picture."""

import colorsys

from PIL import Image, ImageDraw

from .colours import INK, TEXT, readable_on
from .lettering import LEAST_PX, fitted, write

SQUARES = 4
"""Along the shorter side."""
LETTERS, ARROW, LINE = 0.4, 0.16, 0.02
"""Height of the numbers, half an arrow's length and the width of lines, in sides of a square."""


def draw_test_card(width: int, height: int) -> Image.Image:
    """Squares counted by rows from 1, arrows up. Hues go round from left to right, brightness falls downwards."""
    columns, rows = (max(round(SQUARES * side / min(width, height)), 1) for side in (width, height))
    card = Image.new("RGB", (width, height))
    draw = ImageDraw.Draw(card)
    for number in range(rows * columns):
        row, column = divmod(number, columns)
        box = (
            column * width // columns,
            row * height // rows,
            (column + 1) * width // columns - 1,
            (row + 1) * height // rows - 1,
        )
        _square(draw, box, str(number + 1), column / columns, row / rows)
    _circle(draw, width, height)
    return card


def _square(draw: ImageDraw.ImageDraw, box: tuple[int, int, int, int], number: str, across: float, down: float) -> None:
    colour = tuple(round(255 * part) for part in colorsys.hsv_to_rgb(0.85 * across, 0.5, 0.95 - 0.65 * down))
    left, top, right, bottom = box
    side, middle = min(right - left, bottom - top) + 1, (left + right) / 2
    letters = readable_on(colour)
    draw.rectangle(box, fill=colour, outline=INK if letters == TEXT else TEXT, width=max(round(LINE * side / 2), 1))
    if LETTERS * side >= LEAST_PX:
        write(draw, (middle, top + 0.66 * (bottom - top)), number, fitted(number, 0.8 * side, LETTERS * side), letters)
    _arrow(draw, (middle, top + 0.27 * (bottom - top)), ARROW * side, letters)


def _arrow(draw: ImageDraw.ImageDraw, place: tuple[float, float], half: float, colour: tuple[int, int, int]) -> None:
    x, y = place
    draw.rectangle((x - half / 4, y, x + half / 4, y + half), fill=colour)
    draw.polygon(((x, y - half), (x - half * 0.8, y + half / 8), (x + half * 0.8, y + half / 8)), fill=colour)


def _circle(draw: ImageDraw.ImageDraw, width: int, height: int) -> None:
    """As large as fits, so that a turned disc is seen by it."""
    radius = min(width, height) / 2 - 1
    x, y = width / 2, height / 2
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), outline=TEXT, width=max(round(radius / 100), 1))
