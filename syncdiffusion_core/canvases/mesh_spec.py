"""The texture of an object as people ask for it: the object, the cameras around it, and the sizes."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from torch import Tensor

from ..views.gathered import Inverse
from ..views.schedule import CellGrid, Resolved, Space, Still
from .atlas import atlas_of
from .mesh import Mesh
from .mesh_views import MeshTables, drawn, mesh_views, told
from .orbit import Orbit
from .zbuffer import Hits

Size = tuple[int, int]
Drawn = Iterator[tuple[int, Hits]]
"""See ``mesh_views.drawn``."""
POWERS = (1.0, 6.0)
"""Of the cosine, in a run and in its last canvas: what sees a face from the front counts most where it is kept."""


@dataclass(frozen=True, eq=False)
class MeshViews:
    """The texture of a mesh, and the cameras that look at it: a ViewSpec.

    size_px: (height, width) of the texture. view_px: of every view. cull: whether faces are seen from outside only.
    powers: see ``mesh_views``. watched: what passes the cameras on as they are drawn, and may stop them.
    """

    mesh: Mesh
    cameras: Orbit
    size_px: Size
    view_px: Size
    space: Space = Space.RGB
    cull: bool = False
    powers: tuple[float, float] = POWERS
    distinct: bool = False
    by_views: bool = True
    watched: Callable[[Drawn], Drawn] = iter

    def shown(self, canvas: Tensor) -> Tensor:
        """The texture as it is."""
        return canvas

    def resolve(self, canvas: Size | None, grid: CellGrid) -> Resolved:
        """The views for a model; see ``ViewSpec``."""
        view = (grid.along("view_size", self.view_px[0]), grid.along("view_size", self.view_px[1]))
        whole = CellGrid(grid.cell_px)  # the texture is never shown to a network: it need not be in patches
        cells = (whole.along("atlas_size", self.size_px[0]), whole.along("atlas_size", self.size_px[1]))
        if canvas is not None and tuple(canvas) != cells:
            raise ValueError(
                f"the canvas is {canvas[1] * grid.cell_px} x {canvas[0] * grid.cell_px} px, the texture of the mesh "
                f"{self.size_px[1]} x {self.size_px[0]} px; give both the same size"
            )
        views, bake = self.tables(self.size_px, self.view_px)
        latent = views if grid.cell_px == 1 else self.tables(cells, view).views
        return Resolved(Still(latent), Still(views, last=bake))

    def drawn(self, view: Size) -> Drawn:
        """(number of a camera, what its view (height, width) shows), one after the other."""
        return self.watched(drawn(self.mesh, self.cameras, view, self.cull))

    def tables(self, size: Size, view: Size) -> MeshTables:
        """The views (height, width) of a texture (height, width)."""
        return mesh_views(self.mesh, atlas_of(self.mesh, size), self.cameras, self.drawn(view), self.powers)

    def ways_back(self, view: Size) -> Iterator[Inverse]:
        """What pictures (height, width) of the cameras say in the last canvas, one after the other."""
        atlas = atlas_of(self.mesh, self.size_px)
        for number, hits in self.drawn(view):
            yield told(self.mesh, atlas, self.cameras, number, hits).inverse(self.powers[1])
