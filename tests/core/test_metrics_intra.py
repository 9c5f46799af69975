"""Intra-LPIPS and Intra-Style-L of a panorama of six windows: every pair by an outside implementation."""

import itertools

import core_toys as toys
import pytest
import torch
from torch import nn

from syncdiffusion_core.metrics.coherence import coherence
from syncdiffusion_core.perceptual.lpips_net import LpipsNet, Trunk
from syncdiffusion_core.perceptual.style import StyleNet

pytestmark = pytest.mark.filterwarnings("ignore:.*'(pretrained|weights)':UserWarning:torchvision")
SIDE, WINDOWS = 64, 6
STYLE_TAPS = (0, 2, 5, 7, 10)
"""conv1_1, 1_2, 2_1, 2_2 and 3_1 in torchvision's VGG19."""


def panorama() -> torch.Tensor:
    """Six windows of different brightness and contrast."""
    image = toys.randn(3, SIDE, SIDE * WINDOWS).float()
    contrast = torch.linspace(0.2, 3, SIDE * WINDOWS)
    return (image * contrast + contrast - 1).sigmoid()


def pairs_of(image: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
    windows = [image[None, :, :, SIDE * k : SIDE * (k + 1)] for k in range(WINDOWS)]
    pairs = list(itertools.combinations(windows, 2))
    assert len(pairs) == 15
    return pairs


@pytest.mark.parametrize("trunk", [Trunk.VGG, Trunk.ALEX])
def test_intra_lpips_is_the_mean_of_the_packages_own_forward(trunk, no_init):
    import lpips

    package = toys.fill(lpips.LPIPS(net=trunk.value, pretrained=False, pnet_rand=True, verbose=False))
    network = LpipsNet(trunk)
    network.load(package.state_dict())
    image = panorama()
    with torch.no_grad():
        expected = [float(package(one, other, normalize=True)) for one, other in pairs_of(image)]
    got = coherence(image, network, SIDE)
    assert min(expected) > 1e-3
    assert got.pairs[torch.triu_indices(6, 6, offset=1).unbind()].tolist() == pytest.approx(expected, rel=1e-5)
    assert got.intra == pytest.approx(sum(expected) / 15, rel=1e-5)


def torchvisions_vgg19() -> nn.Sequential:
    """Its own layers up to conv3_1, filled; the classifier never takes up memory."""
    import torchvision

    with torch.device("meta"):
        layers = torchvision.models.vgg19(weights=None).features[: STYLE_TAPS[-1] + 1]
    layers = layers.to_empty(device="cpu").double()
    for layer in layers:
        if isinstance(layer, nn.ReLU):
            layer.inplace = False  # a tap is read after the next layer ran
    return toys.fill(layers).double()


def style_loss(layers: nn.Sequential, one: torch.Tensor, other: torch.Tensor) -> float:
    """Sum over the taps of mean ((G - G')^2), G_ij = sum over places of f_i f_j / (a b c d), with loops."""

    def grams(image):
        mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
        x, found = (image.double() - mean.view(1, 3, 1, 1)) / std.view(1, 3, 1, 1), []
        for k, layer in enumerate(layers):
            x = layer(x)
            if k in STYLE_TAPS:
                a, b, c, d = x.shape
                gram = torch.stack([(x[0] * x[0, i]).sum(dim=(1, 2)) for i in range(b)])
                found.append(gram / (a * b * c * d))
        return found

    return sum(float(((g - h) ** 2).mean()) for g, h in zip(grams(one), grams(other), strict=True))


def test_intra_style_is_the_mean_over_torchvisions_layers():
    layers, image = torchvisions_vgg19(), panorama()
    network = StyleNet()
    network.load({f"features.{name}": tensor for name, tensor in layers.state_dict().items()})
    with torch.no_grad():
        expected = [style_loss(layers, one, other) for one, other in pairs_of(image)]
    assert coherence(image.double(), network.double(), SIDE).intra == pytest.approx(sum(expected) / 15, rel=1e-6)
    assert coherence(image, network.float(), SIDE).intra == pytest.approx(sum(expected) / 15, rel=1e-5)
