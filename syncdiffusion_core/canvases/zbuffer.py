"""A z-buffer: which triangle each pixel of a picture shows, and where on it.

Convention: corners of triangles are homogeneous, (x * w, y * w, w) with x to the right and y down in pixels and w the
depth along the camera's axis; centres of pixels lie at half integers. A flat picture has w = 1 everywhere.

Triangles are drawn row by row, from edge to edge (Olano and Greer 1997: an edge is a linear function of the pixel,
whichever of its ends lie behind the camera, so that nothing has to be clipped). What is nearest is told by one maximum
of a number that holds the inverse depth above the triangle's own: the same picture at every run, on every device.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

Size = tuple[int, int]
"""(height, width)."""

PART = 1 << 18
"""Triangles, rows of triangles and pixels of rows that are held at once: what does not depend on the mesh's size."""
ON_EDGE = 1e-8
"""Of a pixel: how far beyond an edge its centre still counts, so that no pixel lies between two triangles."""
LEAST_AREA = 1e-6
"""Of a triangle in square pixels: one that is seen edge-on is not seen."""
LAST = 0x7FFFFFFF
"""Beyond the number of any triangle: of two at one depth the first is seen."""


class Hits(NamedTuple):
    """What a picture [h, w] shows.

    face: number of the triangle, -1 for none, int32. shares: of its corners, 1 together and as the surface has them
    (not the picture), float32 [h, w, 3]. planes: of every triangle, inverse depth at (x, y) = planes @ (x, y, 1),
    float64 [M, 3], 0 for those that cannot be drawn.
    """

    face: Tensor
    shares: Tensor
    planes: Tensor

    @property
    def seen(self) -> Tensor:
        """Which pixels show anything: [h, w] bool."""
        return self.face >= 0

    @property
    def inverse_depth(self) -> Tensor:
        """1 / depth along the camera's axis, 0 where there is nothing: [h, w] float32."""
        height, width = self.face.shape
        rows, columns = (torch.arange(side, device=self.face.device) + 0.5 for side in (height, width))
        x, y, one = self.planes[self.face.clamp(min=0)].unbind(-1)
        return torch.where(self.seen, x * columns + y * rows[:, None] + one, 0).float()


def rasterise(corners: Tensor, size: Size, near: float, drawn: Tensor | None = None) -> Hits:
    """What a picture (height, width) of triangles [M, 3, 3] shows, from the depth near on; both sides are seen.

    drawn [M] bool: which of them count, all where it is not given. Triangles without an area are passed over, as are
    those that hold no finite number.
    """
    best = torch.zeros(size[0] * size[1], dtype=torch.long, device=corners.device)
    planes = torch.zeros(len(corners), 3, dtype=torch.float64, device=corners.device)
    numbers = torch.arange(len(corners), device=corners.device) if drawn is None else drawn.nonzero()[:, 0]
    for some in numbers.split(PART):
        edges, there = _edges(corners[some])
        triangles = _Triangles(some[there], corners[some[there]].double(), edges[there])
        planes[triangles.numbers] = triangles.planes
        _draw(triangles, size, near, best)
    face = torch.where(best > 0, LAST - (best & LAST), -1)
    return Hits(face.int().view(size), _shares(corners, face, size), planes)


class _Triangles(NamedTuple):
    """numbers [n]: among all. corners [n, 3, 3]. edges [n, 3, 3]: see ``_edges``."""

    numbers: Tensor
    corners: Tensor
    edges: Tensor

    @property
    def planes(self) -> Tensor:
        """See ``Hits``: [n, 3]."""
        return self.edges.sum(dim=1)


def _edges(corners: Tensor) -> tuple[Tensor, Tensor]:
    """(edges [M, 3, 3] float64, which are triangles [M]).

    edges @ (x, y, 1): the shares of the corners over the depth there, all of them at least 0 inside.
    """
    first, second, third = corners.double().unbind(dim=1)
    pairs = [torch.linalg.cross(second, third), torch.linalg.cross(third, first), torch.linalg.cross(first, second)]
    across = torch.stack(pairs, dim=1)
    volume = (first * across[:, 0]).sum(dim=-1)
    # Over the depths of the corners it is twice the area in the picture.
    least = 2 * LEAST_AREA * corners[..., 2].double().prod(dim=1).abs()
    there = corners.flatten(1).isfinite().all(dim=1) & volume.isfinite() & (volume.abs() > least)
    return across / torch.where(there, volume, 1)[:, None, None], there


