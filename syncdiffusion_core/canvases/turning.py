"""A rig that turns from step to step: few views that hardly overlap, and still no border that stays where it is.

The sphere's kin of the windows in ``grids``. Turns are spread over the steps as evenly as can be, whatever their
number (R2 sequence, Roberts 2018), and belong to the step alone: a run has the same ones every time.
"""

import math
from dataclasses import replace
from enum import Enum

from .rigs import Rig, looking

PLASTIC = 1.32471795724474602596
"""The real root of x^3 = x + 1: multiples of 1/x and 1/x^2, modulo 1, spread the most evenly in a square."""
TILT = math.radians(15)
"""Most that a turn lifts or lowers the front of the rig: views further from upright are rare in what models learnt."""


class Motion(str, Enum):
    """Whether the cameras stay where they are."""

    STILL = "still"
    TURNING = "turning"


def turned(rig: Rig, step: int) -> Rig:
    """The rig at a step, at rest at step 0: turned about the vertical axis by any angle, after a tilt of at most TILT.

    Its cameras are in the places of those at rest that they look nearest to, so that a camera's number still says
    where it looks: in a ring to within half the angle between two of its cameras, and the tilt.
    """
    yaw = math.tau * (step / PLASTIC % 1)
    tilt = TILT * (2 * ((0.5 + step / PLASTIC**2) % 1) - 1)
    return _by_direction(rig.turned(looking(yaw, tilt)), rig)


def _by_direction(rig: Rig, rest: Rig) -> Rig:
    """The cameras in the order of those at rest, the pairs that look most alike first."""
    alike = rest.rotations[:, :, 2] @ rig.rotations[:, :, 2].T  # [V at rest, V]
    order = [0] * len(rig)
    for _ in order:
        place, camera = divmod(int(alike.argmax()), len(rig))
        order[place] = camera
        alike[place], alike[:, camera] = -math.inf, -math.inf
    return replace(rig, rotations=rig.rotations[order])
