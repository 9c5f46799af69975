"""A rig of cameras on the sphere they stand in: how often each place is seen, views outlined and numbered."""

import numpy as np
from PIL import Image, ImageDraw
from torch import Tensor

from .colours import GROUND, INK, TEXT, colour_at
from .lettering import font_of, write

LETTERS = 22
"""Height of the picture over that of its numbers."""


def draw_rig(times: Tensor, borders: Tensor, directions: Tensor) -> Image.Image:
    """An equirectangular picture. times [H, W]: views that see a place; borders [H, W] bool: where a view ends.

    directions [V, 2] in [0, 1]: (down, right) of the middle of each view.
    """
    most = max(int(times.max()), 1)
    palette = np.array([GROUND, *(colour_at(k / most) for k in range(1, most + 1))], dtype=np.uint8)
    pixels = palette[times.numpy()]
    pixels[borders.numpy()] = TEXT
    picture = Image.fromarray(pixels)
    draw, size = ImageDraw.Draw(picture), picture.height / LETTERS
    for number, (down, right) in enumerate(directions.tolist(), start=1):
        half = 0.9 * size
        x, y = right * picture.width, min(max(down * picture.height, half), picture.height - half)
        x = min(max(x, half), picture.width - half)
        draw.ellipse((x - half, y - half, x + half, y + half), fill=TEXT)
        write(draw, (x, y), str(number), font_of(size), INK)
    return picture
