"""The heat map: how different each pair of windows is, as a picture with its windows and a scale."""

from PIL import Image, ImageDraw

from .colours import GROUND, INK, PANEL, QUIET, TEXT, WARNING, colour_at, readable_on
from .lettering import decimals_for, figure, fits, fitted, font_of, write
from .panorama import Panorama

GRID_PX = 600
CELL_PX = (2, 120)
"""Smallest and largest side of a pair's square."""
THUMBNAIL_PX = 24
"""A window is not recognised below that."""
EDGE_PX, NUMBER_PX, TITLE_PX = 16, 34, 64
BAR_PX, TICKS = 24, 5
LEAST_LENGTH_PX = 240
"""The scale's length where the grid is smaller."""
Size = tuple[int, int]


def draw_heat_map(panorama: Panorama, largest: float, subtitle: str) -> Image.Image:
    """The panorama's pairs on a scale from 0 to ``largest``, which is above 0; its size depends on the windows only.

    Windows are numbered from 1 on both axes, with a small picture of each; those that disagree have their number on
    a bright ground and a point behind it. Distances stand in their squares where they can be read.
    """
    count = len(panorama.boxes)
    cell = min(max(GRID_PX // count, CELL_PX[0]), CELL_PX[1])
    small = _thumbnail_size(panorama, cell)
    left, top = EDGE_PX + NUMBER_PX + small[0], TITLE_PX + NUMBER_PX + small[1]
    length = max(cell * count, LEAST_LENGTH_PX)
    sheet = Image.new("RGB", (left + length + 4 * EDGE_PX + BAR_PX + 70, top + length + EDGE_PX), GROUND)
    draw = ImageDraw.Draw(sheet)
    _title(draw, sheet.width, subtitle)
    _numbers(draw, panorama, cell, small, (left, top))
    _thumbnails(sheet, panorama, cell, small, (left, top))
    if count == 1:
        _alone(draw, cell, (left, top))
        return sheet
    _cells(draw, panorama, largest, cell, (left, top))
    _scale(draw, largest, (left + length + 2 * EDGE_PX, top, length))
    return sheet


def _thumbnail_size(panorama: Panorama, cell: int) -> tuple[int, int]:
    """Width and height of a window's small picture with a little room around it; nothing in small squares."""
    if cell < THUMBNAIL_PX:
        return 0, 0
    left, top, right, bottom = panorama.boxes[0]
    scale = cell / max(right - left, bottom - top)
    return max(round(scale * (right - left)), 6), max(round(scale * (bottom - top)), 6)


def _title(draw: ImageDraw.ImageDraw, width: int, subtitle: str) -> None:
    room = width - 2 * EDGE_PX
    write(draw, (EDGE_PX, 22), "Distance between windows", font_of(20), TEXT, "lm")
    write(draw, (EDGE_PX, 48), subtitle, fitted(subtitle, room, 15), QUIET, "lm")


def _thumbnails(sheet: Image.Image, panorama: Panorama, cell: int, size: Size, corner: Size) -> None:
    """The windows along the top and the left."""
    (left, top), (width, height) = corner, size
    for k in range(len(panorama.boxes) if width else 0):
        small = panorama.window(k).resize((width - 4, height - 4), Image.Resampling.LANCZOS)
        sheet.paste(small, (left + cell * k + (cell - small.width) // 2, top - height + 2))
        sheet.paste(small, (left - width + 2, top + cell * k + (cell - small.height) // 2))


def _numbers(draw: ImageDraw.ImageDraw, panorama: Panorama, cell: int, small: Size, corner: Size) -> None:
    """Numbers from 1 along the top and the left, as many as there is room for and those that disagree."""
    left, top = corner
    for k in panorama.numbered(-(-NUMBER_PX // cell)):
        middle, odd = cell * k + cell / 2, k in panorama.odd
        _number(draw, k, (left + middle, top - small[1] - NUMBER_PX / 2), odd)
        _number(draw, k, (left - small[0] - NUMBER_PX / 2, top + middle), odd)


def _number(draw: ImageDraw.ImageDraw, index: int, place: tuple[float, float], odd: bool) -> None:
    text = f"{index + 1}!" if odd else f"{index + 1}"
    if odd:
        x, y = place
        draw.rounded_rectangle((x - 16, y - 12, x + 16, y + 12), 5, fill=WARNING)
    write(draw, place, text, fitted(text, 28, 17), INK if odd else TEXT)


def _alone(draw: ImageDraw.ImageDraw, cell: int, corner: Size) -> None:
    left, top = corner
    draw.rectangle((left, top, left + cell - 1, top + cell - 1), fill=PANEL)
    for k, line in enumerate(("One window only:", "nothing to compare.", "Choose a smaller", "window_size.")):
        write(draw, (left + cell + 14, top + 14 + 24 * k), line, font_of(16), TEXT, "lm")


def _cells(draw: ImageDraw.ImageDraw, panorama: Panorama, largest: float, cell: int, corner: Size) -> None:
    """A square for each pair; the diagonal, a window with itself, stays empty."""
    left, top = corner
    size, decimals = min(cell / 3.6, 20), decimals_for(largest)
    font = font_of(size) if fits(figure(largest, decimals, short=True), cell - 4, size) else None
    gap = 1 if cell >= 8 else 0
    for row, distances in enumerate(panorama.pairs):
        for column, distance in enumerate(distances):
            colour = PANEL if row == column else colour_at(distance / largest)
            x, y = left + cell * column, top + cell * row
            draw.rectangle((x, y, x + cell - 1 - gap, y + cell - 1 - gap), fill=colour)
            if font and row != column:
                text = figure(distance, decimals, short=True)
                write(draw, (x + cell / 2, y + cell / 2), text, font, readable_on(colour))


def _scale(draw: ImageDraw.ImageDraw, largest: float, place: tuple[int, int, int]) -> None:
    """The colours from 0 (below) to ``largest`` (above) with their numbers; place: left, top, length."""
    left, top, length = place
    bottom = top + length - 1
    for y in range(length):
        draw.line((left, bottom - y, left + BAR_PX - 1, bottom - y), fill=colour_at(y / (length - 1)))
    for k in range(TICKS):
        part = k / (TICKS - 1)
        y = bottom - part * (length - 1)
        draw.line((left + BAR_PX, y, left + BAR_PX + 5, y), fill=QUIET)
        value = figure(part * largest, decimals_for(largest))
        write(draw, (left + BAR_PX + 10, y), value, fitted(value, 64, 15), TEXT, "lm")
    write(draw, (left + BAR_PX / 2, top - 18), "different", font_of(14), QUIET)
    write(draw, (left + BAR_PX + 10, bottom - 24), "alike", font_of(14), QUIET, "lm")
