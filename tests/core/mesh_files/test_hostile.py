"""Whatever the bytes: a mesh, or a ValueError that names the file, soon and in little memory."""

import random
import re
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import mesh_toys
import numpy as np
import pytest
import torch
from mesh_toys import FILES, Gltf, read

ROOT = Path(__file__).resolve().parents[3]
SEEDS = 200
MOST_SECONDS = 1.0
MOST_BYTES = 200 << 20


@pytest.fixture
def little_memory() -> Iterator[None]:
    """Python and numpy never hold more than MOST_BYTES at once."""
    tracemalloc.start()
    yield
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < MOST_BYTES


def check(data: bytes, kind: str) -> bool:
    """Whether it is a mesh; fails for anything that is neither one nor a sentence."""
    start = time.process_time()
    try:
        mesh = read(data, kind)
    except ValueError as error:
        return not _is_sentence(error)
    finally:
        assert time.process_time() - start < MOST_SECONDS
    assert torch.isfinite(mesh.vertices).all()
    assert 0 <= int(mesh.faces.min()) <= int(mesh.faces.max()) < len(mesh.vertices)
    for values in (mesh.uvs, mesh.normals, mesh.colours):
        assert values is None or (len(values) == len(mesh.vertices) and bool(torch.isfinite(values).all()))
    return True


def _is_sentence(error: ValueError) -> bool:
    assert re.fullmatch("toy: .{10,400}", str(error))
    assert type(error) is ValueError
    return True


@pytest.mark.parametrize("name", FILES)
def test_whole_ones_are_meshes(name):
    kind, make = FILES[name]
    assert check(make(), kind)


@pytest.mark.parametrize("name", FILES)
def test_cut_anywhere(name, little_memory):
    """At every byte: every structural point is among them."""
    kind, make = FILES[name]
    data = make()
    meshes = sum(check(data[:length], kind) for length in range(len(data)))
    assert name in ("obj", "stl in text", "ply in text", "gltf") or meshes == 0


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("way", ["anywhere", "printable", "numbers", "random"])
def test_damaged_anywhere(name, way, little_memory):
    kind, make = FILES[name]
    good = make()
    for seed in range(SEEDS):
        check(_damaged(good, way, random.Random(f"{name} {way} {seed}")), kind)


def _damaged(good: bytes, way: str, chance: random.Random) -> bytes:
    data = bytearray(good)
    if way == "random":  # with the first bytes of its kind, else it does not get far
        return bytes(data[: chance.randrange(100)]) + chance.randbytes(chance.randrange(2000))
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(data))
        if way == "numbers":
            digits = [k for k, byte in enumerate(data) if 48 <= byte < 58] or [at]
            data[chance.choice(digits)] = chance.choice(b"0123456789-e.")
        else:
            data[at] = chance.choice(b'0123456789-.eE[]{}",:/ \nabcfv') if way == "printable" else chance.randrange(256)
    return bytes(data)


@pytest.mark.parametrize("name", FILES)
def test_a_kind_that_it_is_not(name):
    for kind in ("glb", "gltf", "obj", "ply", "stl", "fbx", "", "exe"):
        check(FILES[name][1](), kind)


@pytest.mark.parametrize("kind", ["fbx", "usdz", "spz", "splat", "ksplat", ""])
def test_other_kinds_are_refused_with_a_remedy(kind):
    with pytest.raises(ValueError, match="^toy: files of the kind .* are not read, only glb, gltf, obj, ply, stl; "):
        read(b"\1\2\3" * 100, kind)


def test_json_of_any_kind():
    """Every value of a whole document is changed for one of another kind."""
    for value in (None, -1, 1.5, 1e300, "x", [], {}, [[]], [{}], [-1], True, 2**63, {"a": {}}):
        for path in _paths(mesh_toys.gltf_whole().json):
            made = mesh_toys.gltf_whole()
            holder = made.json
            for key in path[:-1]:
                holder = holder[key]
            holder[path[-1]] = value
            check(made.glb(), "glb")


def _paths(value: object, above: tuple = ()) -> Iterator[tuple]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*above, key)
        yield from _paths(inner, (*above, key))


def test_deep_and_long_json():
    assert not check(b"[" * 100_000, "gltf")
    assert not check(b'{"a":' * 100_000, "gltf")
    assert not check(b'{"nodes":[' + b"{}," * 3_000_000 + b"{}]}", "gltf")
    assert not check(b'{"asset":' + b"9" * 100_000 + b"}", "gltf")


