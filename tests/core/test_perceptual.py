"""Perceptual distances against their definitions, and the files they come in."""

import json
from collections.abc import Iterator

import core_toys as toys
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

from syncdiffusion_core.guidance.targets import Picture
from syncdiffusion_core.perceptual.distance import pairwise
from syncdiffusion_core.perceptual.files import FORMAT, load_perceptual, save_perceptual
from syncdiffusion_core.perceptual.lpips_net import LpipsNet, Trunk, random_lpips
from syncdiffusion_core.perceptual.scene_net import SceneNet
from syncdiffusion_core.perceptual.style import SceneStyle, StyleNet
from syncdiffusion_core.perceptual.unit_features import lpips_distance, unit_normalise

pytestmark = pytest.mark.filterwarnings("ignore:.*'(pretrained|weights)':UserWarning:torchvision")
TRUNKS = pytest.mark.parametrize("trunk", list(Trunk))


@pytest.fixture
def packages_own(trunk: Trunk, no_init: None) -> Iterator[nn.Module]:
    """The lpips package's model of the trunk."""
    import lpips

    return toys.fill(lpips.LPIPS(net=trunk.value, pretrained=False, pnet_rand=True, verbose=False))


def pictures(n=2, side=64, seed=0) -> torch.Tensor:
    return toys.randn(n, 3, side, side, seed=seed).sigmoid().float()


# LPIPS.


@TRUNKS
def test_lpips_is_the_packages(trunk, packages_own):
    network = LpipsNet(trunk)
    network.load(packages_own.state_dict())
    one, other = pictures(), pictures(seed=1)
    with torch.no_grad():
        expected = packages_own(one, other, normalize=True).flatten()
        got = network.distance(network.features(one), network.features(other))
        by_one_anchor = network.distance(network.features(one), network.features(other[:1]))
    assert got.shape == (2,)
    assert (expected > 1e-3).all()
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=0)
    torch.testing.assert_close(by_one_anchor[0], expected[0], rtol=1e-5, atol=0)


@pytest.mark.parametrize("trunk", [Trunk.ALEX, Trunk.SQUEEZE])
def test_the_gradient_of_lpips_is_the_packages(trunk, packages_own):
    network = LpipsNet(trunk)
    network.load(packages_own.state_dict())
    one, other = pictures(), pictures(seed=1)
    slopes = []
    for loss in (
        lambda x: packages_own(x, other, normalize=True).sum(),
        lambda x: network.distance(network.features(x), network.features(other)).sum(),
    ):
        leaf = one.clone().requires_grad_(True)
        slopes.append(torch.autograd.grad(loss(leaf), leaf)[0])
    assert slopes[0].abs().max() > 0
    assert (slopes[1] - slopes[0]).norm() < 1e-4 * slopes[0].norm()


@pytest.mark.parametrize("trunk", [Trunk.SQUEEZE])
def test_the_gradient_is_finite_where_every_activation_is_zero(trunk, packages_own):
    """A picture that switches every unit off: a bare square root gives NaN there."""
    for name, parameter in packages_own.named_parameters():
        if name.endswith("bias"):
            parameter.data.fill_(-1e3)
    network = LpipsNet(trunk)
    network.load(packages_own.state_dict())
    leaf = pictures().requires_grad_(True)
    taps = network.features(leaf)
    assert all(tap.abs().max() == 0 for tap in taps)
    anchor = tuple(torch.ones_like(tap) for tap in taps)
    (gradient,) = torch.autograd.grad(network.distance(taps, anchor).sum(), leaf)
    assert torch.equal(gradient, torch.zeros_like(gradient))


def test_unit_features_have_length_one():
    features = toys.randn(2, 7, 3, 3)
    torch.testing.assert_close(unit_normalise(features).norm(dim=1), torch.ones(2, 3, 3, dtype=torch.float64))
    torch.testing.assert_close(unit_normalise(features), F.normalize(features, dim=1), rtol=1e-8, atol=0)


