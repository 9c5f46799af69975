"""What a picture of splats is made of: the strongest splats of every pixel, once for all colours.

The geometry of splats stays while they are painted, and their picture is linear in colours of light: of each pixel the
splats in front, each times what those before it let through. Only the strongest of a pixel are kept.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from .gaussians import Footprints, Gaussians, alphas

TILE = 8
"""Pixels along the side of what has one list of splats."""
PAIRS = 1 << 22
"""Most splats in lists of tiles at once, but for those of one tile."""
VALUES = {"cpu": 1 << 18}
MOST_VALUES = 1 << 24
"""Pixels times splats that are computed at once: what a processor's cache holds, and on other devices."""
DEPTH = 1024
"""Splats of a list that are computed at once, front to back."""
DARK = 1e-4
"""What may still come through to a pixel from which nothing behind is asked for."""

Box = tuple[int, int, int, int]
"""Of tiles: first row, first column, and those after the last."""


class Strongest(NamedTuple):
    """What one view shows.

    splats [h, w, K] int32: front to back, -1 after the last; weights [h, w, K]: how much of each is seen; opacity
    [h, w]: of all together, also of those that are not kept.
    """

    splats: Tensor
    weights: Tensor
    opacity: Tensor


def strongest(seen: Footprints, size: tuple[int, int], count: int) -> Strongest:
    """The count strongest splats of each pixel of a picture (height, width), on the device of the footprints."""
    tiles = _Tiles(seen, size, count)
    for box in _boxes_of_tiles(tiles.ends, (0, 0, tiles.rows, tiles.columns)):
        tiles.fill(box)
    numbers = torch.cat([seen.numbers, seen.numbers.new_tensor([-1])])[tiles.ranks]  # the last of them for -1
    opacity = tiles.picture(1 - tiles.through[..., None])[..., 0]
    return Strongest(tiles.picture(numbers.int()), tiles.picture(tiles.weights), opacity)


def disparity(given: Gaussians, view: Strongest, rotation: Tensor, place: Tensor) -> Tensor:
    """1 / depth along the camera's axis, the mean of what each pixel shows; 0 where it shows nothing: [h, w]."""
    depths = ((given.positions - place.to(given.positions)) @ -rotation[:, 2].to(given.positions)).float()
    each = 1 / depths[view.splats.clamp(min=0).long()]
    shown = view.weights.sum(dim=-1)
    return torch.where(shown > 0, (each * view.weights).sum(dim=-1) / shown.clamp(min=1e-12), 0)


def pooled(view: Strongest, cell: int, count: int) -> Strongest:
    """The same of cells of several pixels along a side, each the mean of its pixels; the count strongest again.

    h and w are multiples of a cell.
    """
    splats, weights = (_within(part, cell) for part in (view.splats, view.weights))  # [h, w, cell * cell * K]
    splats, order = splats.sort(dim=-1, stable=True)
    sums = weights.gather(-1, order).double().cumsum(dim=-1)
    last = torch.ones_like(splats, dtype=torch.bool)
    last[..., :-1] = splats[..., 1:] != splats[..., :-1]
    before = torch.where(last, sums, 0).cummax(dim=-1).values.roll(1, dims=-1)
    before[..., 0] = 0
    alone = torch.where(last & (splats >= 0), sums - before, 0) / cell**2
    most, where = alone.topk(min(count, alone.shape[-1]), dim=-1)
    opacity = _within(view.opacity[..., None], cell).mean(dim=-1)
    return Strongest(torch.where(most > 0, splats.gather(-1, where), -1), most.float(), opacity)


