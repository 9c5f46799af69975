"""Canvases that keep the contract of views, one line each; ``test_contract`` asks every one of them the same.

A new canvas: a line in CANVASES with its name, a factory of its ``ViewSchedule``, and what it does not claim.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from canvases import shapes
from canvases.cube import cube_views
from torch import Tensor

from syncdiffusion_core.blending import Blend
from syncdiffusion_core.canvases.grids import Grid
from syncdiffusion_core.canvases.images import ImageLook, ImageMap, ImageViews
from syncdiffusion_core.canvases.mesh_spec import MeshViews
from syncdiffusion_core.canvases.orbit import orbit
from syncdiffusion_core.canvases.rigs import RigKind, make_rig
from syncdiffusion_core.canvases.sphere import sphere_views
from syncdiffusion_core.canvases.sphere_spec import TurningSphere
from syncdiffusion_core.canvases.window_layout import WindowLayout
from syncdiffusion_core.canvases.windows import full_canvas
from syncdiffusion_core.views.schedule import CellGrid, Still, ViewSchedule
from syncdiffusion_core.views.tables import LinearViews


class Canvas(NamedTuple):
    """make: the views, made afresh at every call. What they claim: adjoint, that every weight is 1 and unproject the
    adjoint of project; covers, that every step sees every cell; moves, that steps see different views; turns, that
    these are others under the same names."""

    make: Callable[[], ViewSchedule]
    adjoint: bool = True
    covers: bool = True
    moves: bool = False
    turns: bool = False


def windows(canvas: tuple[int, int], window: tuple[int, int], stride: tuple[int, int], **other) -> ViewSchedule:
    """Windows in cells, (height, width). other: of the layout."""
    return WindowLayout(window[1], window[0], stride[1], stride[0], **other).resolve(canvas, CellGrid(1)).latent


def image(*kinds: ImageMap | ImageLook, planes: int = 1, size: int = 16) -> ViewSchedule:
    """Identity and other maps of a square picture of so many cells, a latent of cells of 8 pixels."""
    looks = [kind if isinstance(kind, ImageLook) else ImageLook(kind, picture=GRADIENT) for kind in kinds]
    spec = ImageViews((8 * size, 8 * size), (ImageLook(), *looks), planes)
    return spec.resolve(None, CellGrid(8)).latent


def cube(*degrees: tuple[float, float]) -> ViewSchedule:
    """Views of 100 degrees with 24 cells a side, of a cube of 8 a side: each cell is seen several times by a view."""
    cameras = [(math.radians(azimuth), math.radians(elevation)) for azimuth, elevation in degrees]
    return Still(cube_views(8, 24, cameras, math.radians(100)))


def sphere(kind: RigKind, count: int) -> ViewSchedule:
    """Views of 80 degrees with 12 cells a side, of an equirectangular canvas of 24 x 48."""
    return Still(sphere_views(make_rig(kind, count, math.radians(80)), (24, 48), (12, 12)))


def texture(parts: shapes.Parts, kind: RigKind) -> ViewSchedule:
    """Views of 60 degrees with 16 cells a side, of a texture of 24 x 24."""
    mesh = shapes.of(parts)
    cameras = orbit(make_rig(kind, 6, math.radians(60)), mesh.ball)
    return MeshViews(mesh, cameras, (24, 24), (16, 16)).resolve(None, CellGrid(1)).latent


def _halved(canvas: Tensor, number: int) -> Tensor:
    """Half as fine, upright and upside down."""
    return F.avg_pool2d(canvas if number == 0 else canvas.flip(-2), 2)


def turning_cube() -> ViewSchedule:
    """Six views of 95 degrees with 12 cells a side, of an equirectangular canvas of 24 x 48."""
    return TurningSphere(make_rig(RigKind.CUBE, 1, math.radians(95)), (24, 48), (12, 12))


GRADIENT = torch.linspace(0, 1, 40 * 30).view(1, 40, 30).sin()
RING = [(azimuth, 0.0) for azimuth in range(0, 360, 90)]

CANVASES = {
    "windows": Canvas(lambda: windows((16, 40), (16, 16), (16, 8))),
    "windows that reach the edge": Canvas(lambda: windows((17, 29), (8, 12), (5, 7))),
    "windows around": Canvas(lambda: windows((16, 40), (16, 16), (16, 6), wrap_x=True)),
    "windows around both ways": Canvas(lambda: windows((20, 24), (12, 16), (8, 10), wrap_x=True, wrap_y=True)),
    "feathered windows": Canvas(lambda: windows((24, 24), (16, 16), (8, 8), blend=Blend.FEATHERED), adjoint=False),
    "rolled windows": Canvas(lambda: windows((16, 40), (16, 16), (16, 8), wrap_x=True, grid=Grid.ROLLED), moves=True),
    "alternating windows": Canvas(lambda: windows((16, 40), (16, 16), (16, 8), grid=Grid.ALTERNATING), moves=True),
    "one window": Canvas(lambda: Still(full_canvas((12, 20)))),
    **{kind.value: Canvas(lambda kind=kind: image(kind)) for kind in ImageMap},
    "a quarter turn of the inner circle": Canvas(lambda: image(ImageLook(ImageMap.INNER_CIRCLE, angle_deg=90))),
    "moved and negated and turned by 45": Canvas(
        lambda: image(ImageMap.NEGATE, ImageMap.ROTATE_90, ImageMap.INNER_CIRCLE)
    ),
    "n to one": Canvas(lambda: image(ImageMap.ROTATE_90, planes=10)),
    "n to n": Canvas(lambda: image(ImageMap.INNER_CIRCLE, planes=3)),
    "a function": Canvas(lambda: Still(LinearViews(_halved, (16, 16), (8, 8), 2))),
    "cube": Canvas(lambda: cube(*RING, (0, 90), (0, -90)), adjoint=False),
    "sphere": Canvas(lambda: sphere(RigKind.THREE_RINGS, 8), adjoint=False),
    "icosahedron of a sphere": Canvas(lambda: sphere(RigKind.ICOSAHEDRON, 1), adjoint=False),
    "a turning cube of a sphere": Canvas(turning_cube, adjoint=False, moves=True, turns=True),
    "a ring of a sphere": Canvas(lambda: sphere(RigKind.RING, 6), adjoint=False, covers=False),
    "a texture of a torus": Canvas(lambda: texture(shapes.torus_parts(24, 12), RigKind.THREE_RINGS), adjoint=False),
    "a texture of a cube": Canvas(lambda: texture(shapes.cube_parts(), RigKind.TEXTURE), adjoint=False, covers=False),
    "a ring of a cube": Canvas(lambda: cube(*RING), adjoint=False, covers=False),
}
