"""Gaussians in space, as splats are stored, and their sizes and places in a camera's picture.

Convention: the world is that of ``rigs``, Y up; files and the host's SPLAT have Y down and Z forward, so that
world = (x, -y, -z). In a picture x goes to the right and y down, depth along the camera's axis, and centres of pixels
lie at half integers.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

LEAST_ALPHA = 1 / 255
"""What a gaussian hides of what lies behind it, below which it is not there (Kerbl et al. 2023)."""
MOST_ALPHA = 0.999
"""What a gaussian hides at the most: nothing is wholly hidden."""
THINNEST = 1e-3
"""Of the mean of its squared radii, what each has at least: a gaussian without a thickness has no density."""
NEAR = 1e-3
"""Of the median distance, within which a gaussian lies in the camera."""
SPLAT_AXES = (1.0, -1.0, -1.0)
"""From the frame of files to the world and from a camera's axes to a picture's, and back."""
TOLERANCE = 1e-3
"""By which opacities may be beyond 0 and 1."""


@dataclass(frozen=True)
class Gaussians:
    """Splats in the world, float64.

    positions [S, 3]; axes [S, 3, 3]: half axes as columns, as long as the standard deviations; opacity [S].
    """

    positions: Tensor
    axes: Tensor
    opacity: Tensor

    def __len__(self) -> int:
        return len(self.positions)

    @property
    def visible(self) -> Tensor:
        """Those that can be seen: [S] bool."""
        return self.opacity >= LEAST_ALPHA


def gaussians(positions: Tensor, scales: Tensor, rotations: Tensor, opacities: Tensor) -> Gaussians:
    """From the frame of splats: positions and scales [S, 3], quaternions [S, 4] (w, x, y, z), opacities [S] in [0, 1].

    Raises ValueError for none, for what is not finite, for lengths below 0 and opacities that are none.
    """
    _check(positions, scales, rotations, opacities)
    flip = torch.tensor(SPLAT_AXES, dtype=torch.float64, device=positions.device)
    radii = scales.double()
    radii = (radii.square() + THINNEST * radii.square().mean(dim=1, keepdim=True)).sqrt()
    axes = flip[:, None] * _turns(rotations.double()) * radii[:, None, :]
    return Gaussians(positions.double() * flip, axes, opacities.double().clamp(0, 1))


class Footprints(NamedTuple):
    """What gaussians cover of a picture, front to back.

    numbers [n]: which they are. form [11, n] float32: see ``alphas``. boxes [n, 4]: first row, first column, last row
    and last column of the pixels that they may be seen in.
    """

    numbers: Tensor
    form: Tensor
    boxes: Tensor

    @property
    def areas(self) -> Tensor:
        """Pixels that each would cover where nothing hides it, by how much of them: [n]."""
        a, b, c, opacity = self.form[[2, 3, 4, 10]]
        return opacity * math.tau / (a * c - b * b / 4).clamp(min=torch.finfo(a.dtype).tiny).sqrt()

    def to(self, device: torch.device | None) -> "Footprints":
        """The same there."""
        return Footprints(*(part.to(device) for part in self))


def footprints(given: Gaussians, rotation: Tensor, place: Tensor, fov: float, size: tuple[int, int]) -> Footprints:
    """Of a camera (rotation to the world [3, 3], place [3]) with a vertical field of view.

    A gaussian is seen along a ray as at the ray's densest point. With A its half axes, p its middle, m = p / p_z and
    m + d the ray, the squared distance there is p_z^2 |A^T (m x d)|^2 / |adj(A) (m + d)|^2: without an inverse, and
    nothing cancels however thin or far it is.
    """
    flip = torch.tensor(SPLAT_AXES, dtype=torch.float64, device=given.positions.device)
    rotation, place = (x.to(given.positions) for x in (rotation, place))
    points = (given.positions - place) @ rotation * flip  # right, down, forward
    kept = (points[:, 2] > NEAR * points.norm(dim=1).median()) & given.visible
    points, axes = points[kept], flip[:, None] * (rotation.T @ given.axes[kept])
    reach = 2 * torch.log(given.opacity[kept] / LEAST_ALPHA)  # squared, in standard deviations
    focal = size[0] / 2 / math.tan(fov / 2)
    boxes = _boxes(points, axes, reach, focal, size)
    seen = (boxes[:, 0] <= boxes[:, 2]) & (boxes[:, 1] <= boxes[:, 3])
    form = _form(points[seen], axes[seen], focal, size)
    form = torch.cat([form, given.opacity[kept][seen][None]]).float()
    order = points[seen, 2].sort(stable=True).indices
    return Footprints(kept.nonzero()[:, 0][seen][order], form[:, order], boxes[seen][order])


def alphas(form: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """What gaussians of a form [11, …] hide at places of the picture: of the shape that form[0], x and y have.

    (x, y) of the middle; a, b, c of the distance a dx^2 + b dx dy + c dy^2, over 1 + e0 dx + e1 dy + e2 dx^2
    + e3 dx dy + e4 dy^2; opacity. In pixels.
    """
    right, down, a, b, c, e0, e1, e2, e3, e4, opacity = form
    dx, dy = x - right, y - down
    near = dx * (a * dx + b * dy) + c * dy * dy
    along = 1 + dx * (e0 + e2 * dx + e3 * dy) + dy * (e1 + e4 * dy)
    alpha = opacity * torch.exp(-0.5 * near / along)
    return torch.where(alpha >= LEAST_ALPHA, alpha, 0).clamp(max=MOST_ALPHA)


def _form(points: Tensor, axes: Tensor, focal: float, size: tuple[int, int]) -> Tensor:
    """What ``alphas`` takes but for the opacity: [10, n]."""
    x, y, z = points.unbind(-1)
    mx, my, one, none = x / z, y / z, torch.ones_like(z), torch.zeros_like(z)
    across = torch.stack([none, one, -my], dim=-1), torch.stack([-one, none, mx], dim=-1)
    u, v = ((axes.transpose(1, 2) @ side[..., None])[..., 0] * z[:, None] for side in across)
    a0, a1, a2 = axes.unbind(-1)
    adjugate = torch.stack([torch.linalg.cross(a1, a2), torch.linalg.cross(a2, a0), torch.linalg.cross(a0, a1)], 1)
    c0 = (adjugate @ torch.stack([mx, my, one], dim=-1)[..., None])[..., 0]
    c1, c2 = adjugate[..., 0], adjugate[..., 1]
    scale = c0.square().sum(dim=-1).clamp(min=torch.finfo(torch.float64).tiny)

    def part(one: Tensor, other: Tensor, factor: float) -> Tensor:
        return factor * (one * other).sum(dim=-1) / scale

    first, second = 1 / focal, 1 / focal**2
    return torch.stack(
        [
            *(focal * mx + size[1] / 2, focal * my + size[0] / 2),
            *(part(u, u, second), part(u, v, 2 * second), part(v, v, second)),
            *(part(c0, c1, 2 * first), part(c0, c2, 2 * first)),
            *(part(c1, c1, second), part(c1, c2, 2 * second), part(c2, c2, second)),
        ]
    )


def _boxes(points: Tensor, axes: Tensor, reach: Tensor, focal: float, size: tuple[int, int]) -> Tensor:
    """Pixels that the ellipsoids around gaussians are seen in, [n, 4]; the whole picture where one reaches the camera.

    From the tangents of an ellipsoid: along an axis x / z goes to the roots of a quadratic.
    """
    spread = reach[:, None, None] * (axes @ axes.transpose(1, 2))  # squared
    depth = points[:, 2].square() - spread[:, 2, 2]
    ends = []
    for axis in (1, 0):  # rows, columns
        at, length = points[:, axis], size[1 - axis]
        middle = at * points[:, 2] - spread[:, axis, 2]
        root = (
            spread[:, axis, axis] * points[:, 2].square()
            + spread[:, 2, 2] * at.square()
            - 2 * spread[:, axis, 2] * at * points[:, 2]
            + spread[:, axis, 2].square()
            - spread[:, axis, axis] * spread[:, 2, 2]
        )
        root = root.clamp(min=0).sqrt()
        first, last = (((middle + sign * root) / depth * focal + length / 2) for sign in (-1, 1))
        inside = depth > 0
        first = torch.where(inside, (first - 0.5).ceil(), 0).nan_to_num().clamp(0, length)
        last = torch.where(inside, (last - 0.5).floor(), length - 1).nan_to_num().clamp(-1, length - 1)
        ends.append((first.long(), last.long()))
    (top, bottom), (left, right) = ends
    return torch.stack([top, left, bottom, right], dim=-1)


def _turns(quaternions: Tensor) -> Tensor:
    """Rotations [S, 3, 3] of quaternions (w, x, y, z); of one without a length, none."""
    w, x, y, z = (quaternions / quaternions.norm(dim=-1, keepdim=True).clamp(min=1e-12)).unbind(-1)
    rows = [
        *(1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        *(2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        *(2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    ]
    return torch.stack(rows, dim=-1).unflatten(-1, (3, 3))


def _check(positions: Tensor, scales: Tensor, rotations: Tensor, opacities: Tensor) -> None:
    count = len(positions)
    if not count:
        raise ValueError("splat: it holds no splats; load another file, or check the node that made it")
    given = {"positions": (positions, (3,)), "scales": (scales, (3,)), "rotations": (rotations, (4,))}
    for name, (values, shape) in {**given, "opacities": (opacities, ())}.items():
        if values.shape != (count, *shape):
            wanted = ", ".join(map(str, (count, *shape)))
            raise ValueError(
                f"splat: its {name} must be [{wanted}], got {list(values.shape)}; check the node that made it"
            )
        if not bool(torch.isfinite(values).all()):
            raise ValueError(f"splat: its {name} hold NaN or infinite values; load another file, or check what made it")
    if bool((scales < 0).any()):
        raise ValueError(
            f"splat: its scales go down to {float(scales.min()):g}, and a radius is not negative; files store "
            "logarithms: load the file with Get Splat"
        )
    least, most = float(opacities.min()), float(opacities.max())
    if least < -TOLERANCE or most > 1 + TOLERANCE:
        raise ValueError(
            f"splat: its opacities go from {least:g} to {most:g}, and those of splats from 0 to 1; files "
            "store logits: load the file with Get Splat"
        )