class _Tiles:
    """A picture in tiles, each with the strongest splats of its pixels so far.

    ranks [tiles, pixels, K]: their numbers front to back, -1 for none; weights: of the same shape; through
    [tiles, pixels]: what still comes through. ends [n, 4]: first and last tiles of splats.
    """

    def __init__(self, seen: Footprints, size: tuple[int, int], count: int) -> None:
        self._form, self._size, device = seen.form, size, seen.form.device
        self.rows, self.columns = (-(-side // TILE) for side in size)
        self.ends = seen.boxes // TILE
        shape = (self.rows * self.columns, TILE * TILE)
        self.ranks = torch.full((*shape, count), -1, device=device)
        self.weights = torch.zeros(*shape, count, device=device)
        self.through = torch.ones(shape, device=device)

    def fill(self, box: Box) -> None:
        """All splats of the tiles of a box."""
        tiles, ranks = _listed(self.ends, box, self.columns)
        places, counts = tiles.unique_consecutive(return_counts=True)
        starts = counts.cumsum(0) - counts
        for some in _alike(counts):
            self._composite(places[some], ranks, starts[some], counts[some])

    def picture(self, values: Tensor) -> Tensor:
        """Values [tiles, pixels, …] as they lie in the picture: [h, w, …]."""
        whole = values.unflatten(1, (TILE, TILE)).unflatten(0, (self.rows, -1)).transpose(1, 2)
        return whole.flatten(0, 1).flatten(1, 2)[: self._size[0], : self._size[1]].contiguous()

    def _composite(self, tiles: Tensor, ranks: Tensor, starts: Tensor, counts: Tensor) -> None:
        """Some tiles front to back; splats of each: so many ranks from a start."""
        x, y = self._centres(tiles)
        best, weights, clear = self.ranks[tiles], self.weights[tiles], self.through[tiles]
        longest = int(counts.max())
        for first in range(0, longest, DEPTH):
            number = torch.arange(first, min(first + DEPTH, longest), device=ranks.device)
            listed = ranks[(starts[:, None] + number).clamp(max=len(ranks) - 1)]  # [t, n]
            alpha = alphas(self._form[:, listed][:, :, None], x, y)  # [t, pixels, n]
            alpha = alpha * (number < counts[:, None])[:, None]
            behind = torch.cumprod(1 - alpha, dim=-1) * clear[..., None]
            before = torch.cat([clear[..., None], behind[..., :-1]], dim=-1)
            most, where = (alpha * before).topk(min(best.shape[-1], len(number)), dim=-1)
            chosen = torch.where(most > 0, listed[:, None].expand(-1, TILE * TILE, -1).gather(-1, where), -1)
            found = torch.cat([best, chosen], dim=-1), torch.cat([weights, most], dim=-1)
            best, weights = _merged(*found, best.shape[-1])
            clear = behind[..., -1]
            if float(clear.max()) < DARK:
                break
        self.ranks[tiles], self.weights[tiles], self.through[tiles] = best, weights, clear

    def _centres(self, tiles: Tensor) -> tuple[Tensor, Tensor]:
        """x and y of the pixels: [t, pixels, 1] each."""
        pixel = torch.arange(TILE * TILE, device=tiles.device)
        x, y = tiles % self.columns * TILE, tiles // self.columns * TILE
        return (x[:, None] + pixel % TILE + 0.5)[..., None], (y[:, None] + pixel // TILE + 0.5)[..., None]


def _merged(ranks: Tensor, weights: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The strongest of [..., n] splats, front to back."""
    weights, where = weights.topk(count, dim=-1)
    ranks = ranks.gather(-1, where)
    order = torch.where(ranks < 0, torch.iinfo(ranks.dtype).max, ranks).sort(dim=-1).indices
    return ranks.gather(-1, order), weights.gather(-1, order)


def _boxes_of_tiles(ends: Tensor, box: Box) -> Iterator[Box]:
    """Boxes of tiles in which splats, of those first and last tiles [n, 4], are not too many to be listed at once."""
    inside = _clipped(ends, box)
    sides = (inside[:, 2:] - inside[:, :2] + 1).clamp(min=0)
    height, width = box[2] - box[0], box[3] - box[1]
    if int((sides[:, 0] * sides[:, 1]).sum()) <= PAIRS or height * width == 1:
        yield box
        return
    some = ends[(sides > 0).all(dim=1)]
    axis = 0 if height >= width else 1
    middle = (box[axis] + box[axis + 2]) // 2
    first, second = list(box), list(box)
    first[axis + 2], second[axis] = middle, middle
    for half in (first, second):
        yield from _boxes_of_tiles(some, (half[0], half[1], half[2], half[3]))


def _listed(ends: Tensor, box: Box, columns: int) -> tuple[Tensor, Tensor]:
    """(tile, rank of a splat) of all pairs in a box, by tiles and front to back."""
    inside = _clipped(ends, box)
    sides = (inside[:, 2:] - inside[:, :2] + 1).clamp(min=0)
    counts = sides[:, 0] * sides[:, 1]
    ranks = torch.repeat_interleave(torch.arange(len(ends), device=ends.device), counts)
    number = torch.arange(len(ranks), device=ends.device) - (counts.cumsum(0) - counts)[ranks]
    row, column = number // sides[ranks, 1], number % sides[ranks, 1]
    tiles = (inside[ranks, 0] + row) * columns + inside[ranks, 1] + column
    tiles, order = tiles.sort(stable=True)
    return tiles, ranks[order]


def _clipped(ends: Tensor, box: Box) -> Tensor:
    first = torch.tensor(box[:2], device=ends.device)
    last = torch.tensor(box[2:], device=ends.device) - 1
    return torch.cat([torch.maximum(ends[:, :2], first), torch.minimum(ends[:, 2:], last)], dim=1)


def _alike(counts: Tensor) -> Iterator[Tensor]:
    """Numbers of lists of about the same length, as many as are computed at once."""
    ordered, order = counts.sort()
    lengths: list[int] = ordered.tolist()
    most, first = VALUES.get(counts.device.type, MOST_VALUES), 0
    while first < len(lengths):
        last = first + 1
        while last < len(lengths) and (last + 1 - first) * min(lengths[last], DEPTH) * TILE**2 <= most:
            last += 1
        yield order[first:last]
        first = last


def _within(table: Tensor, cell: int) -> Tensor:
    """[h * cell, w * cell, K] -> [h, w, cell * cell * K]."""
    fine = table.unflatten(1, (-1, cell)).unflatten(0, (-1, cell))  # [h, cell, w, cell, K]
    return fine.transpose(1, 2).flatten(2)
