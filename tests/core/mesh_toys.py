"""Small mesh files of every kind, made in memory."""

import base64
import io
import json
import struct
from collections.abc import Callable, Sequence

import numpy as np
import torch
from PIL import Image

from syncdiffusion_core.mesh_files.read import MeshFile, read_mesh

SQUARE = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], np.float32)
HALVES = np.array([[0, 1, 2], [0, 2, 3]], np.uint32)
TETRAHEDRON = np.array([[0, 0, 0], [2, 0, 0], [0, 3, 0], [0, 0, 4]], np.float32)
OUTWARDS = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]], np.uint32)
KINDS = {"i1": 5120, "u1": 5121, "i2": 5122, "u2": 5123, "u4": 5125, "f4": 5126}
WIDTHS = {1: "SCALAR", 2: "VEC2", 3: "VEC3", 4: "VEC4", 16: "MAT4"}


def decode(encoded: bytes, side: int) -> torch.Tensor:
    """A picture in a file, as the pack's own does it."""
    try:
        picture = Image.open(io.BytesIO(encoded)).convert("RGB")
    except OSError as error:
        raise ValueError(str(error)) from error
    picture.thumbnail((side, side))
    return torch.from_numpy(np.array(picture))


def read(data: bytes | str, kind: str) -> MeshFile:
    """The mesh of a file called "toy"."""
    return read_mesh("toy", data.encode() if isinstance(data, str) else data, kind, decode)


def png(pixels: np.ndarray) -> bytes:
    """[H, W, 3] uint8 -> a file."""
    held = io.BytesIO()
    Image.fromarray(pixels).save(held, "PNG")
    return held.getvalue()


class Gltf:
    """A document that grows: numbers and bytes are added, lists of its JSON are filled by hand."""

    def __init__(self) -> None:
        self.json: dict = {"asset": {"version": "2.0"}, "bufferViews": [], "accessors": [], "scene": 0}
        self.binary = b""

    def view(self, data: bytes) -> int:
        """The number of a bufferView of these bytes."""
        self.json["bufferViews"].append({"buffer": 0, "byteOffset": len(self.binary), "byteLength": len(data)})
        self.binary += data + b"\0" * (-len(data) % 4)
        return len(self.json["bufferViews"]) - 1

    def array(self, values: Sequence | np.ndarray, kind: str = "f4", **extra: object) -> int:
        """The number of an accessor of these values, [count] or [count, width]."""
        values = np.asarray(values, kind)
        width = values.shape[1] if values.ndim > 1 else 1
        entry = {"componentType": KINDS[kind], "count": len(values), "type": WIDTHS[width], **extra}
        self.json["accessors"].append({"bufferView": self.view(values.astype(f"<{kind}").tobytes()), **entry})
        return len(self.json["accessors"]) - 1

    def primitive(self, vertices: np.ndarray = SQUARE, faces: np.ndarray | None = HALVES, **extra: object) -> dict:
        """One of a mesh. extra: arrays by attribute, or what stands beside the attributes."""
        attributes = {"POSITION": self.array(vertices)}
        attributes |= {name: self.array(value) for name, value in extra.items() if name.isupper()}
        beside = {name: value for name, value in extra.items() if not name.isupper()}
        indices = {} if faces is None else {"indices": self.array(np.ravel(faces), "u4")}
        return {"attributes": attributes, **indices, **beside}

    def textured(self, pixels: np.ndarray, sampler: dict | None = None, **info: object) -> int:
        """The number of a material that shows a picture."""
        lists = {name: self.json.setdefault(name, []) for name in ("images", "textures", "materials", "samplers")}
        lists["images"].append({"bufferView": self.view(png(pixels)), "mimeType": "image/png"})
        lists["samplers"].append(sampler or {})
        lists["textures"].append({"source": len(lists["images"]) - 1, "sampler": len(lists["samplers"]) - 1})
        texture = {"index": len(lists["textures"]) - 1, **info}
        lists["materials"].append({"pbrMetallicRoughness": {"baseColorTexture": texture}})
        return len(lists["materials"]) - 1

    def shows(self, *meshes: list[dict], nodes: list[dict] | None = None, roots: Sequence[int] = ()) -> "Gltf":
        """Of these meshes, by a node each or by these nodes; roots of the scene: all."""
        self.json["meshes"] = [{"primitives": primitives} for primitives in meshes]
        self.json["nodes"] = [{"mesh": number} for number in range(len(meshes))] if nodes is None else nodes
        self.json["scenes"] = [{"nodes": list(roots or range(len(self.json["nodes"])))}]
        return self

    def glb(self) -> bytes:
        """As one file."""
        self.json.setdefault("buffers", [{}])[0]["byteLength"] = len(self.binary)
        text = json.dumps(self.json).encode()
        text += b" " * (-len(text) % 4)
        body = struct.pack("<II", len(text), 0x4E4F534A) + text
        body += struct.pack("<II", len(self.binary), 0x004E4942) + self.binary
        return struct.pack("<4sII", b"glTF", 2, 12 + len(body)) + body

    def text(self) -> str:
        """As JSON with the data inside."""
        uri = "data:application/octet-stream;base64," + base64.b64encode(self.binary).decode()
        return json.dumps({**self.json, "buffers": [{"byteLength": len(self.binary), "uri": uri}]})

    def read(self) -> MeshFile:
        """The mesh of the GLB."""
        return read(self.glb(), "glb")