def test_where_all_channels_are_off_features_and_gradient_are_finite():
    features = toys.randn(1, 4, 2, 2).relu()
    features[..., 0, 0] = 0
    leaf = features.float().requires_grad_(True)
    unit = unit_normalise(leaf)
    (gradient,) = torch.autograd.grad(unit.sum(), leaf)
    assert torch.equal(unit[..., 0, 0], torch.zeros(1, 4))
    assert gradient.isfinite().all()


def test_the_lpips_distance_in_numbers():
    """Two layers, two channels, one place: 3 (1 - 0)^2 + 5 (0 - 1)^2, then 2 (1 - .5)^2."""
    features = (torch.tensor([1.0, 0.0]).view(1, 2, 1, 1), torch.tensor([1.0]).view(1, 1, 1, 1))
    anchor = (torch.tensor([0.0, 1.0]).view(1, 2, 1, 1), torch.tensor([0.5]).view(1, 1, 1, 1))
    weights = [torch.tensor([3.0, 5.0]), torch.tensor([2.0])]
    assert lpips_distance(features, anchor, weights).tolist() == [8.5]


def test_the_lpips_distance_is_a_mean_over_places():
    place = toys.randn(1, 3, 1, 1)
    small, large = (place.expand(1, 3, n, n) for n in (2, 9))
    weights = [torch.ones(3, dtype=torch.float64)]
    zero = torch.zeros(1, 3, 1, 1, dtype=torch.float64)
    torch.testing.assert_close(lpips_distance((small,), (zero,), weights), lpips_distance((large,), (zero,), weights))


def test_random_lpips_repeats_and_has_non_negative_layers():
    one, again, other = random_lpips(Trunk.SQUEEZE), random_lpips(Trunk.SQUEEZE), random_lpips(Trunk.SQUEEZE, seed=1)
    x = pictures(1)
    assert all((weights >= 0).all() for weights in one.layer_weights)
    assert all(torch.equal(a, b) for a, b in zip(one.features(x), again.features(x), strict=True))
    assert not torch.equal(one.features(x)[0], other.features(x)[0])


@pytest.mark.parametrize("make", [lambda: random_lpips(Trunk.SQUEEZE), lambda: LpipsNet(Trunk.SQUEEZE)])
def test_making_a_network_leaves_the_random_state_alone(make):
    """Weights that a file replaces may not cost a run its seed."""
    torch.manual_seed(7)
    before = torch.get_rng_state()
    make()
    assert torch.equal(torch.get_rng_state(), before)


def test_pairwise_is_every_row_against_every_row():
    distance = toys.ToyDistance()
    x = pictures(3, side=16).double()
    pairs = pairwise(distance, distance.features(x))
    assert pairs.shape == (3, 3)
    for i in range(3):
        for j in range(3):
            torch.testing.assert_close(pairs[i, j], toys.loss_of(x[[i]], x[[j]])[0])
    torch.testing.assert_close(pairs, pairs.T)
    assert pairs.diagonal().abs().max() == 0


# Style.


def style_net(constant=None) -> StyleNet:
    network = StyleNet() if constant is None else StyleNet(constant)
    return toys.fill(network)


def gram_distance(network: StyleNet, one: torch.Tensor, other: torch.Tensor) -> float:
    """Sum over conv1_1, 1_2, 2_1, 2_2, 3_1, before ReLU, of the MSE of Gram / (a b c d), picture by picture."""
    weights = network.state_dict()
    names = sorted({name.rsplit(".", 1)[0] for name in weights}, key=lambda name: int(name.rsplit(".", 1)[1]))
    assert len(names) == 5

    def grams(picture):
        mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
        x, out = (picture - mean.view(3, 1, 1)) / std.view(3, 1, 1), []
        for k, name in enumerate(names):
            if k in (2, 4):
                x = F.max_pool2d(x, 2)
            x = F.conv2d(x[None], weights[f"{name}.weight"], weights[f"{name}.bias"], padding=1)[0]
            channels, height, width = x.shape
            flat = x.reshape(channels, -1)
            out.append(flat @ flat.T / (1 * channels * height * width))
            x = x.relu()
        return out

    return float(sum(((a - b) ** 2).mean() for a, b in zip(grams(one), grams(other), strict=True)))