def _draw(triangles: _Triangles, size: Size, near: float, best: Tensor) -> None:
    """Write the nearest of these into best [h*w]."""
    low, high = _rows(triangles.corners, size[0], near)
    # Beyond the near plane the inverse depth is less than 1 / near: an edge like the other three.
    front = -triangles.planes + torch.tensor([0, 0, 1 / near], dtype=torch.float64, device=best.device)
    edges = torch.cat([triangles.edges, front[:, None]], dim=1)  # [n, 4, 3]
    planes = triangles.planes
    for part, row in _spread(low, high - low + 1):
        slope, rest = edges[part, :, 0], edges[part, :, 1] * (row + 0.5)[:, None] + edges[part, :, 2]
        first, last = _columns(slope, rest, size[1])
        plane = planes[part]
        start = plane[:, 0] * (first + 0.5) + plane[:, 1] * (row + 0.5) + plane[:, 2]
        step, number, place = plane[:, 0].float(), LAST - triangles.numbers[part], row * size[1]
        for pick, column in _spread(first, last - first + 1):
            inverse = start[pick].float() + step[pick] * (column - first[pick])
            key = (inverse.clamp(min=0).view(torch.int32).long() << 31) | number[pick]
            best.scatter_reduce_(0, place[pick] + column, key, "amax")


def _rows(corners: Tensor, height: int, near: float) -> tuple[Tensor, Tensor]:
    """First and last row of pixels that each triangle [n, 3, 3] may show in front of the near plane: [n] each."""
    depth = corners[..., 2]
    ahead = depth >= near
    y = corners[..., 1] / torch.where(ahead, depth, 1)
    beyond = corners.roll(-1, dims=1)
    crosses = ahead != (beyond[..., 2] >= near)
    at = (near - depth) / torch.where(crosses, beyond[..., 2] - depth, 1)
    cut = (corners[..., 1] + at * (beyond[..., 1] - corners[..., 1])) / near
    ends = torch.cat([y, cut], dim=1)
    counts = torch.cat([ahead, crosses], dim=1)
    low = torch.where(counts, ends, torch.inf).amin(dim=1)
    high = torch.where(counts, ends, -torch.inf).amax(dim=1)
    return _pixels(low, high, height)


def _columns(slope: Tensor, rest: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """First and last column in which slope * x + rest >= 0 for all edges [r, 4] of a row: [r] each."""
    zero = -rest / torch.where(slope == 0, 1, slope)
    low = torch.where(slope > 0, zero, -torch.inf).amax(dim=1)  # level edges end the rows
    high = torch.where(slope < 0, zero, torch.inf).amin(dim=1)
    return _pixels(low, high, width)


def _pixels(low: Tensor, high: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """The first and the last of so many pixels whose centres lie between."""
    first = (low - 0.5 - ON_EDGE).ceil().clamp(0, length)
    last = (high - 0.5 + ON_EDGE).floor().clamp(-1, length - 1)
    return first.long(), last.long()


def _spread(first: Tensor, counts: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Every number from first on, so many, of each item: (items, numbers), in parts of about PART numbers."""
    counts = counts.clamp(min=0)
    (items,) = counts.nonzero(as_tuple=True)
    counts = counts[items]
    ends = counts.cumsum(dim=0)
    _, sizes = torch.unique_consecutive((ends - counts) // PART, return_counts=True)
    for some, count in zip(items.split(sizes.tolist()), counts.split(sizes.tolist()), strict=True):
        owner = torch.repeat_interleave(count)
        before = count.cumsum(dim=0) - count
        yield some[owner], torch.arange(len(owner), device=owner.device) - before[owner] + first[some[owner]]


def _shares(corners: Tensor, face: Tensor, size: Size) -> Tensor:
    """Of the corners of the triangle that each pixel shows, 0 where it shows none: [h, w, 3] float32."""
    shares = torch.zeros(len(face), 3, device=face.device)
    (pixels,) = (face >= 0).nonzero(as_tuple=True)
    for part in pixels.split(PART):
        x, y = part % size[1] + 0.5, torch.div(part, size[1], rounding_mode="floor") + 0.5
        here, _ = _edges(corners[face[part]])
        share = here[..., 0] * x[:, None] + here[..., 1] * y[:, None] + here[..., 2]
        shares[part] = (share / share.sum(dim=1, keepdim=True)).float()
    return shares.view(*size, 3)
