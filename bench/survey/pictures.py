"""The pictures of two result folders, paired by name; what cannot be used is named and left out."""

import hashlib
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageOps

from bench.pictures import UNREADABLE

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
Complain = Callable[[str], None]
"""Takes one line on something that is left out."""


class Refused(ValueError):
    """What was given cannot be used; the message says what to do."""


@dataclass(frozen=True)
class Pair:
    """Two RGB pictures of one size: a from the first folder, b from the second."""

    name: str
    a: Image.Image
    b: Image.Image

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in px."""
        return self.a.size


class Pairs:
    """The names that two folders share, and their pictures, read when they are asked for.

    A picture's name is its path below the folder without the suffix, with forward slashes.
    """

    def __init__(self, a: Path, b: Path, complain: Complain) -> None:
        self._a, self._b, self._complain = find_pictures(a, complain), find_pictures(b, complain), complain
        self._unusable: set[str] = set()
        for here, there, folder in ((self._a, self._b, b), (self._b, self._a, a)):
            for name in sorted(here.keys() - there.keys()):
                complain(f"{here[name]}: left out, {folder} has no picture of this name")
        self.names = sorted(self._a.keys() & self._b.keys())
        if not self.names:
            raise Refused(f"{a} and {b} share no picture: pairs have the same path below their folder")

    def read(self, name: str) -> Pair | None:
        """A pair; None where it cannot be asked about, which is complained of once."""
        if name in self._unusable:
            return None
        try:
            return self._read(name)
        except Refused as error:
            self._unusable.add(name)
            self._complain(f"{error}: the pair is left out")
            return None

    def _read(self, name: str) -> Pair:
        a, b = read_picture(self._a[name]), read_picture(self._b[name])
        if a.size != b.size:
            sizes = " against ".join(f"{picture.width}x{picture.height}" for picture in (a, b))
            raise Refused(f"{self._a[name]} and {self._b[name]}: of different size, {sizes}")
        if digest(a) == digest(b):
            raise Refused(f"{self._a[name]} and {self._b[name]}: the same picture")
        return Pair(name, a, b)


def find_pictures(folder: Path, complain: Complain) -> dict[str, Path]:
    """The pictures below a folder by name; of a name that two files have, neither."""
    if not folder.is_dir():
        raise Refused(f"{folder} is not a folder: give a folder of pictures ({', '.join(SUFFIXES)})")
    found = defaultdict(list)
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in SUFFIXES and path.is_file():
            found[path.relative_to(folder).with_suffix("").as_posix()].append(path)
    for name in [name for name, paths in found.items() if len(paths) > 1]:
        complain(f"{' and '.join(map(str, found.pop(name)))}: left out, two files of one name")
    if not found:
        raise Refused(f"{folder} has no picture: give a folder of pictures ({', '.join(SUFFIXES)})")
    return {name: paths[0] for name, paths in found.items()}


def read_picture(path: Path) -> Image.Image:
    """A picture in RGB, turned upright; raises Refused with the path where it is none."""
    try:
        with Image.open(path) as file:
            if file.mode.startswith(("I", "F")):
                raise Refused(f"{path}: has more than 8 bits a channel, save it with 8")
            return ImageOps.exif_transpose(file).convert("RGB")
    except Refused:
        raise
    except UNREADABLE as error:
        raise Refused(f"{path}: not readable as a picture ({error})") from error


def digest(picture: Image.Image) -> str:
    """SHA-256 of a picture's size and pixels, whatever its file format."""
    return hashlib.sha256(repr(picture.size).encode() + picture.tobytes()).hexdigest()
