"""What the materials of a glTF paint with: a colour, a picture, and which UVs it is laid by."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from .entries import Entry
from .gltf_document import Document
from .pieces import quiet
from .refusal import Unreadable, brief
from .sheet import Paint, Wrap

OLD = "KHR_materials_pbrSpecularGlossiness"
WRAPS = {33071: Wrap.CLAMP, 33648: Wrap.MIRROR}
LEFT_OUT = ("normalTexture", "occlusionTexture", "emissiveTexture")


@dataclass(frozen=True)
class Material:
    """paint: what is seen. uv_set: the TEXCOORD it is laid by. uv_map: [2, 3], those UVs -> the picture's."""

    paint: Paint
    uv_set: int
    uv_map: np.ndarray

    def uvs(self, given: np.ndarray) -> np.ndarray:
        """[N, 2] -> the same of the picture."""
        if np.array_equal(self.uv_map, np.eye(2, 3)):
            return given
        with quiet():
            return (given @ self.uv_map[:, :2].T + self.uv_map[:, 2]).astype(np.float32)


PLAIN = Material(Paint((1.0, 1.0, 1.0), None), 0, np.eye(2, 3))


def material_of(document: Document, number: int | None) -> Material:
    """What a primitive's material paints with."""
    if number is None:
        return PLAIN
    material = document.one("materials", number)
    described, factor, picture = material.entry("pbrMetallicRoughness"), "baseColorFactor", "baseColorTexture"
    if OLD in material.entry("extensions"):
        described, factor, picture = material.entry("extensions").entry(OLD), "diffuseFactor", "diffuseTexture"
    red, green, blue, _ = described.numbers(factor, [1.0] * 4)
    colour = (red, green, blue)
    if picture not in described:
        return replace(PLAIN, paint=Paint(colour, None))
    info = described.entry(picture)
    texture = document.one("textures", info.whole("index"))
    placed = info.entry("extensions").entry("KHR_texture_transform")
    uv_set = placed.whole("texCoord", info.whole("texCoord", 0))
    return Material(Paint(colour, _image(texture), _wraps(document, texture)), uv_set, _uv_map(placed))


def picture_of(document: Document, number: int) -> bytes:
    """An image as it is encoded. Raises Unreadable for one that is not in the file."""
    image = document.one("images", number)
    if document.outside(image):
        raise Unreadable(f"it lies in another file ({brief(document.outside(image))}), which is not opened")
    if "bufferView" in image:
        return bytes(document.view(image.whole("bufferView")))
    return document.data(image)


def left_out(document: Document, numbers: Iterable[int | None]) -> list[str]:
    """A remark on pictures of materials that a mesh is loaded without."""
    used = [document.one("materials", number) for number in numbers if number is not None]
    if not any(name in material for material in used for name in LEFT_OUT):
        return []
    return ["only the base colour is read: its normal, occlusion and emissive textures are left out"]


def _image(texture: Entry) -> int | None:
    """The picture of a texture: in WebP where there is one, in KTX2, which is not read, where there is no other."""
    other = texture.entry("extensions")
    kinds = (other.entry("EXT_texture_webp"), texture, other.entry("KHR_texture_basisu"))
    return next((kind.whole("source") for kind in kinds if "source" in kind), None)


def _wraps(document: Document, texture: Entry) -> tuple[Wrap, Wrap]:
    if "sampler" not in texture:
        return Wrap.REPEAT, Wrap.REPEAT
    sampler = document.one("samplers", texture.whole("sampler"))
    across, down = (WRAPS.get(sampler.whole(name, 10497), Wrap.REPEAT) for name in ("wrapS", "wrapT"))
    return across, down


def _uv_map(placed: Entry) -> np.ndarray:
    """[2, 3] of KHR_texture_transform: scale, then turn counter-clockwise as seen (v points down), then offset."""
    (x, y), (across, down) = placed.numbers("offset", [0.0, 0.0]), placed.numbers("scale", [1.0, 1.0])
    angle = placed.number("rotation", 0.0)
    cos, sin = math.cos(angle), math.sin(angle)
    return np.array([[cos * across, sin * down, x], [-sin * across, cos * down, y]])