def ply_header(order: str, vertices: int, faces: int, *columns: str) -> bytes:
    """With x, y and z, further columns ("float s"), and lists of corners."""
    lines = [
        *("ply", f"format {order} 1.0", "comment by hand", f"element vertex {vertices}"),
        *(f"property {column}" for column in ("float x", "float y", "float z", *columns)),
        *(f"element face {faces}", "property list uchar int vertex_indices", "end_header"),
    ]
    return "\n".join(lines).encode() + b"\n"


def ply_text() -> bytes:
    """A tetrahedron with UVs and colours, in text."""
    rows = [f"{x:g} {y:g} {z:g} 0.25 0.75 255 128 {k}" for k, (x, y, z) in enumerate(TETRAHEDRON)]
    rows += [f"3 {a} {b} {c}" for a, b, c in OUTWARDS]
    columns = ("float s", "float t", "uchar red", "uchar green", "uchar blue")
    return ply_header("ascii", 4, 4, *columns) + "\n".join(rows).encode() + b"\n"


def ply_binary(order: str = "little") -> bytes:
    """A square of two triangles and a quad beside it, in binary."""
    mark = {"little": "<", "big": ">"}[order]
    vertices = np.concatenate([SQUARE, SQUARE[1:3] + (1, 0, 0)]).astype(f"{mark}f4")
    body = vertices.tobytes()
    for corners in ([0, 1, 2], [0, 2, 3], [1, 4, 5, 2]):
        body += bytes([len(corners)]) + np.array(corners, f"{mark}i4").tobytes()
    return ply_header(f"binary_{order}_endian", 6, 3) + body


def stl_binary(corners: np.ndarray | None = None) -> bytes:
    """A tetrahedron, or triangles [M, 3, 3]."""
    corners = TETRAHEDRON[OUTWARDS] if corners is None else corners
    rows = b"".join(bytes(12) + triangle.astype("<f4").tobytes() + bytes(2) for triangle in corners)
    return b"made by hand".ljust(80) + struct.pack("<I", len(corners)) + rows


def stl_text() -> bytes:
    """The same tetrahedron in text."""
    lines = ["solid made by hand"]
    for triangle in TETRAHEDRON[OUTWARDS]:
        lines += ["facet normal 0 0 0", " outer loop"]
        lines += [f"  vertex {x:g} {y:g} {z:g}" for x, y, z in triangle]
        lines += [" endloop", "endfacet"]
    return "\n".join([*lines, "endsolid", ""]).encode()


def obj_text() -> bytes:
    """A square with a seam of its UVs, a quad, negative numbers, normals and a comment."""
    return (
        b"# by hand\nmtllib other.mtl\no toy\nv 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nvt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\n"
        b"vt 0.5 0.5\nvn 0 0 1\nusemtl red\ns off\nf 1/1/1 2/2/1 3/3/1 4/4/1\nv 2 0 0\nv 2 1 0\n"
        b"f 2/5/1 -2/2/1 -1/3/1 3/5/1\n"
    )


def gltf_whole() -> Gltf:
    """A document with most of what there is: nodes, a texture, normals, colours, a plain material, a strip."""
    made = Gltf()
    pixels = np.arange(48, dtype=np.uint8).reshape(4, 4, 3) * 5
    uvs, up = SQUARE[:, :2], np.tile(np.array([0, 0, 1], np.float32), (4, 1))
    first = made.primitive(material=made.textured(pixels), TEXCOORD_0=uvs, NORMAL=up, COLOR_0=np.ones((4, 4)) * 0.5)
    made.json["materials"].append({"pbrMetallicRoughness": {"baseColorFactor": [0.5, 0.25, 1, 1]}})
    second = made.primitive(faces=np.array([0, 1, 3, 2]), mode=5, material=1)
    nodes = [{"children": [1], "translation": [1, 2, 3]}, {"mesh": 0, "scale": [1, 2, 1]}, {"mesh": 1}]
    return made.shows([first], [second], nodes=nodes, roots=[0, 2])


FILES: dict[str, tuple[str, Callable[[], bytes]]] = {
    "glb": ("glb", lambda: gltf_whole().glb()),
    "gltf": ("gltf", lambda: gltf_whole().text().encode()),
    "obj": ("obj", obj_text),
    "ply in text": ("ply", ply_text),
    "ply in binary": ("ply", ply_binary),
    "ply in binary, big": ("ply", lambda: ply_binary("big")),
    "stl in binary": ("stl", stl_binary),
    "stl in text": ("stl", stl_text),
}
"""One of each kind: (how its name ends, what makes it)."""
