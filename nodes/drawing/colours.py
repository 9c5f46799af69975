"""The colours of the drawings, and the scale that stands for distances."""

Colour = tuple[int, int, int]

GROUND: Colour = (24, 26, 31)
PANEL: Colour = (44, 47, 54)
TEXT: Colour = (238, 238, 238)
QUIET: Colour = (166, 171, 181)
WARNING: Colour = (255, 159, 28)
GOOD: Colour = (126, 200, 255)
INK: Colour = (16, 16, 20)
"""Letters on a bright ground."""

SCALE: tuple[Colour, ...] = (
    (44, 33, 98),
    (73, 40, 116),
    (105, 45, 128),
    (135, 48, 133),
    (160, 51, 132),
    (182, 53, 127),
    (203, 58, 123),
    (218, 70, 118),
    (232, 84, 111),
    (244, 98, 105),
    (251, 115, 101),
    (251, 135, 105),
    (252, 155, 112),
    (252, 175, 120),
    (253, 196, 133),
    (253, 217, 152),
    (254, 238, 176),
)
"""From alike (dark) to different (bright), sRGB.

Made in OKLCh with hues from 285 to 95 degrees through red, in equal steps of colour difference (10.1 to 11.4 in
CIELAB each). Lightness rises from 18 to 94 all the way, so that it can be read without seeing hues.
"""


def colour_at(part: float) -> Colour:
    """The scale's colour at a part in [0, 1] of the way; linear between its entries."""
    place = min(max(part, 0.0), 1.0) * (len(SCALE) - 1)
    low = min(int(place), len(SCALE) - 2)
    share = place - low
    red, green, blue = (round(a + share * (b - a)) for a, b in zip(SCALE[low], SCALE[low + 1], strict=True))
    return red, green, blue


def readable_on(ground: Colour) -> Colour:
    """Dark letters for a bright ground, bright ones for a dark one (ITU-R BT.709 luma)."""
    red, green, blue = ground
    return INK if 0.2126 * red + 0.7152 * green + 0.0722 * blue > 100 else TEXT
