"""What happens to safetensors files: broken clones, downloads that were cut, disks, other programs."""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Callable
from pathlib import Path

PUT = Callable[[Path], object]
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n"
TYPES = ("F16", "BF16", "F32", "F64", "I8", "U8", "I16", "I32", "I64", "BOOL", "F8_E4M3", "F8_E8M0", "C64", "F4", "X")


def split(good: bytes) -> tuple[dict, bytes]:
    """(header, what follows it)."""
    (length,) = struct.unpack("<Q", good[:8])
    return json.loads(good[8 : 8 + length]), good[8 + length :]


def joined(header: dict, body: bytes) -> bytes:
    """The reverse; the header may be none."""
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def with_metadata(good: bytes, **changes: str | None) -> bytes:
    """The file with these entries of its metadata, None for no such entry."""
    header, body = split(good)
    metadata = {**header.get("__metadata__", {}), **changes}
    header["__metadata__"] = {name: value for name, value in metadata.items() if value is not None}
    return joined(header, body)


def _written(content: bytes) -> PUT:
    return lambda path: path.write_bytes(content)


def kinds(good: bytes) -> dict[str, PUT]:
    """put(path) for each kind of damage that no loader may take for a file."""
    header, body = split(good)
    names = [name for name in header if name != "__metadata__"]
    first = max(names, key=lambda name: header[name]["data_offsets"][1] - header[name]["data_offsets"][0])
    start, end = header[first]["data_offsets"]
    size = {"F16": 2, "BF16": 2, "F32": 4, "F64": 8}[header[first]["dtype"]]
    whole = {"F16": "I16", "BF16": "I16", "F32": "I32", "F64": "I64"}[header[first]["dtype"]]
    nan = {"F16": b"\x00\x7e", "F32": b"\x00\x00\xc0\x7f", "F64": b"\x00" * 6 + b"\xf8\x7f"}[header[first]["dtype"]]
    count = (end - start) // size
    other = {"__metadata__": {"format": "pt"}, "weight": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}
    changed = {
        "whole numbers": {**header, first: {**header[first], "dtype": whole}},
        "another shape": {**header, first: {**header[first], "shape": [1, 1, 1, count]}},
        "another name": {("strange" if name == first else name): entry for name, entry in header.items()},
    }
    files = {
        "empty": b"",
        "one byte": good[:1],
        "cut in its header": good[:40],
        "cut in its tensors": good[: len(good) - 7],
        "cut in the middle": good[: len(good) // 2],
        "with more at its end": good + b"\0",
        "a pointer": POINTER,
        "a web page": b"<!DOCTYPE html><html><body>Not found</body></html>" * 9,
        "zeros": bytes(len(good)),
        "line ends changed": good.replace(b"\n", b"\r\n") + b"\r\n",
        "a header without end": struct.pack("<Q", 2**63) + good[8:],
        "of another program": joined(other, bytes(8)),
        "without tensors": joined({"__metadata__": header.get("__metadata__", {})}, b""),
        "with NaN": good[: len(good) - len(body) + start] + nan + good[len(good) - len(body) + start + len(nan) :],
        **{kind: joined(entries, body) for kind, entries in changed.items()},
    }
    return {
        **{kind: _written(content) for kind, content in files.items()},
        "a folder": Path.mkdir,
        "nothing": Path.exists,
    }


def at_random(good: bytes, seed: int) -> bytes:
    """The file cut anywhere, with bytes of its header changed, or with types or shapes exchanged."""
    chance = random.Random(seed)
    (length,) = struct.unpack("<Q", good[:8])
    damaged = bytearray(good)
    way = seed % 4
    if way == 0:
        return bytes(damaged[: chance.randrange(len(damaged))])
    if way == 1:
        for _ in range(chance.randint(1, 3)):
            damaged[chance.randrange(8 + length)] = chance.randrange(256)
        return bytes(damaged)
    if way == 2:  # printable ones get past the parser more often
        for _ in range(chance.randint(1, 3)):
            damaged[8 + chance.randrange(length)] = chance.choice(b'0123456789-.eE[]{}",:abcFIU')
        return bytes(damaged)
    header, body = split(good)
    name = chance.choice([name for name in header if name != "__metadata__"])
    entry = header[name]
    entry[chance.choice(["dtype", "shape"])] = chance.choice(
        [chance.choice(TYPES), entry["shape"][::-1], [2**40, 2**40]]
    )
    return joined(header, body)
