"""Ambiguous images: one picture whose views are itself turned, flipped, cut up or negated (visual anagrams).

Convention: what a view shows is the map of the picture (``permutations``, ``discs``, ``jigsaw``): "rotate 90" shows it
turned clockwise, as ``torch.rot90(picture, k=-1)`` does. y down, x right.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum

import torch
from torch import Tensor

from ..views.schedule import CellGrid, Resolved, Space, Still
from ..views.tables import IndexedViews, ResampledViews
from .discs import turned_disc
from .jigsaw import jigsaw
from .permutations import blocks_in_order, order_of_brightness, quarter_turns, random_order, skewed

Size = tuple[int, int]
"""(height, width)."""


class ImageMap(str, Enum):
    """What a view does to the picture."""

    IDENTITY = "identity"
    FLIP_LEFT_RIGHT = "flip left-right"
    FLIP_UPSIDE_DOWN = "flip upside down"
    ROTATE_90 = "rotate 90"
    ROTATE_180 = "rotate 180"
    ROTATE_270 = "rotate 270"
    NEGATE = "negate"
    SKEW = "skew"
    PATCHES = "patch permutation"
    PIXELS = "pixel permutation"
    JIGSAW = "jigsaw"
    INNER_CIRCLE = "inner circle"
    ROTATE = "rotate by angle"
    FROM_PICTURE = "from picture"


SQUARE = (ImageMap.ROTATE_90, ImageMap.ROTATE_270, ImageMap.JIGSAW)
COUNTED: Mapping[ImageMap, str] = {ImageMap.PATCHES: "patches", ImageMap.JIGSAW: "pieces"}
TURNED = (ImageMap.INNER_CIRCLE, ImageMap.ROTATE)

AMOUNTS: Mapping[ImageMap, float] = {
    ImageMap.SKEW: 1.5,
    ImageMap.PATCHES: 8,
    ImageMap.JIGSAW: 4,
    ImageMap.INNER_CIRCLE: 0.75,
    ImageMap.ROTATE: 1.0,
}
"""What an amount of None means: the settings of the official code of visual anagrams and SyncTweedies."""


@dataclass(frozen=True)
class ImageLook:
    """One view of the picture, as a user gives it.

    angle_deg: clockwise, of "inner circle" and "rotate by angle". seed: of the permutations and the jigsaw. amount: of
    the skew, rows a column; of patches and of the jigsaw, how many along a side; of the circle, its diameter as a
    share of the picture's shorter side; None for the usual one. picture [3 or 1, h, w]: of "from picture".
    """

    kind: ImageMap = ImageMap.IDENTITY
    angle_deg: float = 45.0
    seed: int = 0
    amount: float | None = None
    picture: Tensor | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        kind, amount = self.kind.value, self.much
        if not (math.isfinite(amount) and math.isfinite(self.angle_deg)):
            raise ValueError(f"'{kind}' needs finite numbers, got an amount of {amount} and {self.angle_deg} degrees")
        if self.kind in COUNTED and (amount < 1 or amount != int(amount)):
            raise ValueError(f"'{kind}' needs a whole number of {COUNTED[self.kind]} along a side, got {amount}")
        if self.kind in TURNED and not 0 < amount <= 1:
            raise ValueError(f"the diameter of '{kind}' must be a share of the picture's side in (0, 1], got {amount}")
        if self.kind is ImageMap.FROM_PICTURE and self.picture is None:
            raise ValueError(f"'{kind}' needs a picture whose brightness gives the order; connect one")
        if self.picture is not None and (self.picture.ndim != 3 or self.picture.shape[0] not in (1, 3)):
            raise ValueError(f"the picture must be [3 or 1, height, width], got {list(self.picture.shape)}")

    @property
    def much(self) -> float:
        """The amount, or the usual one."""
        return AMOUNTS.get(self.kind, 0.0) if self.amount is None else self.amount

    @property
    def sign(self) -> float:
        """-1 where the view shows the negative. In latents that is crude: they are no colours, though near it."""
        return -1.0 if self.kind is ImageMap.NEGATE else 1.0

    def taps(self, size: Size, cells: Size) -> tuple[Tensor, Tensor]:
        """Of each place of the view the cells that it shows, and by how much: ([K, H, W] long, [K, H, W]).

        size: of the picture at this resolution; cells: at the model's, which pixels of a cell never leave where a map
        has no scale of its own. Raises ValueError for sizes that do not divide.
        """
        if self.kind in TURNED:
            return _whole(*turned_disc(size, math.radians(self.angle_deg), self.much))
        self.check(cells)
        numbers = torch.arange(size[0] * size[1]).view(size)
        index = _MOVES[self.kind](numbers, self, cells)[None]
        return index, torch.ones(index.shape)

    def check(self, cells: Size) -> None:
        """Raise ValueError for a picture of so many latent cells that the map cannot divide."""
        height, width = cells
        if self.kind in SQUARE and height != width:
            raise ValueError(f"'{self.kind.value}' needs a square picture, got {height}x{width} cells; make it square")
        count = int(self.much)
        if self.kind in COUNTED and (height % count or width % count):
            raise ValueError(
                f"'{self.kind.value}' cannot cut {height}x{width} latent cells into {count} {COUNTED[self.kind]} along "
                f"a side; use {_divisors(math.gcd(height, width))}, or another size of the picture"
            )


Move = Callable[[Tensor, ImageLook, Size], Tensor]

_MOVES: Mapping[ImageMap, Move] = {
    ImageMap.IDENTITY: lambda picture, look, cells: picture,
    ImageMap.NEGATE: lambda picture, look, cells: picture,
    ImageMap.FLIP_LEFT_RIGHT: lambda picture, look, cells: picture.flip(1),
    ImageMap.FLIP_UPSIDE_DOWN: lambda picture, look, cells: picture.flip(0),
    ImageMap.ROTATE_90: lambda picture, look, cells: quarter_turns(picture, 1),
    ImageMap.ROTATE_180: lambda picture, look, cells: quarter_turns(picture, 2),
    ImageMap.ROTATE_270: lambda picture, look, cells: quarter_turns(picture, 3),
    ImageMap.SKEW: lambda picture, look, cells: skewed(picture, look.much),
    ImageMap.PATCHES: lambda picture, look, cells: blocks_in_order(picture, block_order(look, cells)),
    ImageMap.PIXELS: lambda picture, look, cells: blocks_in_order(picture, block_order(look, cells)),
    ImageMap.JIGSAW: lambda picture, look, cells: jigsaw(picture, int(look.much), look.seed),
    ImageMap.FROM_PICTURE: lambda picture, look, cells: blocks_in_order(picture, block_order(look, cells)),
}

BLOCKS = (ImageMap.PATCHES, ImageMap.PIXELS, ImageMap.FROM_PICTURE)
"""Maps that put blocks of the picture in another order."""


def block_order(look: ImageLook, cells: Size) -> Tensor:
    """The order in which one of BLOCKS puts them; see ``blocks_in_order``."""
    if look.kind is ImageMap.FROM_PICTURE:
        return order_of_brightness(_given(look), *cells)
    count = int(look.much)
    return random_order(*(cells if look.kind is ImageMap.PIXELS else (count, count)), look.seed)


@dataclass(frozen=True)
class ImageViews:
    """One picture and what each view shows of it: the ViewSpec of ambiguous images.

    size_px: (height, width) of the picture and of every view. maps: a view each. planes: layers of the canvas, which
    is then [planes, H, W], of which views show the mean (n-to-one projections; the paper has 10). space: in what the
    views agree; latents are exact only for a pixel-space model, as latents do not turn with their pictures.
    """

    size_px: Size
    maps: tuple[ImageLook, ...]
    planes: int = 1
    space: Space = Space.RGB
    by_views: bool = False

    def __post_init__(self) -> None:
        if not self.maps:
            raise ValueError("an ambiguous image needs at least one view, got none; add 'identity' and another")
        if min(self.size_px) < 1 or self.planes < 1:
            raise ValueError(f"size and planes must be at least 1, got {self.size_px} px and {self.planes} planes")

    @property
    def view_px(self) -> Size:
        """(height, width) of what the model is shown: the whole picture."""
        return self.size_px

    @property
    def distinct(self) -> bool:
        """The pictures of the views are meant to differ."""
        return True

    def shown(self, canvas: Tensor) -> Tensor:
        """The picture [N, C, H, W] of a canvas: the mean of its planes."""
        return canvas if self.planes == 1 else canvas.mean(dim=-3)

    def resolve(self, canvas: Size | None, grid: CellGrid) -> Resolved:
        """The views for a model; see ``ViewSpec``."""
        cells = (grid.along("height", self.size_px[0]), grid.along("width", self.size_px[1]))
        if canvas is not None and tuple(canvas) != cells:
            raise ValueError(
                f"the canvas is {canvas[0] * grid.cell_px}x{canvas[1] * grid.cell_px} px (height x width), the picture "
                f"of the views {self.size_px[0]}x{self.size_px[1]} px; give both the same size"
            )
        latent = Still(image_views(self.maps, cells, cells, self.planes))
        pixels = latent if cells == self.size_px else Still(image_views(self.maps, self.size_px, cells, self.planes))
        return Resolved(latent, pixels)


def image_views(maps: tuple[ImageLook, ...], size: Size, cells: Size, planes: int = 1) -> ResampledViews:
    """Views of a picture of that size: ``IndexedViews`` where all only move cells. cells: see ``ImageLook.taps``."""
    tables = [look.taps(size, cells) for look in maps]
    sign = torch.tensor([look.sign for look in maps])
    if planes == 1 and all(len(taps) == 1 for taps, _ in tables):
        return IndexedViews(torch.cat([taps for taps, _ in tables]), size, sign=sign)
    most = max(len(taps) for taps, _ in tables)
    taps = torch.stack([_padded(taps, most, -1) for taps, _ in tables])  # [V, K, H, W]
    weights = torch.stack([_padded(weights, most, 0) for _, weights in tables])
    if planes == 1:
        return ResampledViews(taps, weights, size, sign=sign)
    layers = [torch.where(taps >= 0, taps + plane * size[0] * size[1], -1) for plane in range(planes)]
    return ResampledViews(
        torch.cat(layers, dim=1), weights.repeat(1, planes, 1, 1) / planes, (planes, *size), sign=sign
    )


def seen(look: ImageLook, picture: Tensor, cells: Size) -> Tensor:
    """What a view shows of a picture [N, C, H, W] of values in [0, 1]: of the same shape. cells: see ``ImageLook``."""
    view = image_views((look,), (picture.shape[-2], picture.shape[-1]), cells).project(picture)
    return 1 + view if look.sign < 0 else view


def _whole(taps: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """One tap instead of four where no cell is mixed."""
    if not bool((weights.amax(dim=0) == 1).all()):
        return taps, weights
    return taps.amax(dim=0, keepdim=True), torch.ones(1, *taps.shape[1:])


def _padded(table: Tensor, length: int, value: int) -> Tensor:
    return torch.cat([table, table.new_full((length - len(table), *table.shape[1:]), value)])


def _given(look: ImageLook) -> Tensor:
    assert look.picture is not None, "checked when the look was made"
    return look.picture


def _divisors(number: int) -> str:
    return ", ".join(str(k) for k in range(1, number + 1) if number % k == 0)
