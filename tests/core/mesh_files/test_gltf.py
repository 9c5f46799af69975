"""glTF: scenes by hand whose meshes are known."""

import math

import mesh_toys
import numpy as np
import pytest
import torch
from mesh_toys import HALVES, OUTWARDS, SQUARE, TETRAHEDRON, Gltf

HALF = math.sqrt(0.5)


def one(document: dict) -> dict:
    """The first primitive."""
    return document["meshes"][0]["primitives"][0]


def turned(points: np.ndarray) -> np.ndarray:
    """By a quarter about z, counter-clockwise."""
    return points[:, [1, 0, 2]] * (-1, 1, 1)


def volume(mesh) -> float:
    """Of a closed mesh; negative where its faces look inwards."""
    a, b, c = mesh.vertices[mesh.faces].unbind(1)
    return float((a * torch.linalg.cross(b, c)).sum()) / 6


def test_arrays_come_out_as_they_are():
    made = Gltf()
    uvs, normals = SQUARE[:, :2] / 3, np.roll(np.eye(4, 3), 1, axis=1).astype(np.float32)
    colours = np.linspace(0, 1, 16).reshape(4, 4).astype(np.float32)
    mesh = made.shows([made.primitive(TEXCOORD_0=uvs, NORMAL=normals, COLOR_0=colours)]).read()
    for found, given in ((mesh.vertices, SQUARE), (mesh.uvs, uvs), (mesh.normals, normals), (mesh.colours, colours)):
        assert torch.equal(found, torch.from_numpy(given))
    assert mesh.faces.tolist() == HALVES.tolist()
    assert mesh.faces.dtype is torch.int64
    assert mesh.texture is None
    assert mesh.remarks == ()


@pytest.mark.parametrize(
    ("node", "moves"),
    [
        ({"translation": [1, 2, 3]}, lambda p: p + (1, 2, 3)),
        ({"scale": [2, 3, 0.5]}, lambda p: p * (2, 3, 0.5)),
        ({"rotation": [0, 0, HALF, HALF]}, turned),
        ({"rotation": [0, 2, 0, 2]}, lambda p: p[:, [2, 1, 0]] * (1, 1, -1)),  # about y, not of length 1
        ({"rotation": [0, 0, HALF, HALF], "scale": [2, 1, 1]}, lambda p: turned(p * (2, 1, 1))),
        (
            {"matrix": [0, 1, 0, 0, -1, 0, 0, 0, 0, 0, 1, 0, 5, 0, 0, 1]},
            lambda p: p[:, [1, 0, 2]] * (-1, 1, 1) + (5, 0, 0),
        ),
    ],
)
def test_a_node_moves_its_mesh(node, moves):
    made = Gltf()
    mesh = made.shows([made.primitive(TETRAHEDRON, OUTWARDS)], nodes=[{"mesh": 0, **node}]).read()
    np.testing.assert_allclose(mesh.vertices, moves(TETRAHEDRON.astype(np.float64)), atol=1e-6)
    assert volume(mesh) > 0


def test_nodes_below_nodes():
    """A turn, below it a shift: the shift is turned with it. A mesh twice, and one that no scene shows."""
    made = Gltf()
    nodes = [
        {"rotation": [0, 0, HALF, HALF], "children": [1]},
        {"translation": [10, 0, 0], "mesh": 0, "children": [2]},
        {"scale": [2, 2, 2], "mesh": 0},
        {"mesh": 0, "translation": [99, 99, 99]},
    ]
    mesh = made.shows([made.primitive()], nodes=nodes, roots=[0]).read()
    once = turned(SQUARE)
    np.testing.assert_allclose(mesh.vertices, np.concatenate([once, 2 * once]) + (0, 10, 0), atol=1e-5)
    assert mesh.faces.tolist() == [*HALVES.tolist(), *(HALVES + 4).tolist()]


@pytest.mark.parametrize("scale", [[-1, 1, 1], [-1, -1, -1], [2, -3, 0.5]])
def test_a_mirror_turns_faces_round_and_normals_stay_outside(scale):
    made = Gltf()
    normals = TETRAHEDRON - TETRAHEDRON.mean(axis=0)
    primitive = made.primitive(TETRAHEDRON, OUTWARDS, NORMAL=normals)
    mesh = made.shows([primitive], nodes=[{"mesh": 0, "scale": scale}]).read()
    assert volume(mesh) > 0
    outside = mesh.vertices - mesh.vertices.mean(dim=0)
    assert ((mesh.normals * outside).sum(dim=1) > 0).all()
    torch.testing.assert_close(mesh.normals.norm(dim=1), torch.ones(4))


