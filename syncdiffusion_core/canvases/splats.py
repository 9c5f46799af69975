"""Gaussian splats as a canvas: their colours, a cell each, which cameras around them see.

Convention: as in ``gaussians``. A cell of a view is the mean of the splats that are seen in it, by how much of each is:
constants stay, and of what one half looks through, the splats' part is shown in full. How opaque they are together is
the cell's weight on the canvas; where that is less than half, a view shows nothing of it. What lies in front of each
other adds up in light, and these views mix what they are given: pictures as they are stored, latents, or light.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..views.bags import BaggedViews
from .gaussians import Gaussians, footprints
from .orbit import Ball, Orbit, orbit
from .rigs import Rig
from .splat_tables import Strongest, disparity, pooled, strongest

Size = tuple[int, int]
LEAST_OPACITY = 0.5
"""From which a cell shows splats; the host's depth and normals of splats end there too."""
LEAST_SHARE = 0.05
"""Of a splat, without what lies in front of it in the view that shows the most: half of those in front show more than
.2, one in twenty of those on the far side of an object .03 to .08.
"""
FAR = 0.1
"""Of what is farthest in a hint: the far end of an object is no background."""
CUT = 0.001
"""Share of what is shown that may be nearer than white, and as much farther than the far end."""
POOLED = 32
"""Splats of a latent cell that are kept at the least, of the many that its pixels show."""


STRAY = 0.01
"""Share of the splats, at either end, that do not count for where they are and how large: floaters of scans."""
MOST_PLACES = 1 << 22
"""Of which that is told."""


@dataclass(frozen=True)
class SplatScene:
    """Splats, and cameras around them."""

    splats: Gaussians
    cameras: Orbit

    def __len__(self) -> int:
        return len(self.cameras)

    def looks(self, size: Size, count: int, device: torch.device | None = None) -> Iterator[Strongest]:
        """What each camera sees in a picture (height, width): the count strongest splats of every pixel.

        device: that looks; what it sees is kept in main memory.
        """
        for rotation, place in self._standing:
            seen = footprints(self.splats, rotation, place, self.cameras.rig.fov, size)
            yield Strongest(*(part.cpu() for part in strongest(seen.to(device), size, count)))

    def disparities(self, looks: Sequence[Strongest]) -> Tensor:
        """1 / depth of what they show: [V, h, w]."""
        standing = zip(looks, self._standing, strict=True)
        return torch.stack([disparity(self.splats, look, *camera) for look, camera in standing])

    def seen(self, looks: Sequence[Strongest]) -> Tensor:
        """Which splats are shown, and not only through what lies in front of them: [S] bool."""
        most = torch.zeros(len(self.splats))
        for look, (rotation, place) in zip(looks, self._standing, strict=True):
            size = (look.opacity.shape[0], look.opacity.shape[1])
            given = footprints(self.splats, rotation, place, self.cameras.rig.fov, size)
            shown = look.splats >= 0
            weight = torch.bincount(look.splats[shown], look.weights[shown], minlength=len(most))
            share = weight[given.numbers] / given.areas.clamp(max=size[0] * size[1])
            most[given.numbers] = torch.maximum(most[given.numbers], share)
        return most >= LEAST_SHARE

    @property
    def _standing(self) -> Iterator[tuple[Tensor, Tensor]]:
        """(rotation, place) of each camera."""
        return zip(self.cameras.rig.rotations, self.cameras.eyes, strict=True)


def scene(splats: Gaussians, rig: Rig, distance: float = 0.0) -> SplatScene:
    """Splats and a rig around them. distance: of the cameras from their middle, 0 for one at which they fit the views.

    Raises ValueError where nothing can be seen, or all are in one place and the distance is not given.
    """
    some = splats.positions[splats.visible]
    if not len(some):
        raise ValueError("splat: none of its splats is opaque enough to be seen; check the node that made it")
    ball = ball_of(some)
    if not distance and not ball.radius:
        raise ValueError("splat: its splats are all in one place, so no distance fits them; set distance yourself")
    return SplatScene(splats, orbit(rig, ball, distance))


def ball_of(points: Tensor) -> Ball:
    """What holds points [n, 3], but for stray ones."""
    some = points[:: -(-len(points) // MOST_PLACES)].double()
    cut = int(STRAY * len(some))
    ordered = some.sort(dim=0).values
    middle = (ordered[cut] + ordered[-1 - cut]) / 2
    return Ball(middle, float((some - middle).norm(dim=1).sort().values[-1 - cut]))


def splat_views(looks: Sequence[Strongest], splats: int) -> BaggedViews:
    """Views of a canvas of so many splats. Raises ValueError where none of them shows any."""
    opacity = torch.stack([look.opacity for look in looks])
    shown = opacity >= LEAST_OPACITY  # [V, h, w]
    if not bool(shown.any()):
        raise ValueError(
            "splat: no camera sees it, as it is behind all of them, too faint or too small; set distance to 0, or "
            "choose a rig that looks at them"
        )
    taps, weights = (torch.stack(parts).movedim(-1, 1) for parts in zip(*(look[:2] for look in looks), strict=True))
    taps = torch.where(shown[:, None], taps, -1)
    shares = weights / weights.sum(dim=1, keepdim=True).clamp(min=torch.finfo(weights.dtype).tiny)
    return BaggedViews(taps, shares, (splats,), torch.where(shown, opacity, 0))


def coarser(looks: Sequence[Strongest], cell: int) -> list[Strongest]:
    """The same of cells of several pixels along a side."""
    return [pooled(look, cell, max(look.splats.shape[-1], POOLED)) for look in looks]


def depth_hints(disparities: Tensor, opacity: Tensor) -> Tensor:
    """[V, h, w] each -> hints [V, h, w] in [0, 1]: near white, what is farthest FAR, in one range for all views.

    Black where nothing is shown.
    """
    shown = opacity >= LEAST_OPACITY
    values = disparities[shown].sort().values
    if not len(values):
        return torch.zeros_like(disparities)
    cut = int(CUT * len(values))
    far, near = values[cut], values[-1 - cut]
    share = ((disparities - far) / (near - far)).clamp(0, 1) if near > far else torch.ones_like(disparities)
    return torch.where(shown, FAR + (1 - FAR) * share, 0)
