"""Where a picture of a sphere gives itself away: the meridian at which it was cut, its poles, a broken skyline.

Convention: pictures are equirectangular, [3, H, W] in [0, 1]; see ``syncdiffusion_core.canvases.sphere``.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from syncdiffusion_core.canvases.rigs import looking
from syncdiffusion_core.canvases.sphere import taps_of

MERIDIANS = 8
SMOOTH = 1 / 255
"""Of a difference of neighbours, added to both sides of a ratio: a clear sky has neither seams nor a pinch."""
CIRCLES = (1.5, 2.5, 3.5, 4.5)
"""Radii around a pole, in pixels of its view."""
ELSEWHERE = (8, 32)
"""Pixels from the middle of a pole's view, from and to which it is what a picture is elsewhere: sky or ground."""
JUMP_PX, WITHIN_PX = 20.0, 3
"""Of a skyline, and within how many columns of a view: cameras and the detector spread a step over some. Of 104 views
of true globes 3 % have one; where every other 32 columns of these stand 24 rows higher, 68 %."""


def steps_across(picture: Tensor) -> tuple[float, float]:
    """Mean absolute difference of neighbouring columns at the wrap, and at seven other meridians; see ``SMOOTH``.

    They stand at eighths of the picture, where cameras of a ring of eight and windows look as they do at the wrap: a
    picture is sharper in the middle of a view than where views overlap. The ratio of both means over pictures is 1
    where the wrap is a meridian like any other. Source: own (ANCHORS, section 3).
    """
    width = picture.shape[-1]
    steps = (picture - picture.roll(1, -1)).abs().mean(dim=(0, 1))  # [W]: of each column to the one before
    wrap, *others = steps[[round(k * width / MERIDIANS) for k in range(MERIDIANS)]].tolist()
    return wrap + SMOOTH, sum(others) / len(others) + SMOOTH


def pinch(picture: Tensor, poles: Tensor, fov: float) -> float:
    """How much more changes around the poles, circle by circle, than from pixel to pixel farther out in their views.

    A ratio of mean absolute differences a pixel of the view, in [0, inf), of both poles together: around 1 where they
    are as the rest, far more where all columns of the canvas meet in a point. poles: both views [2, 3, h, w] of this
    field of view (radians). Source: own.
    """
    px = 2 * math.tan(fov / 2) / poles.shape[-1]
    around = torch.cat([_around_pole(picture, up, math.atan(r * px), r) for up in (True, False) for r in CIRCLES])
    y, x = (torch.arange(side, device=poles.device) + 0.5 - side / 2 for side in poles.shape[-2:])
    away = (y[:, None].square() + x.square()).sqrt()  # [h, w]
    far = (away > ELSEWHERE[0]) & (away < ELSEWHERE[1])
    right = (poles[..., 1:] - poles[..., :-1]).abs().mean(dim=(0, 1))[far[:, 1:]]
    down = (poles[..., 1:, :] - poles[..., :-1, :]).abs().mean(dim=(0, 1))[far[1:]]
    return float((around.mean() + SMOOTH) / (torch.cat([right, down]).mean() + SMOOTH))


def _around_pole(picture: Tensor, up: bool, angle: float, radius: float) -> Tensor:
    """Differences of neighbours a pixel apart on a circle of so many pixels around a pole."""
    count = round(math.tau * radius)
    azimuths = torch.arange(count, dtype=torch.float64) * math.tau / count
    across, height = math.sin(angle), math.cos(angle) * (1 if up else -1)
    rays = torch.stack([across * azimuths.sin(), torch.full_like(azimuths, height), -across * azimuths.cos()], dim=-1)
    taps, shares = taps_of(rays[None, None], picture.shape[-2:])  # [1, 4, 1, count]
    flat = picture.flatten(1)
    seen = (flat[:, taps[0, :, 0].to(flat.device)] * shares[0, :, 0].to(flat)).sum(dim=1)  # [3, count]
    return (seen - seen.roll(1, -1)).abs().mean(dim=0) * (count / (math.tau * radius))


def is_broken(skylines: Tensor) -> Tensor:
    """Whether skylines [N, W], in rows, jump within a few columns: [N] bool."""
    return ((skylines[:, WITHIN_PX:] - skylines[:, :-WITHIN_PX]).abs() > JUMP_PX).any(dim=1)


def pole_rotations(roll_deg: float) -> Tensor:
    """Cameras that look straight up and down, [2, 3, 3], rolled against every rig's."""
    return torch.stack([looking(0.0, pole, math.radians(roll_deg)) for pole in (math.pi / 2, -math.pi / 2)])
