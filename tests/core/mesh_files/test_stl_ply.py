"""STL and PLY, in text and binary: tables by hand whose meshes are known."""

import struct

import mesh_toys
import numpy as np
import pytest
import torch
from mesh_toys import OUTWARDS, SQUARE, TETRAHEDRON, ply_header, read, stl_binary

TRIANGLES = torch.from_numpy(TETRAHEDRON[OUTWARDS])


@pytest.mark.parametrize("data", [mesh_toys.stl_binary(), mesh_toys.stl_text()], ids=["binary", "text"])
def test_corners_in_one_place_are_one_vertex(data):
    mesh = read(data, "stl")
    assert len(mesh.vertices) == 4
    assert torch.equal(mesh.vertices[mesh.faces], TRIANGLES)
    assert mesh.uvs is mesh.normals is mesh.colours is mesh.texture is None


def test_a_binary_stl_may_begin_like_one_in_text():
    data = b"solid of another program".ljust(80) + stl_binary()[80:]
    assert torch.equal(read(data, "stl").vertices[read(data, "stl").faces], TRIANGLES)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "too short for the 0 faces"),
        (stl_binary()[:-1], "too short for the 4 faces"),
        (bytes(80) + struct.pack("<I", 2**32 - 1) + bytes(100), "too short for the 4294967295 faces"),
        (b"solid x\nfacet\nvertex 0 0 0\nendsolid", "1 corners make no triangles"),
        (b"solid x\nfacet\n" + b"vertex 0 0 x\n" * 3, "no corner of three numbers"),
        (b"solid x\nfacet\n" + b"vertex 0 0\n" * 3, "no corner of three numbers"),
        (b"solid x\nfacet\nendsolid x", "holds no faces"),
        (stl_binary(np.full((1, 3, 3), np.nan)), "NaN"),
    ],
)
def test_an_stl_that_is_none(data, words):
    with pytest.raises(ValueError, match=f"^toy: .*{words}"):
        read(data, "stl")


@pytest.mark.parametrize("order", ["little", "big"])
def test_faces_of_several_lengths(order):
    mesh = read(mesh_toys.ply_binary(order), "ply")
    assert mesh.faces.tolist() == [[0, 1, 2], [0, 2, 3], [1, 4, 5], [1, 5, 2]]
    assert mesh.vertices[4:].tolist() == [[2, 0, 0], [2, 1, 0]]


def test_uvs_and_colours_of_vertices():
    mesh = read(mesh_toys.ply_text(), "ply")
    assert torch.equal(mesh.vertices[mesh.faces], TRIANGLES)
    torch.testing.assert_close(mesh.uvs, torch.tensor([0.25, 0.25]).expand(4, 2))  # v points down
    shown = torch.tensor([[1.0, 128 / 255, k / 255] for k in range(4)])
    linear = torch.where(shown <= 0.04045, shown / 12.92, ((shown + 0.055) / 1.055) ** 2.4)
    torch.testing.assert_close(mesh.colours, linear)


def test_uvs_of_corners_make_seams():
    header = ply_header("binary_little_endian", 4, 2).replace(
        b"end_header", b"property list uchar float texcoord\nend_header"
    )
    uvs = np.arange(12, dtype="<f4").reshape(2, 3, 2) / 12
    uvs[1, 0] = uvs[0, 0]  # the vertex that both halves have, once with the same UVs and once with others
    body = SQUARE.astype("<f4").tobytes()
    for corners, each in zip(([0, 1, 2], [0, 2, 3]), uvs, strict=True):
        body += b"\3" + np.array(corners, "<i4").tobytes() + b"\6" + each.tobytes()
    mesh = read(header + body, "ply")
    assert len(mesh.vertices) == 5
    assert torch.equal(mesh.vertices[mesh.faces], torch.from_numpy(SQUARE[[[0, 1, 2], [0, 2, 3]]]))
    np.testing.assert_allclose(mesh.uvs[mesh.faces], uvs * (1, -1) + (0, 1), atol=1e-6)


def test_elements_that_nobody_knows_are_passed_over():
    data = mesh_toys.ply_binary()
    extra = b"element edge 2\nproperty int a\nproperty list uchar short b\nelement face"
    head, body = data.split(b"end_header\n")
    vertices, faces = body[:72], body[72:]
    edges = struct.pack("<iBhh", 1, 2, 3, 4) + struct.pack("<iB", 1, 0)
    mesh = read(head.replace(b"element face", extra) + b"end_header\n" + vertices + edges + faces, "ply")
    assert len(mesh.faces) == 4


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "no header"),
        (b"ply\n", "no header"),
        (b"ply\nformat ascii 1.0\nelement vertex many\nend_header\n", 'its header says "element vertex many"'),
        (b"ply\nformat ascii 1.0\nelement vertex 1\nproperty quad x\nend_header\n", 'says "property quad x"'),
        (b"ply\nformat ascii 1.0\nproperty float x\nend_header\n", 'says "property float x"'),
        (b"ply\nformat morse 1.0\nend_header\n", 'says "format morse'),
        (ply_header("ascii", 3, 1) + b"0 0 0 1 0 0 1 1 0 3 0 1 oops", "not all numbers"),
        (ply_header("ascii", 3, 1) + b"0 0 0 1 0 0 1 1 0 3 0 1", "a list|ends before"),
        (ply_header("ascii", 3, 1) + b"0 0 0 1 0 0 1 1 0 3 0 1 7", "none of its 3 vertices"),
        (ply_header("ascii", 3, 1) + b"0 0 0 1 0 0 1 1 0 3 0 1 -1", "none of its 3 vertices"),
        (ply_header("ascii", 3, 1) + b"0 0 0 1 0 0 1 1 0 3 0 1 nan", "no number of a vertex"),
        (ply_header("ascii", 3, 1) + b"0 0 0 1 0 0 1 1 0 -3 0 1 2", "a list of -3 numbers"),
        (ply_header("binary_little_endian", 10**9, 1) + bytes(100), "1000000000 rows.*more than 10000000"),
        (ply_header("binary_little_endian", 9_000_000, 1) + bytes(100), 'ends before the 9000000 rows "vertex"'),
        (ply_header("binary_little_endian", 1, 10**7) + bytes(100), 'ends before the 10000000 rows "face"'),
        (ply_header("binary_little_endian", 1, 0) + bytes(12), "no faces, only points"),
        (ply_header("ascii", 1, 0, "float f_dc_0") + b"0 0 0 0", "only splats; use Get Splat"),
        (ply_header("ascii", 3, 1, "float x"), "two columns"),
        (ply_header("ascii", 3, 1).replace(b" y\n", b" w\n") + b"0 0 0 1 0 0 1 1 0 3 0 1 2", "no x, y and z"),
        (ply_header("ascii", 3, 1) + b"0 0 0 1 0 0 1 1 0 2 0 1", "no faces of three corners"),
    ],
)  # fmt: skip
def test_a_ply_that_is_none(data, words):
    with pytest.raises(ValueError, match=f"^toy: .*(?:{words})"):
        read(data, "ply")


@pytest.mark.parametrize("kind", ["stl", "ply"])
def test_against_trimesh(kind):
    trimesh = pytest.importorskip("trimesh")
    sphere = trimesh.creation.icosphere(subdivisions=2)
    mesh = read(sphere.export(file_type=kind), kind)
    assert mesh.vertices.shape == sphere.vertices.shape
    np.testing.assert_allclose(mesh.vertices[mesh.faces], sphere.vertices[sphere.faces], atol=1e-6)
