"""Splats as people ask for them to be painted: cameras around them, once looked through."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..views.bags import BaggedViews
from ..views.schedule import CellGrid, Resolved, Space, Still
from .light import from_light, to_light
from .splat_tables import Strongest
from .splats import Size, SplatScene, coarser, splat_views

GREY = 0.5
"""Of pictures, where there are no splats."""


@dataclass(frozen=True)
class SplatViews:
    """Splats seen by cameras around them: a ViewSpec. The canvas is of their colours, [N, C, splats].

    looks: what each camera sees, of the size of the views; made once, as what is painted are colours.
    """

    scene: SplatScene
    looks: tuple[Strongest, ...]
    space: Space = Space.RGB
    distinct: bool = False
    by_views: bool = True

    def __post_init__(self) -> None:
        if len(self.looks) != len(self.scene):
            raise ValueError(f"there must be a look for each of {len(self.scene)} cameras, got {len(self.looks)}")

    @property
    def view_px(self) -> Size:
        """(height, width) of every view."""
        height, width = self.looks[0].opacity.shape
        return height, width

    @property
    def count(self) -> int:
        """Strongest splats that are kept of a pixel."""
        return self.looks[0].splats.shape[-1]

    def shown(self, canvas: Tensor) -> Tensor:
        """What the cameras see of a canvas [N, C, splats]: [V*N, C, h, w], 0 where there are no splats."""
        return self.views().project(canvas)

    def views(self) -> BaggedViews:
        """The views in pixels."""
        return splat_views(self.looks, len(self.scene.splats))

    def resolve(self, canvas: Sequence[int] | None, grid: CellGrid) -> Resolved:
        """The views for a model; see ``ViewSpec``."""
        if canvas is not None:
            raise ValueError("splats have a canvas of their own, and no latent is one; use View Sampler for them")
        for side, pixels in zip(("view_height", "view_width"), self.view_px, strict=True):
            grid.along(side, pixels)
        of_pixels = Still(self.views())
        if grid.cell_px == 1:
            return Resolved(of_pixels, of_pixels)
        of_cells = splat_views(coarser(self.looks, grid.cell_px), len(self.scene.splats))
        return Resolved(Still(of_cells), of_pixels)


def pictures(looks: Sequence[Strongest], light: Tensor) -> Tensor:
    """What cameras see of splats of those colours of light [S, 3], in front of grey: sRGB [V, h, w, 3] in [0, 1]."""
    return torch.stack([_picture(look, light) for look in looks])


def _picture(look: Strongest, light: Tensor) -> Tensor:
    total = look.weights.sum(dim=-1, keepdim=True)
    shares = look.weights * (look.opacity[..., None] / total.clamp(min=1e-12))
    splats = sum(
        light[number.clamp(min=0).long()] * share[..., None]
        for number, share in zip(look.splats.unbind(-1), shares.unbind(-1), strict=True)
    )
    return from_light((splats + (1 - look.opacity[..., None]) * to_light(torch.tensor(GREY))).clamp(0, 1))
