"""Letters and figures of the drawings, in the font that comes with PIL."""

import math
import unicodedata

from PIL import ImageDraw, ImageFont

from .colours import Colour

LEAST_PX = 9
"""Smaller letters cannot be read."""
LINE = 1.4
"""Height of a line over that of its font."""


def font_of(size_px: float) -> ImageFont.FreeTypeFont:
    """PIL's own font at that size, LEAST_PX at least."""
    return ImageFont.load_default(max(size_px, LEAST_PX))


def fitted(text: str, room_px: float, size_px: float) -> ImageFont.FreeTypeFont:
    """The font at size_px, or as much smaller as the text needs to fit into room_px."""
    font = font_of(size_px)
    return font_of(math.floor(size_px * min(1.0, room_px / max(font.getlength(text), 1.0))))


def fits(text: str, room_px: float, size_px: float) -> bool:
    """Whether the text can be read in room_px at that size."""
    return size_px >= LEAST_PX and font_of(size_px).getlength(text) <= room_px


def write(
    draw: ImageDraw.ImageDraw,
    place: tuple[float, float],
    text: str,
    font: ImageFont.FreeTypeFont,
    colour: Colour,
    anchor: str = "mm",
) -> None:
    """Text at a place; anchor as in PIL, by default the text's middle."""
    draw.text(place, text, fill=colour, font=font, anchor=anchor)


def decimals_for(largest: float) -> int:
    """Decimals that leave two significant digits to figures up to the largest, two at least and six at most."""
    if largest <= 0:
        return 2
    return min(max(1 - math.floor(math.log10(largest)), 2), 6)


def round_top(largest: float) -> float:
    """A scale's upper end at or above ``largest``, whose quarters have two significant digits at most."""
    power = 10.0 ** math.floor(math.log10(largest))
    return next(top * power for top in (1.2, 2, 4, 6, 8, 12) if top * power >= largest)


def figure(value: float, decimals: int, short: bool = False) -> str:
    """A distance in words; short leaves out the zero before the point."""
    text = f"{value:.{decimals}f}"
    return text[1:] if short and text.startswith("0.") else text


def printable(name: str, instead: str) -> str:
    """A name in the letters that the font has: without accents; ``instead`` where nothing remains."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    return " ".join(plain.split()) or instead
