"""Two panoramas in one picture, each with its name and figures."""

from dataclasses import dataclass

from PIL import Image, ImageDraw

from .colours import GOOD, GROUND, INK, PANEL, TEXT
from .lettering import LINE, fitted, font_of, write
from .panorama import Panorama

LETTERS = 44
"""Letters are the pictures' length over this."""
LEAST_LENGTH_PX = 768
LEAST_COLUMN = 11
"""Width of a tall panorama's column at least, in letters."""
BADGE = "more coherent"


@dataclass(frozen=True)
class Side:
    """One of the two: its name and figures in words, and whether it is the better one."""

    panorama: Panorama
    name: str
    figures: tuple[str, ...]
    better: bool


def draw_comparison(first: Side, second: Side) -> Image.Image:
    """The two above one another; beside one another where both are tall. Their longer sides become alike.

    The better one has a badge in words and a frame.
    """
    sides = (first, second)
    length = max(LEAST_LENGTH_PX, *(side.panorama.length for side in sides))
    tall = not any(side.panorama.wide for side in sides)
    panels = [_column(side, length) if tall else _row(side, length) for side in sides]
    gap = round(length / LETTERS / 2)
    if tall:
        sheet = Image.new("RGB", (sum(p.width for p in panels) + gap, max(p.height for p in panels)), GROUND)
        sheet.paste(panels[1], (panels[0].width + gap, 0))
    else:
        sheet = Image.new("RGB", (max(p.width for p in panels), sum(p.height for p in panels) + gap), GROUND)
        sheet.paste(panels[1], (0, panels[0].height + gap))
    sheet.paste(panels[0], (0, 0))
    return sheet


def _scaled(side: Side, length: int) -> Image.Image:
    """Its picture with a longer side of ``length``, framed where it is the better one."""
    scale = length / side.panorama.length
    width, height = (max(round(scale * edge), 1) for edge in side.panorama.picture.size)
    picture = side.panorama.picture.resize((width, height), Image.Resampling.LANCZOS)
    if side.better:
        ImageDraw.Draw(picture).rectangle((0, 0, width - 1, height - 1), outline=GOOD, width=max(3, length // 256))
    return picture


def _row(side: Side, length: int) -> Image.Image:
    """Caption bar and picture of a wide panorama, ``length`` wide."""
    picture, size = _scaled(side, length), length / LETTERS
    bar = round(1.8 * LINE * size)
    panel = Image.new("RGB", (length, bar + picture.height), PANEL)
    panel.paste(picture, ((length - picture.width) // 2, bar))
    draw = ImageDraw.Draw(panel)
    badge = font_of(size).getlength(BADGE) + 2 * size
    figures = "    ".join(side.figures)
    said = font_of(size).getlength(figures)
    room = length - said - 3 * size - (badge if side.better else 0)
    write(draw, (size / 2, bar / 2), side.name, fitted(side.name, room, 1.3 * size), TEXT, "lm")
    write(draw, (length - size / 2, bar / 2), figures, font_of(size), TEXT, "rm")
    if side.better:
        _badge(draw, (length - said - 1.5 * size - badge / 2, bar / 2), badge, size)
    return panel


def _column(side: Side, length: int) -> Image.Image:
    """The same of a tall panorama: captions in lines above the picture, ``length`` high."""
    picture, size = _scaled(side, length), length / LETTERS
    line = LINE * size
    width = max(picture.width, round(LEAST_COLUMN * size))
    bar = round((len(side.figures) + 3) * line)
    panel = Image.new("RGB", (width, bar + picture.height), PANEL)
    panel.paste(picture, ((width - picture.width) // 2, bar))
    draw, room = ImageDraw.Draw(panel), width - size
    write(draw, (width / 2, line), side.name, fitted(side.name, room, 1.3 * size), TEXT)
    for k, words in enumerate(side.figures):
        write(draw, (width / 2, (k + 2) * line), words, fitted(words, room, size), TEXT)
    if side.better:
        _badge(draw, (width / 2, bar - line / 1.2), min(room, 10 * size), size)
    return panel


def _badge(draw: ImageDraw.ImageDraw, place: tuple[float, float], width: float, size: float) -> None:
    x, y = place
    half = LINE * size / 1.8
    draw.rounded_rectangle((x - width / 2, y - half, x + width / 2, y + half), half, fill=GOOD)
    write(draw, place, BADGE, fitted(BADGE, width - size, size), INK)
