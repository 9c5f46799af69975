"""How an ambiguous image turns into one of its views: pictures of the way, made one by one.

Convention: pictures are [C, H, W] with values in [0, 1]; a part of the way is in [0, 1], where 0 is the picture and 1
what the view shows of it, both exactly. Turns are clockwise to the eye.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from enum import Enum

import torch
import torch.nn.functional as F
from torch import Tensor

from .images import TURNED, ImageLook, ImageMap, Size, block_order, seen
from .permutations import columns_down
from .pieces import Pieces, blocks, jigsaw_pieces

Move = Callable[[float], Tensor]
"""A picture [C, H, W] for a part of the way."""

BLUR_CELLS, DIMMED = 8, 0.4
"""The backdrop: the picture in so many cells along its shorter side, smoothed, at that brightness."""
SHADE = 0.4
"""How much darker a picture is that is seen from its edge, while it turns over."""
QUARTERS: Mapping[ImageMap, int] = {ImageMap.ROTATE_90: 1, ImageMap.ROTATE_180: 2, ImageMap.ROTATE_270: -1}


class Easing(str, Enum):
    """How fast a picture goes."""

    SMOOTH = "smooth"
    EVEN = "even"

    def __call__(self, part: float) -> float:
        """Part of the way at a part of the time."""
        return part if self is Easing.EVEN else part * part * (3 - 2 * part)


def pictures_between(picture: Tensor, look: ImageLook, cells: Size, count: int, easing: Easing) -> Iterator[Tensor]:
    """So many pictures of the way, the ends among them. cells: of the picture in latents; see ``ImageLook.taps``.

    Raises ValueError for a picture that the map cannot divide.
    """
    yield picture
    move = motion(picture, look, cells)
    for k in range(1, count - 1):
        yield move(easing(k / (count - 1)))
    yield seen(look, picture[None], cells)[0]


def motion(picture: Tensor, look: ImageLook, cells: Size) -> Move:
    """The picture at any part of the way; see ``pictures_between``. It meets the ends but for rounding."""
    goal = seen(look, picture[None], cells)[0]
    size = (picture.shape[-2], picture.shape[-1])
    if look.kind in TURNED:
        return lambda part: seen(replace(look, angle_deg=part * look.angle_deg), picture[None], cells)[0]
    if look.kind is ImageMap.SKEW:
        return lambda part: _slid(picture, part * columns_down(size[1], look.much))
    if look.kind in (ImageMap.IDENTITY, ImageMap.NEGATE):
        return lambda part: torch.lerp(picture, goal, part)
    ends = backdrop(picture), backdrop(goal)
    if look.kind in QUARTERS:
        return lambda part: _turned(picture, part, QUARTERS[look.kind], torch.lerp(*ends, part))
    if look.kind is ImageMap.FLIP_LEFT_RIGHT:
        return lambda part: _turned_over(picture, part, torch.lerp(*ends, part))
    if look.kind is ImageMap.FLIP_UPSIDE_DOWN:
        return lambda part: _turned_over(picture.mT, part, torch.lerp(*ends, part).mT).mT
    pieces = _pieces(look, size, cells)
    return lambda part: pieces.at(part, picture, torch.lerp(*ends, part))


def _pieces(look: ImageLook, size: Size, cells: Size) -> Pieces:
    if look.kind is ImageMap.JIGSAW:
        return jigsaw_pieces(size[0], int(look.much), look.seed)
    return blocks(block_order(look, cells), size)


def backdrop(picture: Tensor) -> Tensor:
    """What is seen where nothing is on the way: the picture out of focus and dark."""
    height, width = picture.shape[-2:]
    share = BLUR_CELLS / min(height, width)
    blurred = F.adaptive_avg_pool2d(picture[None], (max(round(height * share), 1), max(round(width * share), 1)))
    smooth = F.interpolate(blurred, (height, width), mode="bicubic", align_corners=False)[0]
    return DIMMED * smooth.clamp(0, 1)


def _turned(picture: Tensor, part: float, quarters: int, behind: Tensor) -> Tensor:
    """Around its middle. It shrinks until its corners stay within the frame, and grows again at the end."""
    height, width = picture.shape[-2:]
    angle, ratio = part * quarters * math.pi / 2, max(height, width) / min(height, width)
    worst = min(abs(angle), abs(quarters * math.pi / 2 - angle), math.atan(ratio))  # from the nearer end
    larger = math.cos(worst) + ratio * math.sin(worst)
    cos, sin = math.cos(angle), math.sin(angle)
    # grid_sample's axes go from -1 to 1 along either side: from the place in the frame to that in the picture.
    back = torch.tensor([[cos, sin * height / width, 0.0], [-sin * width / height, cos, 0.0]]) * larger
    grid = F.affine_grid(back[None].to(picture), [1, 1, height, width], align_corners=False)
    solid = torch.cat([picture, torch.ones_like(picture[:1])])[None]
    drawn = F.grid_sample(solid, grid, mode="bicubic", padding_mode="zeros", align_corners=False)[0].clamp(0, 1)
    return (drawn[:-1] + (1 - drawn[-1:]) * behind).clamp(max=1)


def _turned_over(picture: Tensor, part: float, behind: Tensor) -> Tensor:
    """Around its upright axis, like a card: squeezed to an edge, and mirrored from there on."""
    width = picture.shape[-1]
    scale = math.cos(math.pi * part)
    at = torch.arange(width) - (width - 1) / 2
    # The part of each cell of the frame [W] that each of the picture [W], so much narrower, covers.
    shares = ((1 + abs(scale)) / 2 - (at[:, None] - scale * at).abs()).clamp(0, abs(scale)).to(picture)
    solid = shares.sum(dim=1).clamp(max=1)
    return (1 - SHADE * (1 - abs(scale))) * (picture @ shares.T) + (1 - solid) * behind


def _slid(picture: Tensor, down: Tensor) -> Tensor:
    """Columns moved down by so many cells [W], parts of cells too, and around the bottom."""
    height = picture.shape[-2]
    rows = torch.arange(height, dtype=torch.float64)[:, None] - down
    before = rows.floor()
    first = (before.long() % height).expand_as(picture)
    second = ((before.long() + 1) % height).expand_as(picture)
    return torch.lerp(picture.gather(1, first), picture.gather(1, second), (rows - before).to(picture))