def test_a_chain_of_nodes():
    made = Gltf()
    nodes = [{"children": [k + 1], "scale": [2, 2, 2]} for k in range(2000)] + [{"mesh": 0}]
    assert not check(made.shows([made.primitive()], nodes=nodes, roots=[0]).glb(), "glb")  # too large, not too deep
    nodes = [{"children": [k + 1]} for k in range(5_000)] + [{"mesh": 0}]
    made = Gltf()
    assert check(made.shows([made.primitive()], nodes=nodes, roots=[0]).glb(), "glb")


def test_huge_claims(little_memory):
    """Counts without bytes, in every place that has a count: refused before anything is allocated."""
    for count in (10**6, 9_999_999, 10**8, 2**31, 2**53):
        made = Gltf()
        made.shows([made.primitive()])
        made.json["accessors"][0]["count"] = count
        assert not check(made.glb(), "glb")
        empty = {"indices": {"bufferView": 0, "componentType": 5121}, "values": {"bufferView": 0}, "count": count}
        made.json["accessors"][0].update(count=4, sparse=empty)
        assert not check(made.glb(), "glb")
        assert not check(mesh_toys.ply_header("binary_little_endian", count, count) + bytes(1000), "ply")
        assert not check(mesh_toys.ply_header("ascii", count, count) + b"0 " * 500, "ply")


@pytest.mark.skipif(sys.platform == "win32", reason="resource is of POSIX")
def test_memory_of_the_process_with_huge_claims():
    """tracemalloc does not see all: a process of its own may grow by a few hundred MB, and by no more."""
    script = (
        "import resource, sys; sys.path[:0] = sys.argv[1:]\n"
        "import mesh_toys as m\n"
        "m.gltf_whole().read()\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "made = m.Gltf(); made.shows([made.primitive()])\n"
        "for count in (10**6, 9_999_999, 10**9):\n"
        "    made.json['accessors'][0].update(count=count)\n"
        "    for view in (made.json['accessors'][0].get('bufferView'), None):\n"
        "        try: made.read()\n"
        "        except ValueError: pass\n"
        "        try: m.read(m.ply_header('binary_big_endian', count, 1) + bytes(999), 'ply')\n"
        "        except ValueError: pass\n"
        "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", script, str(ROOT), str(ROOT / "tests" / "core")],
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    assert int(run.stdout) < 300


def test_no_other_file_is_opened(monkeypatch):
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError(f"opened {args}")

    data = {name: (kind, make()) for name, (kind, make) in FILES.items()}
    outside = Gltf()
    outside.shows(
        [outside.primitive(TEXCOORD_0=np.zeros((4, 2)), material=outside.textured(np.zeros((2, 2, 3), np.uint8)))]
    )
    outside.json["images"] = [{"uri": "/etc/passwd"}]
    data["outside"] = ("glb", outside.glb())
    monkeypatch.setattr("builtins.open", refuse)
    for kind, content in data.values():
        assert check(content, kind)


@pytest.mark.parametrize(("kind", "most"), [("glb", 2.0), ("obj", 10.0)])
def test_two_hundred_thousand_faces(kind, most):
    n = 317
    across, down = np.meshgrid(np.arange(n), np.arange(n))
    points = np.stack([across, down, np.sin(across / 9)], axis=-1).reshape(-1, 3).astype(np.float32)
    first = (np.arange(n - 1)[:, None] * n + np.arange(n - 1)).ravel()
    faces = np.concatenate(
        [np.stack([first, first + 1, first + n], -1), np.stack([first + 1, first + n + 1, first + n], -1)]
    )
    if kind == "glb":
        made = Gltf()
        data = made.shows([made.primitive(points, faces, TEXCOORD_0=points[:, :2] / n)]).glb()
    else:
        lines = [f"v {x:f} {y:f} {z:f}\nvt {x / n:f} {y / n:f}\n" for x, y, z in points]
        lines += ["f {0}/{0} {1}/{1} {2}/{2}\n".format(*face) for face in (faces + 1).tolist()]
        data = "".join(lines).encode()
    start = time.process_time()
    mesh = read(data, kind)
    taken = time.process_time() - start
    assert mesh.faces.shape == (199_712, 3)
    assert taken < most, f"{taken:.2f} s"


@pytest.mark.parametrize("kind", ["obj", "stl", "ply"])
def test_text_without_end(kind, little_memory):
    """One line of 4 MB, and lines of nothing by the million."""
    heads = {"obj": b"", "stl": b"solid x\nfacet\n", "ply": mesh_toys.ply_header("ascii", 9, 9)}
    assert not check(heads[kind] + b"1 " * 2_000_000, kind)
    assert not check(heads[kind] + b"\n" * 41_000_000, kind)


def test_parts_of_nothing():
    empty = b"\0\0\0\0JSON" * 1_000_000
    assert not check(b"glTF\2\0\0\0" + (12 + len(empty)).to_bytes(4, "little") + empty, "glb")
