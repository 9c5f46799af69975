"""The panorama with its windows outlined and numbered, and those that disagree marked."""

import math

from PIL import Image, ImageDraw, ImageEnhance

from .colours import GROUND, INK, QUIET, TEXT, WARNING
from .lettering import LINE, decimals_for, figure, fits, fitted, font_of, write
from .panorama import Box, Panorama

LEAST_LENGTH_PX = 768
"""Shorter panoramas are enlarged: their letters would be too small."""
LETTERS = (44, 110)
"""The title's letters are the panorama's length over the first, those of narrow windows at least over the second."""
DIMMED = 0.42
LEGEND = "below: mean distance to the others"


def draw_windows(panorama: Panorama, title: str) -> Image.Image:
    """The panorama under a title, its windows numbered from 1 with their mean distance to the others.

    Windows that disagree keep their light and have a thick frame, and "differs" stands with their number; the
    others are dimmed where there is one. The picture's size depends on the panorama's size only.
    """
    scale = max(1.0, LEAST_LENGTH_PX / panorama.length)
    boxes = [_scaled(box, scale) for box in panorama.boxes]
    picture = _marked(panorama, boxes, tuple(round(scale * side) for side in panorama.picture.size))
    size = max(picture.size) / LETTERS[0]
    line = round(LINE * size)
    right, below = (0, 3 * line) if panorama.wide else (round(7 * size), 0)
    sheet = Image.new("RGB", (picture.width + right, 2 * line + picture.height + below), GROUND)
    sheet.paste(picture, (0, 2 * line))
    draw = ImageDraw.Draw(sheet)
    means_are_told = _labels(draw, panorama, boxes, 2 * line)
    _title(draw, title, sheet.width, size, means_are_told)
    return sheet


def _scaled(box: Box, scale: float) -> Box:
    left, top, right, bottom = (round(scale * edge) for edge in box)
    return left, top, right, bottom


def _title(draw: ImageDraw.ImageDraw, title: str, width: int, size: float, legend: bool) -> None:
    """The title, and what the numbers are where there is room for it."""
    middle = LINE * size
    write(draw, (size / 2, middle), title, fitted(title, width - size, size), TEXT, "lm")
    if legend and fits(title + LEGEND, width - 4 * size, size):
        write(draw, (width - size / 2, middle), LEGEND, font_of(0.85 * size), QUIET, "rm")


def _marked(panorama: Panorama, boxes: list[Box], size_px: tuple[int, ...]) -> Image.Image:
    """The picture, enlarged to size_px, with a frame around each window."""
    bright = panorama.picture.resize(size_px, Image.Resampling.LANCZOS)
    picture = ImageEnhance.Brightness(bright).enhance(DIMMED) if panorama.odd else bright.copy()
    draw = ImageDraw.Draw(picture)
    left, top, right, bottom = boxes[0]
    side = min(right - left, bottom - top)
    thin, thick = max(1, max(size_px) // 768), max(4, min(max(size_px) // 160, side // 16))
    for k, (left, top, right, bottom) in enumerate(boxes):
        if k not in panorama.odd:
            draw.rectangle((left, top, right - 1, bottom - 1), outline=TEXT, width=thin)
    for k in panorama.odd:
        left, top, right, bottom = boxes[k]
        picture.paste(bright.crop(boxes[k]), (left, top))
        draw.rectangle((left, top, right - 1, bottom - 1), outline=WARNING, width=thick)
    return picture


def _labels(draw: ImageDraw.ImageDraw, panorama: Panorama, boxes: list[Box], above: int) -> bool:
    """Numbers and mean distances below the windows, or beside them where the panorama is tall.

    Whether there is room for the distances.
    """
    left, top, right, bottom = boxes[0]
    largest, least = (max(panorama.length, LEAST_LENGTH_PX) / part for part in LETTERS)
    decimals = decimals_for(max(panorama.means))
    if panorama.wide:
        size = max(min(largest, (right - left) / 2.6), least)
        step, needed = right - left, font_of(size).getlength(f"{len(boxes)}!") + size / 2
        room = step - 4
    else:
        size = max(min(largest, (bottom - top) / (2.2 * LINE)), least)
        step, needed = bottom - top, LINE * size
        room = 6.5 * largest
    means_fit = len(boxes) > 1 and needed <= step and fits(figure(max(panorama.means), decimals), room, size)
    for k in panorama.numbered(math.ceil(needed / step)):
        odd, (left, top, right, bottom) = k in panorama.odd, boxes[k]
        x, y = (left + right) / 2, above + bottom + LINE * size
        if not panorama.wide:
            x, y = right + 3.5 * largest, above + (top + bottom - LINE * size) / 2
        _number(draw, k + 1, odd, (x, y), max(room, needed), size)
        if means_fit:
            mean = figure(panorama.means[k], decimals)
            write(draw, (x, y + LINE * size), mean, font_of(size), WARNING if odd else QUIET)
    return means_fit


def _number(
    draw: ImageDraw.ImageDraw, number: int, odd: bool, place: tuple[float, float], room: float, size: float
) -> None:
    """A window's number, on a bright ground where the window disagrees."""
    words = [f"{number} differs", f"{number}!"] if odd else [f"{number}"]
    text = next((text for text in words if fits(text, room, size)), "")
    if odd and text:
        (x, y), half = place, min(font_of(size).getlength(text) / 2 + size / 3, room / 2)
        ground = (x - half, y - LINE * size / 2, x + half, y + LINE * size / 2)
        draw.rounded_rectangle(ground, size / 3, fill=WARNING)
    write(draw, place, text, font_of(size), INK if odd else TEXT)
