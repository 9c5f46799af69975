"""OBJ: texts by hand whose meshes are known."""

import numpy as np
import pytest
import torch
from mesh_toys import obj_text, read

SQUARE = "v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\n"


def corners_of(text: str) -> list[tuple]:
    """Slow oracle: of each triangle its corners (position, UV with v down, normal), as the text says them."""
    given: dict[str, list] = {"v": [], "vt": [], "vn": []}
    found = []
    for line in text.splitlines():
        key, *words = line.split() or [""]
        if key in given:
            given[key].append(tuple(map(float, words)))
        if key == "f":
            numbers = [[int(part or 0) for part in (word + "//").split("/")[:3]] for word in words]
            face = [tuple(n and given[k][n - (n > 0)] for k, n in zip(given, each, strict=True)) for each in numbers]
            found += [corner for k in range(1, len(face) - 1) for corner in (face[0], face[k], face[k + 1])]
    return [(p, (t[0], 1 - t[1]) if t else None, n or None) for p, t, n in found]


def corners_read(mesh) -> list[tuple]:
    """The same of what was read."""
    parts = [mesh.vertices, mesh.uvs, mesh.normals]
    every = [[None] * mesh.faces.numel() if part is None else part[mesh.faces.ravel()].tolist() for part in parts]
    return [tuple(each and tuple(each) for each in corner) for corner in zip(*every, strict=True)]


@pytest.mark.parametrize(
    "faces",
    [
        "f 1 2 3 4",
        "f 1 2 3\nf 1 3 4",
        "f -4 -3 -2 -1",
        "vt 0 0\nvt .5 .25\nvt 1 1\nf 1/1 2/2 3/3\nf 1/2 3/1 4/3",
        "vn 0 0 1\nf 1//1 2//1 3//1 4//1",
        "vt 0 0 0\nvt 1 0 0\nvn 0 0 1\nf 1/1/1 2/2/1 3/-1/-1\nv 5 5 5\nf -1/1/1 2/1/1 3/2/1",
        "v 2 0 0\nv 2 1 0\nv 1.5 2 0\nf 1 2 5 6 7 3 4",
        "f 3 2 1\nf 4 3 1",
    ],
)
@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
def test_against_the_text(faces, ends):
    text = SQUARE + faces + "\n"
    mesh = read(text.replace("\n", ends), "obj")
    assert corners_read(mesh) == corners_of(text)


def test_seams_make_vertices_and_nothing_else_does():
    mesh = read(obj_text(), "obj")
    assert len(mesh.vertices) == 4 + 2 + 2  # of the two that both quads have, one more each: their UVs differ
    assert mesh.faces.shape == (4, 3)
    assert mesh.remarks[0].startswith('its materials and textures lie in other files ("other.mtl"), which are not ope')


def test_vertices_come_in_the_order_of_the_file():
    mesh = read(SQUARE + "f 4 3 2\nf 4 2 1\n", "obj")
    assert mesh.vertices.tolist() == [[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]]
    assert mesh.faces.tolist() == [[3, 2, 1], [3, 1, 0]]


def test_lines_go_on_after_a_backslash():
    assert read(SQUARE + "f 1 2 \\\n3 4\n", "obj").faces.shape == (2, 3)
    assert read((SQUARE + "f 1 2 \\\n3 4\n").replace("\n", "\r\n"), "obj").faces.shape == (2, 3)


@pytest.mark.parametrize(("most", "shown"), [(1, 0.5), (255, 127.5)])
def test_colours_of_vertices_become_linear(most, shown):
    rows = [f"v {k} {k % 2} 0 {most} {shown} 0\n" for k in range(3)]
    mesh = read("".join(rows) + "f 1 2 3\n", "obj")
    torch.testing.assert_close(mesh.colours, torch.tensor([1, ((0.5 + 0.055) / 1.055) ** 2.4, 0]).expand(3, 3))


def test_a_fourth_number_is_no_colour():
    assert read("v 0 0 0 1\nv 1 0 0 1\nv 1 1 0 1\nf 1 2 3\n", "obj").colours is None


def test_where_some_have_no_uvs():
    mesh = read(SQUARE + "vt 1 0\nf 1/1 2/1 3/1\nf 1 3 4\n", "obj")
    assert mesh.uvs[mesh.faces[1]].tolist() == [[0, 0]] * 3
    assert mesh.remarks == ("3 of its vertices have no UVs",)


def test_uvs_of_repeated_pictures():
    assert "UnwrapMesh" in read(SQUARE + "vt 3 0\nf 1/1 2/1 3/1\n", "obj").remarks[0]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "holds no faces"),
        (SQUARE, "holds no faces"),
        (SQUARE + "f 1 2\n", "holds no faces"),
        (SQUARE + "f 1 2 9\n", "a position that is none of the 4"),
        (SQUARE + "f 1/1 2/1 3/1\n", "a texture coordinate that is none of the 0"),
        (SQUARE + "f 1//2 2//2 3//2\n", "a normal that is none of the 0"),
        (SQUARE + "f -1 -2 -5\n", '"-5" counts back beyond the first'),
        (SQUARE + "f 0 1 2\n", '"0" is no corner'),
        (SQUARE + "f 1 2 x\n", '"x" is no corner'),
        (SQUARE + "f 1/1/1/1 2 3\n", "is no corner"),
        (SQUARE + f"f 1 2 {'9' * 5000}\n", "is no corner"),
        ("v 0 0 x\n" + SQUARE + "f 1 2 3\n", '"v 0 0 x" is no line of numbers'),
        ("v 0 0\n" + SQUARE + "f 1 2 3\n", '"v 0 0" is no line of numbers'),
        ("v nan 0 0\n" + SQUARE + "f 1 2 3\n", "NaN, infinite or too large"),
        ("v 1e39 0 0\n" + SQUARE + "f 1 2 3\n", "NaN, infinite or too large"),
        ("<html>not found</html>", "holds no faces"),
    ],
)
def test_refused_by_name(text, words):
    with pytest.raises(ValueError, match=f"^toy: .*{words}"):
        read(text, "obj")


def test_uvs_that_are_none_are_left_out():
    mesh = read(SQUARE + "vt nan 0\nf 1/1 2/1 3/1\n", "obj")
    assert mesh.uvs is None
    assert mesh.remarks == ("its uvs hold NaN or infinite values and are left out",)


def test_against_trimesh():
    trimesh = pytest.importorskip("trimesh")
    chance = np.random.default_rng(0)
    points, faces = chance.normal(size=(200, 3)).round(3), chance.integers(0, 200, (500, 3))
    text = "".join("v {} {} {}\n".format(*p) for p in points) + "".join("f {} {} {}\n".format(*f) for f in faces + 1)
    mesh, other = (
        read(text, "obj"),
        trimesh.load_mesh(trimesh.util.wrap_as_stream(text), file_type="obj", process=False),
    )
    np.testing.assert_allclose(mesh.vertices[mesh.faces], other.vertices[other.faces], atol=1e-6)