def test_style_is_the_gram_distance():
    network, one, other = style_net(), pictures(side=24), pictures(side=24, seed=1) ** 2
    got = network.distance(network.features(one), network.features(other))
    assert got.shape == (2,)
    expected = [gram_distance(network, one[k], other[k]) for k in range(2)]
    assert got.tolist() == pytest.approx(expected, rel=1e-4)
    to_one = network.distance(network.features(one), network.features(other[:1]))
    assert to_one.tolist() == pytest.approx([gram_distance(network, x, other[0]) for x in one], rel=1e-4)


def test_style_has_the_names_it_says():
    """Its docstring: "The state dict has the names of torchvision's VGG19"; what it gives, it takes."""
    assert {name.replace("features_", "features") for name in StyleNet().state_dict()} == set(vgg19_weights())
    StyleNet().load(style_net().state_dict())


def test_style_features_are_gram_matrices():
    features = style_net().features(pictures(1, side=32))
    for gram in features:
        torch.testing.assert_close(gram, gram.transpose(1, 2))
        assert torch.linalg.eigvalsh(gram).min() > -1e-6
    assert [tuple(f.shape) for f in features] == [(1, c, c) for c in (64, 64, 128, 128, 256)]


def vgg19_weights() -> dict[str, torch.Tensor]:
    """Under torchvision's names: features.0, 2, 5, 7, 10."""
    return {f"features.{name.split('.', 1)[1]}": tensor for name, tensor in style_net().state_dict().items()}


def test_style_takes_the_weights_of_torchvisions_vgg19():
    network, weights = style_net(), vgg19_weights()
    assert sorted({int(k.split(".")[1]) for k in weights}) == [0, 2, 5, 7, 10]
    fresh = StyleNet()
    fresh.load(weights)
    assert all(torch.equal(a, b) for a, b in zip(fresh.parameters(), network.parameters(), strict=True))


def test_scene_style_is_the_gram_distance_of_the_stages():
    network = toys.fill(SceneNet(widths=(4, 6)))
    one, other = pictures(1, 32), pictures(1, 32, seed=1)
    style, expected = SceneStyle(network, 2.0), 0.0
    for a, b in zip(network.taps(one), network.taps(other), strict=True):
        gram = [torch.einsum("chw,dhw->cd", tap[0], tap[0]) / tap.numel() for tap in (a, b)]
        expected += (gram[0] - gram[1]).square().mean().item()
    distance = style.distance(style.features(one), style.features(other))
    assert distance.item() == pytest.approx(expected, rel=1e-5)
    assert style.constant == 2.0


def test_the_papers_style_setting_in_units_of_w():
    """L * 1e6 with w = .1 is w = 20 with the network's own constant."""
    x, network = toys.randn(2, 4, 8, 8).float(), style_net()
    picture = pictures(1, side=16, seed=5)

    def move(distance, weight):
        options = {"decode": toys.smooth_decode, "distance": distance, "target": Picture(picture)}
        moment = toys.moment(toys.side_by_side(2, 8), x, 0.5, lambda x, sigma, rows: x * 1.0)
        return toys.guided([weight], **options)(moment).x - x

    class Papers:
        constant = 1.0
        features = staticmethod(network.features)

        @staticmethod
        def distance(features, anchor):
            return 1e6 * network.distance(features, anchor)

    torch.testing.assert_close(move(network, 20.0), move(Papers(), 0.1), rtol=1e-3, atol=1e-6)


# The scene net.


def scene_net() -> SceneNet:
    torch.manual_seed(0)
    network = SceneNet(widths=(6, 8, 10), depth=1)
    for lin in network.lin:
        lin.copy_(torch.rand(lin.shape))
    return network