def test_normals_stay_upright_on_what_is_stretched():
    made = Gltf()
    slope = np.array([[0, 0, 0], [1, 0, 1], [1, 1, 1], [0, 1, 0]], np.float32)
    normals = np.tile(np.array([-HALF, 0, HALF], np.float32), (4, 1))
    mesh = made.shows([made.primitive(slope, NORMAL=normals)], nodes=[{"mesh": 0, "scale": [3, 1, 1]}]).read()
    a, b, c = mesh.vertices[mesh.faces[0]]
    torch.testing.assert_close(mesh.normals[0], torch.nn.functional.normalize(torch.linalg.cross(b - a, c - a), dim=0))


@pytest.mark.parametrize(
    ("mode", "order", "faces"),
    [
        (4, [0, 1, 2, 0, 2, 3, 3], [[0, 1, 2], [0, 2, 3]]),
        (5, [0, 1, 3, 2], [[0, 1, 3], [3, 1, 2]]),
        (5, [0, 1, 3, 3, 1, 1, 1, 2, 3], [[0, 1, 3], [1, 2, 3]]),
        (6, [0, 1, 2, 3], [[0, 1, 2], [0, 2, 3]]),
    ],
)
def test_triangles_strips_and_fans(mode, order, faces):
    made = Gltf()
    mesh = made.shows([made.primitive(faces=np.array(order), mode=mode)]).read()
    found = [sorted(face) for face in mesh.faces.tolist()]
    assert found == [sorted(face) for face in faces]
    a, b, c = mesh.vertices[mesh.faces].unbind(1)
    assert (torch.linalg.cross(b - a, c - a)[:, 2] > 0).all()


def test_without_indices_every_three_vertices_are_a_face():
    made = Gltf()
    mesh = made.shows([made.primitive(SQUARE[[0, 1, 2, 0, 2, 3]], None)]).read()
    assert mesh.faces.tolist() == [[0, 1, 2], [3, 4, 5]]


def test_points_and_lines_are_left_out_with_a_word():
    made = Gltf()
    mesh = made.shows([made.primitive(), made.primitive(mode=1)]).read()
    assert len(mesh.faces) == 2
    assert mesh.remarks == ("points and lines in it are left out",)


def test_vertices_of_no_face_go():
    """Many primitives of one mesh share its vertices: each keeps its own."""
    made = Gltf()
    first = made.primitive(faces=HALVES[:1])
    second = {"attributes": first["attributes"], "indices": made.array(HALVES[1], "u2")}
    mesh = made.shows([first, second]).read()
    assert len(mesh.vertices) == 6
    assert torch.equal(mesh.vertices[mesh.faces], torch.from_numpy(SQUARE[HALVES]))


def test_what_only_some_have():
    """UVs are 0 elsewhere, normals those of the faces, colours white."""
    made = Gltf()
    first = made.primitive(TEXCOORD_0=SQUARE[:, :2], NORMAL=-np.eye(4, 3), COLOR_0=np.full((4, 4), 0.5))
    mesh = made.shows([first], [made.primitive(COLOR_0=np.full((4, 3), 0.25))], [made.primitive()]).read()
    assert (mesh.uvs[4:] == 0).all()
    torch.testing.assert_close(mesh.normals[4:], torch.tensor([0.0, 0, 1]).expand(8, 3))
    assert mesh.colours[4:].tolist() == [[0.25, 0.25, 0.25, 1]] * 4 + [[1, 1, 1, 1]] * 4


def test_whole_numbers_are_shares_of_their_most():
    made = Gltf()
    colours, uvs = made.array(np.full((4, 4), 51), "u1"), made.array(np.full((4, 2), 13107), "u2", normalized=True)
    primitive = made.primitive()
    primitive["attributes"] |= {"COLOR_0": colours, "TEXCOORD_0": uvs}
    primitive["attributes"]["POSITION"] = made.array(np.array([[0, 0, 0], [4, 0, 0], [4, -5, 0], [0, 5, 0]]), "i2")
    mesh = made.shows([primitive]).read()
    torch.testing.assert_close(mesh.colours, torch.full((4, 4), 0.2))
    torch.testing.assert_close(mesh.uvs, torch.full((4, 2), 0.2))
    assert mesh.vertices[2].tolist() == [4, -5, 0]


