"""Load Mesh on what the host itself writes, and on files in its folders."""

import contextlib
import io
import os
import shutil
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from heard import said
from PIL import Image

NODE = "SyncDiffusionLoadMesh"
OBJ = b"v 0 0 0\nv 1 0 0\nv 0 1 0\nvt 0 0\nvt 1 0\nvt 0 1\nf 1/1 2/2 3/3\n"


@pytest.fixture(scope="module")
def saving(host):
    """The host's own writers of meshes."""
    return pytest.importorskip("comfy_extras.nodes_save_3d", reason="this ComfyUI has no writer of meshes")


@pytest.fixture
def file_3d(host):
    """file_3d(content, format) -> FILE_3D in memory."""
    from comfy_api.latest import Types

    return lambda content, kind: Types.File3D(io.BytesIO(content), kind)


@pytest.fixture
def folder(host):
    """ComfyUI's folder input/3d, empty before and after."""
    import folder_paths

    path = Path(folder_paths.get_input_directory()) / "3d"
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def mesh(host):
    """mesh(**without) -> MESH of a square fan with all that Load Mesh reads; None in without leaves that out."""
    from comfy_api.latest import Types

    chance = torch.Generator().manual_seed(0)
    faces = torch.tensor([[0, 1, 2], [0, 2, 3], [0, 3, 4], [4, 1, 0]])
    given = {
        "uvs": torch.rand(1, 5, 2, generator=chance),
        "vertex_colors": torch.rand(1, 5, 4, generator=chance),
        "normals": torch.nn.functional.normalize(torch.randn(1, 5, 3, generator=chance), dim=-1),
        "texture": (torch.rand(1, 6, 9, 3, generator=chance) * 255).floor() / 255,
    }
    vertices = torch.randn(1, 5, 3, generator=chance)
    return lambda **without: Types.MESH(vertices, faces[None], **{**given, **without})


FIELDS = ("vertices", "faces", "uvs", "vertex_colors", "normals", "texture")


def same(one: object, other: object) -> None:
    """Meshes are equal to the bit; textures to a grey level, by which the host's writer rounds down."""
    for name in FIELDS:
        first, second = getattr(one, name), getattr(other, name)
        assert (first is None) == (second is None), name
        if first is not None:
            torch.testing.assert_close(first, second, atol=1.01 / 255 if name == "texture" else 0, rtol=0)


@pytest.mark.parametrize("without", [(), ("texture",), ("uvs", "texture"), ("vertex_colors",), FIELDS[2:]])
def test_there_and_back_through_the_hosts_file(run_node, saving, mesh, without):
    given = mesh(**dict.fromkeys(without))
    file = saving.MeshToFile3D.execute(given).args[0]
    same(run_node(NODE, model_3d=file)[0], given)


def test_there_and_back_through_save_glb(run_node, host, saving, mesh, folder):
    given = mesh()
    saving.save_glb(given.vertices[0], given.faces[0], str(folder / "kept.glb"), uvs=given.uvs[0])
    same(run_node(NODE, model_file="3d/kept.glb")[0], mesh(vertex_colors=None, normals=None, texture=None))
    assert "5 vertices, 4 faces; UVs" in said(host)


def test_twice_there_and_back_changes_nothing(run_node, saving, mesh):
    once = run_node(NODE, model_3d=saving.MeshToFile3D.execute(mesh()).args[0])[0]
    twice = run_node(NODE, model_3d=saving.MeshToFile3D.execute(once).args[0])[0]
    same(once, twice)