def test_the_scene_net_keeps_the_contract():
    network, one, other = scene_net(), pictures(3, side=32), pictures(3, side=32, seed=1)
    features, anchors = network.features(one), network.features(other)
    assert [tuple(f.shape) for f in features] == [(3, 6, 16, 16), (3, 8, 8, 8), (3, 10, 4, 4)]
    for feature in features:
        torch.testing.assert_close(feature.norm(dim=1), torch.ones_like(feature[:, 0]), rtol=1e-3, atol=1e-3)
    distance = network.distance(features, anchors)
    assert distance.shape == (3,)
    assert (distance > 0).all()
    assert network.distance(features, features).abs().max() == 0
    to_one = network.distance(features, network.features(other[:1]))
    torch.testing.assert_close(to_one[0], distance[0])


def test_the_scene_nets_distance_is_lpips_in_form():
    network, one, other = scene_net(), pictures(1, side=32), pictures(1, side=32, seed=1)
    with torch.no_grad():
        features, anchors = network.features(one), network.features(other)
    total = 0.0
    for f, a, lin in zip(features, anchors, network.lin, strict=True):
        for channel in range(f.shape[1]):
            total += float(lin[channel] * ((f - a)[0, channel] ** 2).mean())
    assert float(network.distance(features, anchors)) == pytest.approx(total, rel=1e-4)


def test_rows_of_the_scene_net_do_not_see_each_other():
    network, x = scene_net(), pictures(3, side=32)
    together = network.features(x)
    for k in range(3):
        for whole, alone in zip(together, network.features(x[[k]]), strict=True):
            torch.testing.assert_close(whole[[k]], alone, rtol=1e-4, atol=1e-5)


def test_the_scene_nets_gradient_is_finite_on_a_flat_picture():
    network = scene_net()
    for level in (0.0, 0.5, 1.0):
        leaf = torch.full((1, 3, 32, 32), level, requires_grad=True)
        loss = network.distance(network.features(leaf), network.features(pictures(1, side=32)))
        (gradient,) = torch.autograd.grad(loss.sum(), leaf)
        assert gradient.isfinite().all()


# Files.


def small_style(tmp_path):
    path = tmp_path / "style.safetensors"
    save_perceptual(path, "vgg19-style", vgg19_weights(), 123.5)
    return path


def test_a_style_file_comes_back(tmp_path):
    network = load_perceptual(small_style(tmp_path))
    assert isinstance(network, StyleNet)
    assert network.constant == 123.5
    saved = style_net().state_dict()
    assert all(torch.equal(saved[name], tensor) for name, tensor in network.state_dict().items())


@pytest.mark.parametrize("trunk", [Trunk.ALEX, Trunk.SQUEEZE])
def test_an_lpips_file_comes_back_in_half_precision_too(tmp_path, trunk, packages_own):
    path = tmp_path / "net.safetensors"
    weights = {name: tensor.half() for name, tensor in packages_own.state_dict().items()}
    save_perceptual(path, trunk.value, weights, 0.25)
    network = load_perceptual(path)
    assert isinstance(network, LpipsNet)
    assert (network.trunk, network.constant) == (trunk, 0.25)
    assert {p.dtype for p in network.parameters()} == {torch.float32}
    assert not any(p.requires_grad for p in network.parameters())
    assert not network.training
    got = network.net.state_dict()
    assert all(torch.equal(got[name], tensor.float()) for name, tensor in weights.items())


@TRUNKS
def test_an_lpips_file_without_metadata_is_recognised(tmp_path, trunk, packages_own):
    path = tmp_path / "unknown.safetensors"
    save_file({name: tensor.clone() for name, tensor in packages_own.state_dict().items()}, path)
    network = load_perceptual(path)
    assert network.trunk is trunk
    assert network.constant == 1.0


def scene_file(path, network, **changes):
    metadata = {"format": FORMAT, "net": "scene", "constant": "2.5", "config": json.dumps(network.config)} | changes
    save_file(network.state_dict(), path, metadata={k: v for k, v in metadata.items() if v is not None})
    return path


