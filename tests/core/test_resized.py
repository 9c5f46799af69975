"""Perceptual distances at a lower resolution, against averaging by hand."""

import core_toys as toys
import pytest
import torch

from syncdiffusion_core.perceptual.resized import Resized
from syncdiffusion_core.perceptual.scene_net import SceneNet


class Pixels:
    """The mean squared difference of pixels: a spatial mean like LPIPS, whose gradients can be said in closed form."""

    constant = 7.0

    def features(self, image):
        return (image,)

    def distance(self, features, anchor):
        return (features[0] - anchor[0]).square().mean(dim=(1, 2, 3))


@pytest.fixture
def image():
    return toys.randn(2, 3, 128, 192).sigmoid().float()


def test_features_are_those_of_block_means(image):
    torch.manual_seed(0)
    network = SceneNet()
    by_hand = image.unflatten(3, (48, 4)).unflatten(2, (32, 4)).mean(dim=(3, 5))
    with torch.no_grad():
        ours, wanted = Resized(network, 4).features(image), network.features(by_hand)
    for one, other in zip(ours, wanted, strict=True):
        torch.testing.assert_close(one, other)


def test_the_constant_and_the_distance_are_the_networks(image):
    resized = Resized(Pixels(), 2)
    assert resized.constant == 7.0
    one, other = resized.features(image[:1]), resized.features(image[1:])
    assert torch.equal(resized.distance(one, other), Pixels().distance(one, other))


def test_factor_1_is_the_network_itself(image):
    assert Resized(Pixels(), 1).features(image)[0] is image


@pytest.mark.parametrize("factor", [2, 4])
def test_the_gradient_of_what_is_smooth_keeps_its_size_and_what_is_fine_is_not_seen(factor):
    coarse = toys.randn(1, 3, 32, 32).float().repeat_interleave(4, dim=2).repeat_interleave(4, dim=3)
    fine = torch.tensor([1.0, -1.0]).repeat(64).expand(1, 3, 128, 128)
    flat = torch.zeros_like(coarse)
    full, resized = Pixels(), Resized(Pixels(), factor)
    for picture, share in ((coarse, 1.0), (fine, 0.0)):
        leaf = picture.clone().requires_grad_(True)
        gradients = []
        for distance in (full, resized):
            loss = distance.distance(distance.features(leaf), distance.features(flat)).sum()
            gradients.append(torch.autograd.grad(loss, leaf)[0])
        torch.testing.assert_close(gradients[1], share * gradients[0])


def test_sides_are_rounded_down(image):
    assert Resized(Pixels(), 3).features(image)[0].shape == (2, 3, 42, 64)


def test_what_is_too_small_for_the_network_is_refused(image):
    with pytest.raises(ValueError, match=r"factor 5 leaves 38x25 px of a picture of 192x128 px.*smaller factor"):
        Resized(Pixels(), 5).features(image)
    with pytest.raises(ValueError, match="factor must be 1"):
        Resized(Pixels(), 0)
