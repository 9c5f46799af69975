"""Materials: what a place of the surface shows is what the file says there, whatever lies where on the one texture."""

import math

import numpy as np
import pytest
import torch
from mesh_toys import HALVES, SQUARE, Gltf
from torch.nn import functional as F

BANDS = np.repeat(np.repeat(np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [90, 90, 90]]], np.uint8), 8, 0), 8, 1)
"""Four patches of 8 px: red, green above blue, grey."""
OTHER = np.full((4, 8, 3), (10, 200, 250), np.uint8)


def shown(mesh, place: torch.Tensor) -> torch.Tensor:
    """The texture at UVs [K, 2], as the host samples it: [K, 3]."""
    grid = (place * 2 - 1)[None, :, None].float()
    seen = F.grid_sample(mesh.texture.movedim(-1, 0)[None], grid, padding_mode="border", align_corners=False)
    return seen[0, :, :, 0].T


def inside(mesh, face: int, weights: torch.Tensor) -> torch.Tensor:
    """What is shown at places [K, 3] of a face."""
    return shown(mesh, weights.float() @ mesh.uvs[mesh.faces[face]])


def oracle(pixels: np.ndarray, place: torch.Tensor, wrap: str = "repeat") -> torch.Tensor:
    """The patch in whose middle a place [K, 2] is, by the definition of the wraps."""
    colours = []
    for u, v in place.tolist():
        row, column = (_at(each, size, wrap) for each, size in ((v, pixels.shape[0]), (u, pixels.shape[1])))
        colours.append(pixels[row, column] / 255)
    return torch.tensor(np.array(colours), dtype=torch.float32)


def _at(place: float, size: int, wrap: str) -> int:
    turns, rest = divmod(place, 1.0)
    if wrap == "clamp":
        rest = min(max(place, 0.0), 1.0)
    if wrap == "mirror" and turns % 2:
        rest = 1 - rest
    return min(int(rest * size), size - 1)


def middles(tiles: float) -> tuple[torch.Tensor, torch.Tensor]:
    """(weights [K, 3] of places in the first half of the square, their UVs): middles of patches, UVs up to tiles."""
    steps = (torch.arange(int(2 * tiles)) + 0.5) / (2 * tiles)
    u, v = (each.ravel() for each in torch.meshgrid(steps, steps, indexing="ij"))
    u, v = u[u > v + 1e-3], v[u > v + 1e-3]
    return torch.stack([1 - u, u - v, v], dim=-1), torch.stack([u, v], dim=-1) * tiles


def test_one_picture_stays_as_it_is():
    made = Gltf()
    primitive = made.primitive(TEXCOORD_0=SQUARE[:, :2], material=made.textured(BANDS))
    mesh = made.shows([primitive]).read()
    assert torch.equal(mesh.texture, torch.from_numpy(BANDS).float() / 255)
    assert torch.equal(mesh.uvs, torch.from_numpy(SQUARE[:, :2]))
    assert mesh.remarks == ()


@pytest.mark.parametrize("wrap", ["repeat", "mirror", "clamp"])
@pytest.mark.parametrize("shift", [0, -3])
def test_uvs_beyond_the_picture(wrap, shift):
    made = Gltf()
    code = {"repeat": 10497, "mirror": 33648, "clamp": 33071}[wrap]
    material = made.textured(BANDS, {"wrapS": code, "wrapT": code})
    mesh = made.shows([made.primitive(TEXCOORD_0=SQUARE[:, :2] * 4 + shift, material=material)]).read()
    assert 0 <= float(mesh.uvs.min()) <= float(mesh.uvs.max()) <= 1
    weights, place = middles(4.0)
    if wrap == "clamp":  # beyond the border nothing has a place of its own
        return torch.testing.assert_close(shown(mesh, mesh.uvs), oracle(BANDS, mesh.uvs, wrap))
    torch.testing.assert_close(inside(mesh, 0, weights), oracle(BANDS, place + shift, wrap), atol=1e-4, rtol=0)


def test_two_pictures_and_a_plain_colour():
    made = Gltf()
    first = made.primitive(TEXCOORD_0=SQUARE[:, :2] * 2, material=made.textured(BANDS))
    second = made.primitive(TEXCOORD_0=SQUARE[:, :2], material=made.textured(OTHER))
    made.json["materials"].append({"pbrMetallicRoughness": {"baseColorFactor": [0.5, 0.0, 1.0, 0.3]}})
    third = made.primitive(material=2)
    mesh = made.shows([first, second], [third]).read()
    weights, place = middles(2.0)
    torch.testing.assert_close(inside(mesh, 0, weights), oracle(BANDS, place), atol=0.1, rtol=0)
    torch.testing.assert_close(inside(mesh, 2, weights), oracle(OTHER, place / 2), atol=1e-4, rtol=0)
    half = 1.055 * 0.5 ** (1 / 2.4) - 0.055
    torch.testing.assert_close(inside(mesh, 4, weights), torch.tensor([half, 0, 1]).expand(len(weights), 3))
    told = ("4 of its vertices have no UVs", "its 3 materials lie side by side on one texture, and its UVs with them")
    assert mesh.remarks == told
    assert mesh.colours is None


def test_a_place_of_its_own_for_each_material():
    made = Gltf()
    pieces = [made.primitive(TEXCOORD_0=SQUARE[:, :2], material=made.textured(OTHER + k)) for k in range(5)]
    mesh = made.shows(pieces).read()
    spans = [(mesh.uvs[4 * k : 4 * k + 4].amin(dim=0), mesh.uvs[4 * k : 4 * k + 4].amax(dim=0)) for k in range(5)]
    for k, (least, most) in enumerate(spans):
        for other_least, other_most in spans[:k]:
            assert ((least > other_most) | (other_least > most)).any()


