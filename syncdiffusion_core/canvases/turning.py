"""A rig that turns from step to step: few views that hardly overlap, and still no border that stays where it is.

The sphere's kin of the windows in ``grids``. Turns are spread over the steps as evenly as can be, whatever their
number (R2 sequence, Roberts 2018), and belong to the step alone: a run has the same ones every time.
"""

import math
from enum import Enum

from .rigs import Rig, looking

PLASTIC = 1.32471795724474602596
"""The real root of x^3 = x + 1: multiples of 1/x and 1/x^2, modulo 1, spread the most evenly in a square."""
TILT = math.radians(15)
"""Most that a turn lifts or lowers the front of the rig, and rolls its sides: models learnt from upright pictures."""
SAME = 1e-3
"""Angle below which two cameras look at the same place."""


class Motion(str, Enum):
    """Whether the cameras stay where they are."""

    STILL = "still"
    TURNING = "turning"


def turned(rig: Rig, step: int) -> Rig:
    """The rig at a step, at rest at step 0: tilted by at most TILT, then turned about the vertical axis.

    It turns by at most half the angle between cameras, either way: a cube or a ring comes to stand everywhere, and a
    camera's number still says where it looks.
    """
    yaw, tilt = (
        most * (2 * ((0.5 + step * share) % 1) - 1)
        for most, share in ((_half_apart(rig), 1 / PLASTIC), (TILT, 1 / PLASTIC**2))
    )
    return rig.turned(looking(yaw, tilt))


def _half_apart(rig: Rig) -> float:
    """Half the least angle between two cameras that look elsewhere, pi for one alone."""
    forward = rig.rotations[:, :, 2]
    apart = (forward @ forward.T).clamp(-1, 1).acos()
    return float(apart[apart > SAME].min()) / 2 if bool((apart > SAME).any()) else math.pi