def test_strides_and_sparse_values():
    made = Gltf()
    primitive = made.primitive()
    mixed = np.concatenate([SQUARE, np.full((4, 2), 7)], axis=1).astype("<f4")
    made.json["bufferViews"].append({"buffer": 0, "byteOffset": len(made.binary), "byteLength": 80, "byteStride": 20})
    made.binary += mixed.tobytes()
    entry = {"componentType": 5126, "count": 4, "type": "VEC3"}
    changed = {"count": 1, "indices": {"bufferView": made.view(b"\2\0\0\0"), "componentType": 5121}}
    changed["values"] = {"bufferView": made.view(np.array([8, 9, 10], "<f4").tobytes())}
    views = len(made.json["bufferViews"])
    made.json["accessors"].append({"bufferView": views - 3, **entry, "sparse": changed})
    primitive["attributes"]["POSITION"] = len(made.json["accessors"]) - 1
    mesh = made.shows([primitive]).read()
    assert mesh.vertices.tolist() == [[0, 0, 0], [1, 0, 0], [8, 9, 10], [0, 1, 0]]


def test_data_inside_of_the_text():
    made = mesh_toys.gltf_whole()
    one, other = made.read(), mesh_toys.read(made.text(), "gltf")
    for name in ("vertices", "faces", "uvs", "normals", "colours", "texture"):
        assert torch.equal(getattr(one, name), getattr(other, name))


def test_joints_bend_a_mesh():
    """Two joints: one stays, one is turned by a quarter about z through (1, 0, 0); the mesh's own node says nothing."""
    made = Gltf()
    back = np.tile(np.eye(4), (2, 1, 1))
    back[1, 3, 0] = -1.0  # columns first: from the mesh to the joint at (1, 0, 0)
    weights = np.array([[2, 0, 0, 0], [1, 0, 0, 0], [0, 1, 0, 0], [1, 1, 0, 0]], np.float32)
    primitive = made.primitive(WEIGHTS_0=weights, NORMAL=np.tile([1.0, 0, 0], (4, 1)))
    primitive["attributes"]["JOINTS_0"] = made.array(np.tile([0, 1, 0, 0], (4, 1)), "u1")
    made.json["skins"] = [{"joints": [1, 2], "inverseBindMatrices": made.array(back.reshape(2, 16))}]
    nodes = [{"mesh": 0, "skin": 0, "translation": [50, 50, 50]}, {}, {"translation": [1, 0, 0]}]
    nodes[2]["rotation"] = [0, 0, HALF, HALF]
    mesh = made.shows([primitive], nodes=nodes).read()
    # (1, 1, 0) lies 1 above the second joint and comes to its left; (0, 1, 0) is half of both: itself and (0, -1, 0)
    np.testing.assert_allclose(mesh.vertices, [[0, 0, 0], [1, 0, 0], [0, 0, 0], [0, 0, 0]], atol=1e-6)
    np.testing.assert_allclose(mesh.normals, [[1, 0, 0], [1, 0, 0], [0, 1, 0], [HALF, HALF, 0]], atol=1e-6)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda j: j.update(extensionsRequired=["KHR_draco_x"]), "needs KHR_draco_.*without compression"),
        (lambda j: j.update(extensionsRequired=["EXT_meshopt_x"]), "needs EXT_meshopt_.*without compression"),
        (lambda j: j["bufferViews"][0].update(buffer=1) or j["buffers"].append({}), "no data; .* without compression"),
        (lambda j: j["buffers"][0].update(uri="../secret.bin"), '"../secret.bin".*not opened; export it as one GLB'),
        (lambda j: j["buffers"][0].update(uri="file:///etc/passwd"), "not opened"),
        (lambda j: j["buffers"][0].update(uri="data:;base64,????"), "no data in base64"),
        (lambda j: j["asset"].update(version="1.0"), 'glTF "1.0", and 2.0 is read'),
        (lambda j: j["accessors"][0].update(count=10**9), "1000000000 .*more than 10000000"),
        (lambda j: j["accessors"][0].update(count=9_000_000), "needs 108000000 bytes and there are 48"),
        (lambda j: j["accessors"][0].update(bufferView=9), r"no bufferViews\[9\]"),
        (lambda j: j["accessors"][0].pop("bufferView"), "holds no data"),
        (lambda j: j["accessors"][0].update(type="VEC4"), "another kind"),
        (lambda j: j["accessors"][0].update(count=3), "corner that is none of its 3 vertices"),
        (lambda j: j["nodes"].append({"children": [0, 0]}), "two parents"),
        (lambda j: j["nodes"][0].update(children=[0]), "circle"),
        (lambda j: j["nodes"][0].update(mesh=-1), "'mesh' of nodes.0. has to be a whole number"),
        (lambda j: j["nodes"][0].update(rotation=[0, 0, 0, 0]), "'rotation' of nodes.0. is none"),
        (lambda j: j["nodes"][0].update(scale=[1e39, 1, 1]), "too large positions"),
        (lambda j: j["nodes"][0].update(scale=[1e301, 1, 1]), "finite numbers"),
        (lambda j: one(j).update(mode=9), "'mode' of primitives.0. is \"9\""),
        (lambda j: one(j).update(mode=0), "shows no faces"),
        (lambda j: j.update(scenes=[{"nodes": []}]), "shows no faces"),
        (lambda j: j.update(nodes=[{"mesh": 0}] * 3, scenes=[{"nodes": [0, 0, 2, 7]}]), r"no nodes\[7\]"),
        (lambda j: j.update(nodes=[{"mesh": 0}] * 2_000_000, scenes=[]), "too long"),
        (lambda j: j.update(nodes=[{"mesh": 0}] * 20_001, scenes=[]), "shows 20001 parts, more than 20000"),
    ],
)  # fmt: skip
def test_refused_by_name(change, words):
    made = Gltf()
    made.shows([made.primitive()]).json["buffers"] = [{}]
    change(made.json)
    with pytest.raises(ValueError, match=f"^toy: .*{words}"):
        made.read()


