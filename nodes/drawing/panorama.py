"""A panorama as the pictures of this folder need it."""

from dataclasses import dataclass

from PIL import Image

Box = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels, right and bottom outside."""


@dataclass(frozen=True)
class Panorama:
    """A picture and its windows, from its left or its top.

    boxes: of the W windows. pairs: their distances, W rows of W; lower is more alike. means: of each window's
    distances to the others, W. odd: the windows that disagree, counted from 0. intra: mean of all pairs. seam: about
    1 where the left and right ends meet. looks: windows that look alike, in groups; empty where that is not known.
    """

    picture: Image.Image
    boxes: tuple[Box, ...]
    pairs: tuple[tuple[float, ...], ...]
    means: tuple[float, ...]
    odd: tuple[int, ...]
    intra: float
    seam: float
    looks: tuple[tuple[int, ...], ...] = ()

    @property
    def wide(self) -> bool:
        """Whether its windows stand side by side; else they stand on each other."""
        return self.picture.width >= self.picture.height

    @property
    def length(self) -> int:
        """Pixels of the longer side."""
        return max(self.picture.size)

    @property
    def left_over(self) -> int:
        """Pixels at the right or the bottom that belong to no window."""
        return self.length - (self.boxes[-1][2] if self.wide else self.boxes[-1][3])

    @property
    def largest(self) -> float:
        """The largest distance of a pair."""
        return max(max(row) for row in self.pairs)

    def window(self, index: int) -> Image.Image:
        """The picture in one window."""
        return self.picture.crop(self.boxes[index])

    def numbered(self, every: int) -> tuple[int, ...]:
        """Windows to number where a number needs the room of ``every`` windows: those that disagree come first."""
        chosen: list[int] = []
        for k in (*self.odd, *range(0, len(self.boxes), every)):
            if all(abs(k - other) >= every for other in chosen):
                chosen.append(k)
        return tuple(sorted(chosen))
