"""A glTF document: its JSON and the bytes that belong to it, in a GLB or in text with data inside; no other files."""

import base64
import binascii
from functools import cached_property

import numpy as np

from .entries import Entry, parsed
from .refusal import DAMAGED, Unreadable, brief, check_count

KINDS = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}
JSON, BIN = 0x4E4F534A, 0x004E4942
SUPPORTED = (
    *("KHR_mesh_quantization", "KHR_texture_transform", "KHR_texture_basisu", "EXT_texture_webp"),
    "KHR_materials_",
)
"""How extensions begin that a file may require: what is read, and what only says how a surface shines."""


class Document:
    """What a file holds, by the numbers that its JSON uses. The bytes are checked when they are asked for."""

    def __init__(self, data: bytes) -> None:
        text, self._inside = _of_glb(data) if data.startswith(b"glTF") else (data.removeprefix(b"\xef\xbb\xbf"), None)
        self.root = parsed(text)
        self._decoded: dict[int, memoryview] = {}
        version = self.root.entry("asset").text("version", "2.0")
        if not version.startswith("2."):
            raise Unreadable(f"it is glTF {brief(version)}, and 2.0 is read; convert it")
        for name in self.root.texts("extensionsRequired"):
            if not name.startswith(SUPPORTED):
                raise Unreadable(f"it needs {name}, which is not read; export it as GLB without compression")

    @cached_property
    def lists(self) -> dict[str, list[Entry]]:
        """The objects of each of its lists."""
        names = ("accessors", "bufferViews", "buffers", "images", "materials", "meshes")
        return {name: self.root.entries(name) for name in (*names, "nodes", "samplers", "scenes", "skins", "textures")}

    def one(self, name: str, number: int) -> Entry:
        """An object of a list. Raises Unreadable for a number that it does not have."""
        entries = self.lists[name]
        if number >= len(entries):
            raise Unreadable(f"it has no {name}[{number}], only {len(entries)} of them; {DAMAGED}")
        return entries[number]

    def view(self, number: int) -> memoryview:
        """The bytes of a bufferView."""
        view = self.one("bufferViews", number)
        start, length = view.whole("byteOffset", 0), view.whole("byteLength")
        held = self._buffer(view.whole("buffer"))
        if start + length > len(held):
            raise Unreadable(f"{view.where} ends at byte {start + length} of {len(held)}; {DAMAGED}")
        return held[start : start + length]

    def count(self, number: int) -> int:
        """How many elements an accessor has; nothing is read."""
        return self.one("accessors", number).whole("count")

    def floats(self, number: int, *widths: int, shares: bool = False) -> np.ndarray:
        """An accessor's elements, [count, width] float32. shares: whole numbers are always those of their most."""
        accessor = self.one("accessors", number)
        values = self._values(accessor, widths)
        if values.dtype.kind == "f" or not (shares or accessor.flag("normalized")):
            return values.astype(np.float32)
        return np.maximum(values.astype(np.float32) / np.iinfo(values.dtype).max, -1).astype(np.float32)

    def wholes(self, number: int, width: int = 1) -> np.ndarray:
        """An accessor's elements, [count, width] int64."""
        accessor = self.one("accessors", number)
        values = self._values(accessor, (width,))
        if values.dtype.kind == "f":
            raise Unreadable(f"{accessor.where} holds no whole numbers; {DAMAGED}")
        return values.astype(np.int64)

    def outside(self, holder: Entry) -> str:
        """The name of the other file in which a buffer or an image lies; empty where it lies in this one."""
        uri = holder.text("uri")
        return "" if uri.startswith("data:") else uri

    def data(self, holder: Entry) -> bytes:
        """The bytes of a data URI."""
        head, comma, body = holder.text("uri").partition(",")
        try:
            if not comma or not head.endswith(";base64"):
                raise ValueError
            return base64.b64decode(body, validate=True)
        except (ValueError, binascii.Error):
            raise Unreadable(f"{holder.where} is no data in base64; {DAMAGED}") from None

    def _buffer(self, number: int) -> memoryview:
        buffer = self.one("buffers", number)
        if "uri" not in buffer:
            if number or self._inside is None:
                raise Unreadable(f"{buffer.where} holds no data; export it as GLB without compression")
            return self._inside
        if self.outside(buffer):
            raise Unreadable(
                f"its data lie in another file ({brief(self.outside(buffer))}), which is not opened; export it as one "
                "GLB file"
            )
        if number not in self._decoded:
            self._decoded[number] = memoryview(self.data(buffer))
        return self._decoded[number]

    def _values(self, accessor: Entry, widths: tuple[int, ...]) -> np.ndarray:
        """[count, width] of the numbers that are stored."""
        count, kind = accessor.whole("count"), KINDS.get(accessor.whole("componentType"))
        width = WIDTHS.get(accessor.text("type"), 0)
        check_count(count, "elements of one accessor")
        if kind is None or width not in widths:
            raise Unreadable(f"{accessor.where} is of another kind than what it is used for; {DAMAGED}")
        base = accessor.maybe("bufferView")
        if base is None and "sparse" not in accessor:
            raise Unreadable(f"{accessor.where} holds no data; export it as GLB without compression")
        if base is None:
            return self._replaced(accessor, np.zeros((count, width), kind))
        stride = self.one("bufferViews", base).whole("byteStride", 0)
        stored = self._array(accessor, base, (count, width), kind, stride)
        return self._replaced(accessor, stored.copy()) if "sparse" in accessor else stored

    def _array(self, user: Entry, view: int, shape: tuple[int, int], kind: str, stride: int = 0) -> np.ndarray:
        """A view's bytes as numbers, no copy. Raises Unreadable where there are fewer."""
        held, start, item = self.view(view), user.whole("byteOffset", 0), np.dtype(kind).itemsize
        stride = stride or item * shape[1]
        needed = start + stride * (shape[0] - 1) + item * shape[1]
        if shape[0] and (stride < item * shape[1] or needed > len(held)):
            raise Unreadable(f"{user.where} needs {needed} bytes and there are {len(held)}; {DAMAGED}")
        if not shape[0]:
            return np.zeros(shape, kind)
        return np.ndarray(shape, kind, held, start, (stride, item))

    def _replaced(self, accessor: Entry, values: np.ndarray) -> np.ndarray:
        """With the elements that a sparse accessor names."""
        sparse = accessor.entry("sparse")
        count, places, given = sparse.whole("count"), sparse.entry("indices"), sparse.entry("values")
        kind = KINDS.get(places.whole("componentType"))
        if kind not in ("<u1", "<u2", "<u4") or count > len(values):
            raise Unreadable(f"{sparse.where} names places that cannot be; {DAMAGED}")
        where: np.ndarray = self._array(places, places.whole("bufferView"), (count, 1), kind)[:, 0].astype(np.int64)
        if count and int(where.max()) >= len(values):
            raise Unreadable(f"{sparse.where} names an element beyond the last; {DAMAGED}")
        values[where] = self._array(given, given.whole("bufferView"), (count, values.shape[1]), values.dtype.str)
        return values


def _of_glb(data: bytes) -> tuple[bytes, memoryview | None]:
    """(JSON, the binary part) of a GLB."""
    version, length = (int.from_bytes(data[start : start + 4], "little") for start in (4, 8))
    if version != 2:
        raise Unreadable(f"it is GLB {version}, and 2 is read; convert it")
    if len(data) < 20 or length > len(data):
        raise Unreadable(f"it has {len(data)} bytes of the {length} that it says it has; {DAMAGED}")
    chunks: dict[int, memoryview] = {}
    at = 12
    for _ in range(2):  # first the JSON, then the binary part; what may follow is of extensions
        if at + 8 > length:
            break
        size, kind = (int.from_bytes(data[start : start + 4], "little") for start in (at, at + 4))
        if at + 8 + size > length:
            raise Unreadable(f"one of its parts is of {size} bytes and {length - at - 8} are left; {DAMAGED}")
        chunks.setdefault(kind, memoryview(data)[at + 8 : at + 8 + size])
        at += 8 + size
    if JSON not in chunks:
        raise Unreadable(f"it has no description of what it holds; {DAMAGED}")
    return bytes(chunks[JSON]), chunks.get(BIN)
