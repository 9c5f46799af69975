"""LPIPS 0.1 (Zhang et al., CVPR 2018) on the trunks of the ``lpips`` package, with weights from one file."""

from enum import Enum
from types import ModuleType

import torch
from torch import Tensor, nn

from .distance import Features
from .unit_features import lpips_distance, unit_normalise


class Trunk(str, Enum):
    """The network whose features are compared."""

    VGG = "vgg"
    ALEX = "alex"
    SQUEEZE = "squeeze"


def lpips_package() -> ModuleType:
    """The lpips package, which loads torchvision: only when a network is made, never when the pack is imported.

    Raises ValueError where it is not installed.
    """
    try:
        import lpips
    except ImportError as error:
        raise ValueError(
            f"LPIPS networks need the Python package lpips, and it cannot be loaded ({error}); install the pack's "
            "requirements.txt into ComfyUI's Python, or choose a scene or style network"
        ) from error
    return lpips


class LpipsNet(nn.Module):
    """A PerceptualDistance. Images [N, 3, H, W] in [0, 1], at least 32 px on a side.

    The state dict is that of ``lpips.LPIPS(net=trunk)``. ``constant`` is C of the perceptual file.
    """

    def __init__(self, trunk: Trunk, constant: float = 1.0) -> None:
        super().__init__()
        lpips = lpips_package()
        # The constructor would download the trunk and unpickle the linear layers; ours come from a file.
        with torch.random.fork_rng(devices=[]):  # its random weights must not advance anybody's noise
            self.net = lpips.LPIPS(net=trunk.value, pretrained=False, pnet_rand=True, verbose=False).eval()
        self.net.requires_grad_(False)
        self.trunk, self.constant = trunk, constant

    def load(self, weights: dict[str, Tensor]) -> None:
        """Take over a complete LPIPS state dict; RuntimeError names what is missing or misshapen."""
        self.net.load_state_dict(weights, strict=True)

    @property
    def layer_weights(self) -> list[Tensor]:
        """The linear layers as vectors [C_l]."""
        return [lin.model[-1].weight.flatten() for lin in self.net.lins]

    def features(self, image: Tensor) -> Features:
        """Unit-length activations of each tapped layer."""
        taps = self.net.net(self.net.scaling_layer(2 * image - 1))
        return tuple(unit_normalise(tap) for tap in taps)

    def distance(self, features: Features, anchor: Features) -> Tensor:
        """LPIPS of each row to its anchor: [N]."""
        return lpips_distance(features, anchor, self.layer_weights)


def random_lpips(trunk: Trunk, seed: int = 0) -> LpipsNet:
    """LPIPS with random weights: for tests and compatibility checks, not for guidance."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = LpipsNet(trunk)
    for lin in network.net.lins:
        lin.model[-1].weight.data.abs_()
    return network
