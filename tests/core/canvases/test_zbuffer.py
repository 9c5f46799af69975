"""The z-buffer against a loop over pixels and faces, and in closed form."""

import math

import pytest
import torch
from canvases import shapes
from torch import Tensor

from syncdiffusion_core.canvases import zbuffer
from syncdiffusion_core.canvases.orbit import orbit
from syncdiffusion_core.canvases.rigs import RigKind, make_rig
from syncdiffusion_core.canvases.zbuffer import rasterise


def slow(corners: Tensor, size: tuple[int, int], near: float) -> tuple[Tensor, Tensor]:
    """(face, depth) of each pixel by cutting its ray with every triangle in turn, in the units of the camera.

    A pixel is the ray (x, y, 1) * w; corners (x * w, y * w, w) are points, and w is the depth of where it meets them.
    """
    height, width = size
    face, depth = torch.full(size, -1), torch.full(size, math.inf, dtype=torch.float64)
    for row in range(height):
        for column in range(width):
            ray = torch.tensor([column + 0.5, row + 0.5, 1.0], dtype=torch.float64)
            for number, (a, b, c) in enumerate(corners.double()):
                matrix = torch.stack([b - a, c - a, -ray], dim=1)
                if abs(float(torch.linalg.det(matrix))) < 1e-9:
                    continue
                s, t, w = torch.linalg.solve(matrix, -a).tolist()
                if min(s, t, 1 - s - t) >= -1e-9 and near <= w < depth[row, column] - 1e-12:
                    face[row, column], depth[row, column] = number, w
    return face, depth


def soup(count: int, seed: int, depth: tuple[float, float]) -> Tensor:
    """Triangles at random over a picture of 16 x 12 pixels, their corners at depths between these."""
    generator = torch.Generator().manual_seed(seed)
    place = torch.rand(count, 3, 2, generator=generator).double() * 30 - 8
    w = depth[0] + (depth[1] - depth[0]) * torch.rand(count, 3, 1, generator=generator).double()
    return torch.cat([place * w, w], dim=-1)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("depth", [(1.0, 3.0), (-1.0, 2.0)], ids=["in front", "through the near plane"])
def test_it_is_what_a_loop_finds(seed, depth):
    corners, size, near = soup(10, seed, depth), (12, 16), 0.1
    hits = rasterise(corners, size, near)
    face, distance = slow(corners, size, near)
    assert torch.equal(hits.face.long(), face)
    assert (face >= 0).any()
    torch.testing.assert_close(hits.inverse_depth, (1 / distance).float(), atol=1e-6, rtol=1e-5)
    points = (corners[face.clamp(min=0)] * hits.shares[..., None]).sum(dim=-2)
    rows, columns = torch.meshgrid(torch.arange(12) + 0.5, torch.arange(16) + 0.5, indexing="ij")
    here = torch.stack([columns, rows, torch.ones(size)], dim=-1).double() * distance[..., None]
    seen = hits.seen
    torch.testing.assert_close(points[seen], here[seen], atol=1e-4, rtol=1e-4)


def test_a_floor_ends_where_the_near_plane_cuts_it():
    """A plane one below the camera, from behind it to far ahead: row y of a view of 90 degrees is 1 / slope away."""
    size, half = (32, 32), 16.0
    x, z = torch.tensor([-50.0, -50, 50, 50]).double(), torch.tensor([-5.0, 50, 50, -5]).double()
    floor = torch.stack([half * x + half * z, half * torch.ones(4).double() + half * z, z], dim=-1)
    corners = floor[torch.tensor([[0, 1, 2], [0, 2, 3]])]
    hits = rasterise(corners, size, near=1.5)
    down = (torch.arange(32) + 0.5 - half) / half
    distance = 1 / down
    seen = (down > 0) & (distance >= 1.5) & (distance <= 50)
    assert torch.equal(hits.seen, seen[:, None].expand(size))
    torch.testing.assert_close(hits.inverse_depth[seen], down[seen, None].expand(-1, 32).float())


def test_neighbours_leave_no_pixel_between_them_out():
    """Corners and edges on centres of pixels, too."""
    points = torch.stack(torch.meshgrid(torch.arange(9.0), torch.arange(9.0), indexing="xy"), dim=-1).flatten(0, 1)
    points = torch.cat([points + 0.5, torch.ones(81, 1)], dim=-1)
    here = (torch.arange(8)[:, None] * 9 + torch.arange(8)).flatten()
    faces = torch.cat([torch.stack([here, here + 1, here + 9], -1), torch.stack([here + 1, here + 10, here + 9], -1)])
    hits = rasterise(points[faces], (9, 9), near=0.5)
    assert hits.seen.all()
    turn = torch.tensor([[math.cos(0.3), math.sin(0.3)], [-math.sin(0.3), math.cos(0.3)]])
    spun = torch.cat([(points[:, :2] - 4.5) @ turn * 3 + 4.5, torch.ones(81, 1)], dim=-1)
    assert rasterise(spun[faces], (9, 9), near=0.5).seen.all()


def test_of_two_at_one_depth_the_first_is_seen():
    corners = torch.tensor([[[0.0, 0, 1], [9, 0, 1], [0, 9, 1]]])
    assert set(rasterise(corners.repeat(3, 1, 1), (4, 4), 0.5).face.unique().tolist()) == {0}
    hits = rasterise(corners.repeat(3, 1, 1), (4, 4), 0.5, torch.tensor([False, True, True]))
    assert set(hits.face.unique().tolist()) == {1}


def test_what_has_no_area_or_no_number_is_passed_over():
    corners = torch.tensor([[[0.0, 0, 1], [9, 9, 1], [3, 3, 1]], [[0, 0, 1], [9, 0, 1], [0, math.nan, 1]]])
    assert not rasterise(corners, (8, 8), 0.5).seen.any()
    assert not rasterise(torch.zeros(0, 3, 3), (8, 8), 0.5).seen.any()
    behind = torch.tensor([[[0.0, 0, -1], [-9, 0, -1], [0, -9, -1]]])
    assert not rasterise(behind, (8, 8), 0.5).seen.any()


def test_parts_change_nothing(monkeypatch):
    mesh = shapes.of(shapes.torus_parts(24, 12))
    cameras = orbit(make_rig(RigKind.TEXTURE, 8, 1.0), mesh.ball)
    corners = cameras.projected(9, mesh.vertices, (48, 48))[mesh.faces]
    whole = rasterise(corners, (48, 48), 0.01)
    monkeypatch.setattr(zbuffer, "PART", 50)
    parts = rasterise(corners, (48, 48), 0.01)
    for one, other in zip(whole, parts, strict=True):
        assert torch.equal(one, other)


def test_the_order_of_faces_changes_no_depth():
    corners = soup(200, 7, (0.5, 3.0))
    order = torch.randperm(200, generator=torch.Generator().manual_seed(1))
    one, other = (rasterise(each, (24, 24), 0.1) for each in (corners, corners[order]))
    assert torch.equal(one.seen, other.seen)
    torch.testing.assert_close(one.inverse_depth, other.inverse_depth)