def test_one_mesh_shown_too_often():
    """Bytes of nodes are cheap: what they make is counted before it is made."""
    made = Gltf()
    made.shows([made.primitive(np.tile(SQUARE, (500, 1)))], nodes=[{"mesh": 0}] * 6000)
    with pytest.raises(ValueError, match="toy: it makes 12000000 vertices, more than 10000000"):
        made.read()


def test_against_trimesh():
    """Two meshes under turned, scaled and mirrored nodes, as another program writes and reads them."""
    trimesh = pytest.importorskip("trimesh")
    scene = trimesh.Scene()
    turn = trimesh.transformations.rotation_matrix(0.7, (1, 2, 3), (4, 5, 6))
    scene.add_geometry(trimesh.creation.icosphere(subdivisions=1), node_name="one", transform=turn)
    scene.add_geometry(trimesh.creation.box((1, 2, 3)), node_name="two", parent_node_name="one", transform=turn @ turn)
    scene.add_geometry(trimesh.creation.cone(1, 2), node_name="three", transform=turn @ np.diag([1, -2, 0.5, 1]))
    mesh = mesh_toys.read(scene.export(file_type="glb"), "glb")
    other = scene.to_mesh()
    assert volume(mesh) == pytest.approx(other.volume, rel=1e-5)
    np.testing.assert_allclose(triangles(mesh.vertices[mesh.faces]), triangles(other.triangles), atol=1e-5)


def triangles(found) -> np.ndarray:
    """[M, 3, 3] of any order, in one order of triangles and of their corners."""
    corners = np.asarray(found, np.float64).round(6)
    rows = [min(np.roll(face, k, axis=0).ravel().tolist() for k in range(3)) for face in corners]
    return np.array(sorted(rows))


def test_a_plain_copy_beside_a_compressed_one_is_read():
    made = Gltf()
    extension = {"KHR_draco_mesh_compression": {"bufferView": 0, "attributes": {"POSITION": 0}}}
    mesh = made.shows([made.primitive(extensions=extension)]).read()
    assert torch.equal(mesh.vertices, torch.from_numpy(SQUARE))


def test_what_no_face_uses_may_be_anything():
    made = Gltf()
    mesh = made.shows([made.primitive(np.concatenate([SQUARE, np.full((1, 3), np.nan)]))]).read()
    assert torch.equal(mesh.vertices, torch.from_numpy(SQUARE))