def test_materials_that_show_the_same_share_a_place():
    made = Gltf()
    material = made.textured(BANDS)
    made.json["materials"].append(dict(made.json["materials"][0], name="another"))
    pieces = [made.primitive(TEXCOORD_0=SQUARE[:, :2], material=k) for k in (material, 1)]
    assert made.shows(pieces).read().texture.shape == (16, 16, 3)


def test_colours_multiply_pictures_as_light():
    made = Gltf()
    material = made.textured(OTHER)
    made.json["materials"][material]["pbrMetallicRoughness"]["baseColorFactor"] = [0.5, 1.0, 0.25, 1.0]
    mesh = made.shows([made.primitive(TEXCOORD_0=SQUARE[:, :2], material=material)]).read()
    for channel, factor in enumerate((0.5, 1.0, 0.25)):
        encoded = OTHER[0, 0, channel] / 255
        light = factor * (encoded / 12.92 if encoded <= 0.04045 else ((encoded + 0.055) / 1.055) ** 2.4)
        wanted = light * 12.92 if light <= 0.0031308 else 1.055 * light ** (1 / 2.4) - 0.055
        assert float(mesh.texture[0, 0, channel]) == pytest.approx(wanted, abs=1e-5)


def test_without_pictures_several_colours_are_those_of_vertices():
    made = Gltf()
    made.json["materials"] = [{"pbrMetallicRoughness": {"baseColorFactor": [c, 0.5, 1, 1]}} for c in (0.25, 0.75)]
    mesh = made.shows([made.primitive(material=0)], [made.primitive(material=1)]).read()
    assert mesh.colours.tolist() == [[0.25, 0.5, 1]] * 4 + [[0.75, 0.5, 1]] * 4
    assert Gltf().shows([made.primitive()]) is not None
    alone = Gltf()
    alone.json["materials"] = made.json["materials"]
    assert alone.shows([alone.primitive(material=0)]).read().colours is None


@pytest.mark.parametrize(
    ("placed", "quadrant"),
    [
        ({"offset": [0, 1], "rotation": math.pi / 2, "scale": [0.5, 0.5]}, lambda u, v: (v / 2, 1 - u / 2)),
        ({"offset": [0, 1], "scale": [1, -1]}, lambda u, v: (u, 1 - v)),
        ({"offset": [0.25, 0.5], "scale": [0.5, 0.25]}, lambda u, v: (u / 2 + 0.25, v / 4 + 0.5)),
    ],
)
def test_where_a_picture_is_laid(placed, quadrant):
    """The first two are the examples of KHR_texture_transform: the lower left quarter turned, v upwards."""
    made = Gltf()
    material = made.textured(BANDS, extensions={"KHR_texture_transform": placed})
    mesh = made.shows([made.primitive(TEXCOORD_0=SQUARE[:, :2], material=material)]).read()
    wanted = [quadrant(u, v) for u, v in SQUARE[:, :2].tolist()]
    np.testing.assert_allclose(mesh.uvs, wanted, atol=1e-6)


def test_another_set_of_uvs():
    made = Gltf()
    material = made.textured(BANDS, texCoord=1)
    uvs = SQUARE[:, :2] / 2
    mesh = made.shows([made.primitive(TEXCOORD_0=SQUARE[:, :2], TEXCOORD_1=uvs, material=material)]).read()
    np.testing.assert_array_equal(mesh.uvs, uvs)


def test_old_materials():
    made = Gltf()
    material = made.textured(BANDS)
    texture = made.json["materials"][material]["pbrMetallicRoughness"]["baseColorTexture"]
    old = {"diffuseTexture": texture, "diffuseFactor": [1, 1, 1, 1]}
    made.json["materials"][0] = {"extensions": {"KHR_materials_pbrSpecularGlossiness": old}}
    assert made.shows([made.primitive(TEXCOORD_0=SQUARE[:, :2], material=0)]).read().texture.shape == (16, 16, 3)


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (
            {"uri": "../a.png"},
            'its texture 0 is left out: it lies in another file ("../a.png"), which is not opened',
        ),
        ({"uri": "data:image/png;base64,AAAA"}, "its texture 0 is left out: "),
        ({}, "its texture 0 is left out: "),
    ],
)
def test_a_picture_that_is_not_there_costs_the_picture_only(image, words):
    made = Gltf()
    material = made.textured(BANDS)
    made.json["images"] = [image]
    mesh = made.shows([made.primitive(TEXCOORD_0=SQUARE[:, :2], material=material)]).read()
    assert mesh.texture is None
    assert torch.equal(mesh.uvs, torch.from_numpy(SQUARE[:, :2]))
    assert mesh.remarks[0].startswith(words)


def test_uvs_by_the_thousand_are_cut_off():
    made = Gltf()
    primitive = made.primitive(TEXCOORD_0=SQUARE[:, :2] * 1e6, material=made.textured(BANDS))
    mesh = made.shows([primitive]).read()
    assert max(mesh.texture.shape) <= 4096
    assert 0 <= float(mesh.uvs.min()) <= float(mesh.uvs.max()) <= 1
    assert "its UVs reach over more than 64 pictures, and are cut off there" in mesh.remarks


def test_other_pictures_of_a_material_are_left_out_with_a_word():
    made = Gltf()
    material = made.textured(BANDS)
    made.json["materials"][material]["normalTexture"] = {"index": 0}
    mesh = made.shows([made.primitive(TEXCOORD_0=SQUARE[:, :2], material=material, faces=HALVES)]).read()
    assert mesh.remarks == ("only the base colour is read: its normal, occlusion and emissive textures are left out",)
