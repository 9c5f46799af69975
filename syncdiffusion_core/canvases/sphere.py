"""The sphere: an equirectangular canvas, and perspective views of it from its middle.

Convention: the middle of the picture looks along -Z, u grows to the right, v down from the zenith; centres of pixels
lie at half integers. ``rigs`` has the cameras.
"""

import math

import torch
from torch import Tensor

from ..views.gathered import GatheredViews, Inverse
from .bilinear import around
from .rigs import Rig

Size = tuple[int, int]
LEAST_WEIGHT = 1e-3
"""Of a view's outermost cells, which may be the only ones that see a place."""
SAMPLES = 8
"""Most along the side of a view's cell, where the canvas is finer than the view."""


def sphere_views(rig: Rig, canvas: Size, view: Size) -> GatheredViews:
    """Views (height, width) of an equirectangular canvas (height, width), a camera each.

    A cell of the canvas is the mean of all views that see it, each interpolated, by weights that fall to the views'
    borders; as it gathers, a view counts by the solid angle that it covers and not by its number of cells.
    """
    directions = directions_of(canvas).flatten(0, 1)
    inverses = [_inverse(directions, each, rig.fov, view) for each in rig.rotations]
    return GatheredViews(*looked_at(rig, canvas, view), canvas, inverses)


def looked_at(rig: Rig, canvas: Size, view: Size) -> tuple[Tensor, Tensor]:
    """Taps and weights of ``ResampledViews``: what the cameras see.

    A cell of a view is the mean of the canvas where it looks, interpolated: around the edge, and over the poles.
    """
    # One at a time: on the way to their tables all at once would take several times what these hold.
    taps, shares = zip(*(_looked_at(camera, canvas, view) for camera in rig.each()), strict=True)
    return torch.cat(taps), torch.cat(shares)


def _looked_at(camera: Rig, canvas: Size, view: Size) -> tuple[Tensor, Tensor]:
    samples = _samples(camera.fov, canvas, view)
    taps, shares = taps_of(camera.rays(view, samples), canvas)  # [1, 4, h*s, w*s]
    if samples > 1:
        taps, shares = (_within_cells(table, samples) for table in (taps, shares))
        shares = shares / samples**2
    return taps.int(), shares.float()


def taps_of(rays: Tensor, canvas: Size) -> tuple[Tensor, Tensor]:
    """The four cells of a canvas around where unit rays [V, h, w, 3] go, and their shares: [V, 4, h, w] each."""
    height, width = canvas
    x, y, z = rays.unbind(-1)
    u = (torch.atan2(x, -z) / math.tau + 0.5) * width - 0.5
    v = (0.5 - torch.asin(y.clamp(-1, 1)) / math.pi) * height - 0.5
    corners = around(v, u)
    taps = torch.stack([_cell(row, column, canvas) for row, column, _ in corners], dim=1)
    return taps, torch.stack([share for *_, share in corners], dim=1)


def directions_of(canvas: Size) -> Tensor:
    """Unit directions of the cells of an equirectangular canvas: [H, W, 3] float64."""
    height, width = canvas
    latitude = (0.5 - (torch.arange(height, dtype=torch.float64) + 0.5) / height) * math.pi
    longitude = ((torch.arange(width, dtype=torch.float64) + 0.5) / width - 0.5) * math.tau
    latitude, longitude = torch.meshgrid(latitude, longitude, indexing="ij")
    across = latitude.cos()
    return torch.stack([across * longitude.sin(), latitude.sin(), -across * longitude.cos()], dim=-1)


def solid_angle(canvas: Size) -> Tensor:
    """What each cell of an equirectangular canvas covers, in steradians: [H, W]; all of them 4 pi."""
    height, width = canvas
    edges = torch.cos(torch.linspace(0, math.pi, height + 1, dtype=torch.float64))
    return ((edges[:-1] - edges[1:]) * math.tau / width)[:, None].expand(height, width)


def seen_at(rig: Rig, canvas: Size, aspect: float = 1.0) -> Tensor:
    """Where views see the cells of a canvas: (down, right), -1 to 1 across a view, [V, H, W, 2]; inf behind it.

    aspect: width by height of a view.
    """
    directions = directions_of(canvas)
    return torch.stack([_place(directions, rotation, rig.fov, aspect) for rotation in rig.rotations])


def share_seen(rig: Rig, times: int = 1, canvas: Size = (180, 360)) -> float:
    """Share of the sphere, by solid angle, that at least so many square views see."""
    area, seen = solid_angle(canvas), (seen_at(rig, canvas).abs().amax(dim=-1) <= 1).sum(dim=0)
    return float((area * (seen >= times)).sum() / area.sum())


def _cell(row: Tensor, column: Tensor, canvas: Size) -> Tensor:
    """Flat numbers; a row beyond a pole is the one before it, half a turn away."""
    height, width = canvas
    over = (row < 0) | (row >= height)
    row = torch.where(row < 0, -1 - row, torch.where(row >= height, 2 * height - 1 - row, row))
    return row * width + (column + over * (width // 2)) % width


def _samples(fov: float, canvas: Size, view: Size) -> int:
    """Along the side of a view's cell, so that no cell of the canvas at the horizon is passed over."""
    finer = canvas[0] / math.pi * 2 * math.tan(fov / 2) / view[0]
    return min(max(round(finer), 1), SAMPLES)


def _within_cells(table: Tensor, samples: int) -> Tensor:
    """[V, K, h*s, w*s] -> [V, K*s*s, h, w]."""
    fine = table.unflatten(-1, (-1, samples)).unflatten(-3, (-1, samples))  # [V, K, h, s, w, s]
    return fine.permute(0, 1, 3, 5, 2, 4).flatten(1, 3)


def _place(directions: Tensor, rotation: Tensor, fov: float, aspect: float) -> Tensor:
    """Where a camera sees unit directions [..., 3]; see ``seen_at``."""
    x, y, z = (directions @ rotation).unbind(-1)
    reach = math.tan(fov / 2)
    place = torch.stack([y / z / reach, -x / z / (reach * aspect)], dim=-1)
    return torch.where((z < 0)[..., None], place, torch.inf)


def _inverse(directions: Tensor, rotation: Tensor, fov: float, view: Size) -> Inverse:
    """What a view says of the cells of the canvas in these unit directions [cells, 3] that it sees."""
    height, width = view
    furthest = math.cos(math.atan(math.tan(fov / 2) * math.hypot(1, width / height)))  # a corner
    (cells,) = (directions @ -rotation[:, 2] >= furthest - 1e-9).nonzero(as_tuple=True)
    place = _place(directions[cells], rotation, fov, width / height)
    inside = (place[:, 0].abs() <= 1) & (place[:, 1].abs() <= 1)
    cells, place = cells[inside], place[inside]
    weight = (1 - place.abs()).prod(dim=-1).clamp(min=LEAST_WEIGHT)
    corners = around(*((place + 1) / 2 * torch.tensor([height, width]) - 0.5).unbind(-1))
    taps = [row.clamp(0, height - 1) * width + column.clamp(0, width - 1) for row, column, _ in corners]
    shares = torch.stack([share for *_, share in corners])
    return Inverse(cells.int(), torch.stack(taps).int(), shares.float(), weight.float())
