"""Vigilance pairs: one picture is a row of unrelated ones, so that an attentive participant chooses the other.

Source: the paper's user study, five tasks "designed to distinguish our outputs from concatenations of Stable
Diffusion images generated without joint diffusion".
"""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from random import Random

from PIL import Image

from bench.survey.pictures import Complain, Pair, Pairs, Refused, find_pictures, read_picture

Parts = Callable[[Pair, Random], Iterable[Image.Image]]
"""parts(shown, random) -> pictures for the row beside the panorama that is shown, in random order."""


def montage(size: tuple[int, int], parts: Iterable[Image.Image]) -> Image.Image:
    """A picture of a size (width, height) in px, filled along its longer side; the last part is cut off.

    Parts are scaled to the shorter side. Raises Refused where they run out before the end, or one is all of it.
    """
    width, height = size
    if height > width:
        return _turned(montage((height, width), map(_turned, parts)))
    canvas, filled, count = Image.new("RGB", size), 0, 0
    for part in parts:
        scaled = part.resize((max(1, round(part.width * height / part.height)), height), Image.Resampling.LANCZOS)
        canvas.paste(scaled, (filled, 0))
        filled, count = filled + scaled.width, count + 1
        if filled >= width:
            break
    if filled >= width and count > 1:
        return canvas
    raise Refused(
        f"vigilance: {count} pictures fill {filled} of {width} px where two or more have to fill them all: give"
        " more or narrower ones (--vigilance FOLDER), or ask no vigilance pairs (--vigilance-pairs 0)"
    )


def _turned(picture: Image.Image) -> Image.Image:
    """Rows for columns; twice is the picture itself."""
    return picture.transpose(Image.Transpose.TRANSPOSE)


def from_folder(folder: Path, complain: Complain) -> Parts:
    """Parts from a folder of single-window pictures; one that is damaged is complained of once."""
    paths = list(find_pictures(folder, complain).values())

    def parts(shown: Pair, random: Random) -> Iterator[Image.Image]:
        for path in random.sample(paths, len(paths)):
            try:
                yield read_picture(path)
            except Refused as error:
                paths.remove(path)
                complain(f"{error}: left out")

    return parts


def from_panoramas(pairs: Pairs) -> Parts:
    """Parts from the panoramas themselves: the k-th square window of the k-th, no two of one pair.

    Only panoramas of the shown one's size, and never the shown one.
    """

    def parts(shown: Pair, random: Random) -> Iterator[Image.Image]:
        side, place = min(shown.size), 0
        for name in random.sample(pairs.names, len(pairs.names)):
            pair = pairs.read(name) if name != shown.name else None
            if pair is None or pair.size != shown.size:
                continue
            yield window(random.choice((pair.a, pair.b)), place, side)
            place += 1

    return parts


def window(panorama: Image.Image, place: int, side: int) -> Image.Image:
    """The square window of ``side`` px at a place along the longer side, moved back where it would stand out."""
    start = min(place * side, max(panorama.size) - side)
    left, top = (start, 0) if panorama.width >= panorama.height else (0, start)
    return panorama.crop((left, top, left + side, top + side))