def test_a_scene_file_comes_back(tmp_path):
    network = scene_net()
    got = load_perceptual(scene_file(tmp_path / "scene.safetensors", network))
    assert isinstance(got, SceneNet)
    assert got.constant == 2.5
    assert SceneNet.constant == 1.0
    x = pictures(1, side=32)
    for one, other in zip(network.features(x), got.features(x), strict=True):
        assert torch.equal(one, other)
    assert all(torch.equal(a, b) for a, b in zip(network.lin, got.lin, strict=True))


def refused(path, *words):
    with pytest.raises(ValueError) as error:
        load_perceptual(path)
    assert [word for word in (path.name, *words) if word not in str(error.value)] == []


def test_a_pickle_is_refused(tmp_path):
    path = tmp_path / "vgg.pth"
    torch.save({"lin0.model.1.weight": torch.zeros(1)}, path)
    refused(path, "not a readable safetensors file", ".pth files are not loaded")


@pytest.mark.parametrize("content", [b"", b"not a network", b"\x00" * 64])
def test_noise_is_refused(tmp_path, content):
    path = tmp_path / "noise.safetensors"
    path.write_bytes(content)
    refused(path, "not a readable safetensors file")


def test_a_file_that_is_cut_short_is_refused(tmp_path):
    path = small_style(tmp_path)
    path.write_bytes(path.read_bytes()[:-100])
    refused(path, "not a readable safetensors file")


def test_a_file_that_is_not_there_is_named(tmp_path):
    refused(tmp_path / "gone.safetensors")


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda weights: weights | {"features.5.weight": torch.zeros(1, 2, 3)}, "5.weight"),
        (lambda weights: {k: v for k, v in weights.items() if k != "features.7.bias"}, "7.bias"),
        (lambda weights: weights | {"features.12.weight": torch.zeros(1)}, "12.weight"),
    ],
    ids=["another shape", "missing", "too much"],
)
def test_weights_that_do_not_fit_are_refused_by_name(tmp_path, change, word):
    path = tmp_path / "style.safetensors"
    save_perceptual(path, "vgg19-style", change(vgg19_weights()), 1.0)
    refused(path, "do not fit a 'vgg19-style' network", word)


def test_lpips_weights_of_another_trunk_are_refused(tmp_path, no_init):
    path = tmp_path / "net.safetensors"
    save_perceptual(path, "alex", toys.fill(LpipsNet(Trunk.SQUEEZE).net).state_dict(), 1.0)
    refused(path, "do not fit a 'alex' network")


def test_an_unknown_network_is_refused(tmp_path):
    path = tmp_path / "net.safetensors"
    save_perceptual(path, "resnet", {"a": torch.zeros(1)}, 1.0)
    refused(path, "unknown network 'resnet'", "vgg, alex, squeeze, vgg19-style and scene")


def test_a_checkpoint_of_something_else_is_refused(tmp_path):
    path = tmp_path / "sd15.safetensors"
    save_file({"model.diffusion_model.input_blocks.0.0.weight": torch.zeros(2)}, path, metadata={"format": "pt"})
    refused(path, "not a perceptual network", "LPIPS")


@pytest.mark.parametrize(
    "changes",
    [
        {"config": None},
        {"config": "{"},
        {"config": '{"width": [1]}'},
        {"config": '{"widths": [6, 8], "depth": 1}'},
        {"constant": "much"},
    ],
)
def test_metadata_without_sense_is_refused_by_the_files_name(tmp_path, changes):
    refused(scene_file(tmp_path / "scene.safetensors", scene_net(), **changes))


def test_saving_a_scene_net_keeps_what_loading_needs(tmp_path):
    """``save_perceptual``: "the metadata that ``load_perceptual`` reads"."""
    path, network = tmp_path / "scene.safetensors", scene_net()
    save_perceptual(path, "scene", network.state_dict(), 1.5, network.config)
    assert load_perceptual(path).config == network.config
