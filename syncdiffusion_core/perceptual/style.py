"""Style distance: Gram matrices of features (Gatys et al. 2016), as SyncDiffusion's ablation uses it."""

import torch
from torch import Tensor, nn

from .distance import Features
from .scene_net import SceneNet

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# VGG19 up to conv3_1: output channels of each convolution, 0 for a pooling. Every convolution is a tap.
LAYERS = (64, 64, 0, 128, 128, 0, 256)
PAPER_CONSTANT = 1e6 * 0.1 / 20
"""The paper's setting, loss * 1e6 with w = .1, said in the LPIPS scale where w = 20."""


class StyleNet(nn.Module):
    """A PerceptualDistance: mean squared differences of Gram matrices at conv1_1, 1_2, 2_1, 2_2, 3_1, before ReLU.

    Files hold it under the names of torchvision's VGG19 (``features.0.weight`` …), those layers only.
    """

    def __init__(self, constant: float = PAPER_CONSTANT) -> None:
        super().__init__()
        self.constant = constant
        layers: list[nn.Module] = []
        channels = 3
        for width in LAYERS:
            if width == 0:
                layers.append(nn.MaxPool2d(2))
                continue
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
            channels = width
        self.features_ = nn.Sequential(*layers[:-1])
        self.requires_grad_(False)

    def load(self, weights: dict[str, Tensor]) -> None:
        """Take over VGG19 weights; RuntimeError names what is missing or misshapen."""
        self.features_.load_state_dict({own_name(name): value for name, value in weights.items()}, strict=True)

    def features(self, image: Tensor) -> Features:
        """Image [N, 3, H, W] in [0, 1] -> Gram matrix [N, C, C] of each tap, divided by C*h*w."""
        mean, std = (torch.tensor(v, device=image.device, dtype=image.dtype)[:, None, None] for v in (MEAN, STD))
        x, grams = (image - mean) / std, []
        for layer in self.features_:
            x = layer(x)
            if isinstance(layer, nn.Conv2d):
                grams.append(gram_matrix(x))
        return tuple(grams)

    def distance(self, features: Features, anchor: Features) -> Tensor:
        """Sum over taps of the mean squared difference of the Gram matrices: [N]."""
        return gram_distance(features, anchor)


def own_name(name: str) -> str:
    """The name in ``StyleNet.features_`` of a weight of torchvision's VGG19, or of a StyleNet."""
    return name.removeprefix("features.").removeprefix("features_.")


class SceneStyle(nn.Module):
    """The same distance by the stages of a scene net: the demo world's Style loss. ``constant`` is its C."""

    def __init__(self, network: SceneNet, constant: float = 1.0) -> None:
        super().__init__()
        self.network, self.constant = network, constant

    def features(self, image: Tensor) -> Features:
        """Image [N, 3, H, W] in [0, 1] -> Gram matrix [N, C, C] of each stage."""
        return tuple(gram_matrix(tap) for tap in self.network.taps(image))

    def distance(self, features: Features, anchor: Features) -> Tensor:
        """Sum over stages of the mean squared difference of the Gram matrices: [N]."""
        return gram_distance(features, anchor)


def gram_matrix(tap: Tensor) -> Tensor:
    """[N, C, h, w] -> [N, C, C], divided by C*h*w."""
    flat = tap.flatten(2)  # [N, C, hw]
    return flat @ flat.transpose(1, 2) / flat[0].numel()


def gram_distance(features: Features, anchor: Features) -> Tensor:
    """Sum over taps of the mean squared difference of Gram matrices: [N]; the anchor's batch is N or 1."""
    terms = [(f - a).square().mean(dim=(1, 2)) for f, a in zip(features, anchor, strict=True)]
    return torch.stack(terms).sum(dim=0)