def test_the_host_shows_a_texture_the_right_way_up(run_node, file_3d):
    """A square whose UVs go up with it, as those of an OBJ do: the first row of its texture is at the top."""
    processing = pytest.importorskip("comfy_extras.nodes_mesh_postprocess", reason="this ComfyUI works on no meshes")
    square = b"v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nvt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\nf 1/1 2/2 3/3 4/4\n"
    texture = torch.tensor([[[1.0, 0, 0], [0, 1, 0]], [[0, 0, 1], [1, 1, 1]]])[None]
    loaded = run_node(NODE, model_3d=file_3d(square, "obj"))[0]
    painted = processing.ApplyTextureToMesh.execute(loaded, texture.repeat_interleave(8, 1).repeat_interleave(8, 2))
    image, mask = processing.RenderMesh.execute(painted.args[0], "texture", 64, 64, "#000000").args[:2]
    rows, columns = (mask[0] > 0.5).nonzero().unbind(1)
    top, left, height, width = rows.min(), columns.min(), rows.max() - rows.min(), columns.max() - columns.min()
    for row in range(2):
        for column in range(2):
            seen = image[0, top + height * (2 * row + 1) // 4, left + width * (2 * column + 1) // 4]
            torch.testing.assert_close(seen, texture[0, row, column], atol=0.02, rtol=0)


def test_it_says_what_there_is(run_node, host, file_3d):
    run_node(NODE, model_3d=file_3d(b"mtllib a.mtl\n" + OBJ, "obj"))
    assert "3 vertices, 1 faces; UVs" in said(host)
    assert 'its materials and textures lie in other files ("a.mtl")' in said(host)
    run_node(NODE, model_3d=file_3d(OBJ.replace(b"/", b" "), "obj"))
    assert "no UVs (UnwrapMesh makes them)" in said(host)


def test_files_of_the_input_folder(run_node, pack, folder, module_of):
    (folder / "deep").mkdir()
    (folder / "deep" / "Toy.OBJ").write_bytes(OBJ)
    (folder / "notes.txt").write_bytes(b"none")
    (folder / "toy.fbx").write_bytes(b"none")
    assert module_of("host.files.meshes").choices() == ["none", "3d/deep/Toy.OBJ"]
    assert pack[NODE].GET_NODE_INFO_V1()["input"]["required"]["model_file"][1]["options"] == ["none", "3d/deep/Toy.OBJ"]
    assert run_node(NODE, model_file="3d/deep/Toy.OBJ")[0].faces.tolist() == [[[0, 1, 2]]]
    before = pack[NODE].fingerprint_inputs(model_file="3d/deep/Toy.OBJ")
    assert before == pack[NODE].fingerprint_inputs(model_file="3d/deep/Toy.OBJ")
    os.utime(folder / "deep" / "Toy.OBJ", (1, 1))
    assert before != pack[NODE].fingerprint_inputs(model_file="3d/deep/Toy.OBJ")


@pytest.mark.parametrize(
    "name", ["3d/gone.glb", "../../etc/passwd", "/etc/passwd", "3d/../../x.glb", "3d", "", "a\0b", "x.glb [output]"]
)
def test_a_file_that_is_not_there_is_told_before_the_run(run_node, pack, folder, name):
    assert "model_file: " in pack[NODE].validate_inputs(model_file=name)
    with pytest.raises(ValueError, match="model_file: "):
        run_node(NODE, model_file=name)


def test_none_is_told_before_the_run_and_a_link_is_not(run_node, pack):
    assert "no file is chosen" in pack[NODE].validate_inputs(model_file="none")
    assert pack[NODE].validate_inputs(model_file="none", model_3d=None) is True
    assert pack[NODE].validate_inputs(model_file=None) is True
    with pytest.raises(ValueError, match="model_file: no file is chosen"):
        run_node(NODE)


@pytest.mark.parametrize(
    ("content", "kind", "words"),
    [
        (b"", "glb", "model_3d: the file: it does not begin like a GLB file"),
        (b"Kaydara FBX Binary  \0", "fbx", "model_3d: the file: files of the kind .fbx. are not read"),
        (b"glTF\2\0\0\0", "", "model_3d: the file: it has 8 bytes"),
        (OBJ[:-8], "obj", "model_3d: the file: .* holds no faces|no faces"),
    ],
)
def test_what_is_no_mesh_is_refused_by_name(run_node, file_3d, content, kind, words):
    with pytest.raises(ValueError, match=words):
        run_node(NODE, model_3d=file_3d(content, kind))


def test_files_on_disk_are_refused_by_their_names(run_node, folder, host):
    from comfy_api.latest import Types

    (folder / "cut.stl").write_bytes(b"solid")
    with pytest.raises(ValueError, match=r"^model_file: cut\.stl: "):
        run_node(NODE, model_file="3d/cut.stl")
    with pytest.raises(ValueError, match=r"^model_3d: away\.glb: it cannot be read"):
        run_node(NODE, model_3d=Types.File3D(str(folder / "away.glb")))
    with pytest.raises(ValueError, match="model_3d: this is no 3D file"):
        run_node(NODE, model_3d="3d/cut.stl")


def test_a_file_too_large_is_refused_unread(run_node, folder):
    with open(folder / "large.stl", "wb") as file:
        file.truncate((1 << 30) + 1)  # sparse: takes no room
    with pytest.raises(ValueError, match=r"large\.stl: it is larger than 1024 MB"):
        run_node(NODE, model_file="3d/large.stl")


def test_nothing_is_written(run_node, host, folder, saving, mesh):
    (folder / "toy.obj").write_bytes(OBJ)
    file = saving.MeshToFile3D.execute(mesh()).args[0]
    before = sorted((str(path), path.stat().st_mtime_ns) for path in Path(host.base).rglob("*") if path.is_file())
    run_node(NODE, model_file="3d/toy.obj")
    run_node(NODE, model_3d=file)
    after = sorted((str(path), path.stat().st_mtime_ns) for path in Path(host.base).rglob("*") if path.is_file())
    assert before == after


class TestPictures:
    """What is inside of a file as its texture."""

    @pytest.fixture
    def decode(self, module_of):
        return module_of("host.files.meshes").decode

    @staticmethod
    def encoded(kind: str, mode: str = "RGB", size: tuple[int, int] = (5, 3)) -> bytes:
        held = io.BytesIO()
        Image.new(mode, size, 200 if mode in "LP1" else None).save(held, kind)
        return held.getvalue()

    @pytest.mark.parametrize(("kind", "mode"), [("PNG", m) for m in ("RGB", "RGBA", "L", "LA", "P", "1", "I;16")])
    def test_any_kind_of_pixels(self, decode, kind, mode):
        assert decode(self.encoded(kind, mode), 99).shape == (3, 5, 3)

    @pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
    def test_other_kinds_of_files(self, decode, kind):
        found = decode(self.encoded(kind), 99)
        assert found.shape == (3, 5, 3)
        assert found.dtype is torch.uint8

    def test_shrunk_where_it_is_larger(self, decode):
        assert decode(self.encoded("PNG", size=(64, 16)), 32).shape == (8, 32, 3)

    @pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF", "PPM"])
    def test_kinds_that_no_mesh_has(self, decode, kind):
        with pytest.raises(ValueError, match="no PNG, JPEG or WebP"):
            decode(self.encoded(kind), 99)

    def test_a_bomb_is_not_unpacked(self, decode):
        """Some bytes that say 60000 x 60000 px, and some that say 9000 x 9000."""
        for side in (9000, 60_000):
            data = bytearray(self.encoded("PNG", "L"))
            data[16:24] = side.to_bytes(4, "big") * 2
            data[29:33] = zlib.crc32(bytes(data[12:29])).to_bytes(4, "big")
            with pytest.raises(ValueError, match="px, more than|no PNG"):
                decode(bytes(data), 99)

    @pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
    def test_damage_is_a_sentence(self, decode, kind):
        chance = np.random.default_rng(0)
        good = self.encoded(kind, size=(40, 30))
        for length in range(len(good)):
            _try(decode, good[:length])
        for _ in range(300):
            bad = np.frombuffer(good, np.uint8).copy()
            bad[chance.integers(0, len(bad), 4)] = chance.integers(0, 256, 4)
            _try(decode, bad.tobytes())


def _try(decode, data: bytes) -> None:
    with contextlib.suppress(ValueError):
        decode(data, 99)


def test_the_host_links_files_of_every_kind(host, pack):
    """By the host's own check of types: FILE_3D of a mesh, and no splats or other things."""
    from comfy_execution.validation import validate_node_input

    kind = pack[NODE].GET_NODE_INFO_V1()["input"]["optional"]["model_3d"][0]
    for given in ("FILE_3D", "FILE_3D_GLB", "FILE_3D_GLTF", "FILE_3D_OBJ", "FILE_3D_STL", "FILE_3D_PLY"):
        assert validate_node_input(given, kind)
    for given in ("FILE_3D_SPZ", "IMAGE", "MESH"):
        assert not validate_node_input(given, kind)
