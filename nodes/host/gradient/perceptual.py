"""A perceptual distance that the host's memory management knows."""

from dataclasses import dataclass

import comfy.model_management
import comfy.model_patcher
from torch import Tensor, nn

from ....syncdiffusion_core.perceptual.distance import Features
from .gradients import differentiable_call


@dataclass(frozen=True)
class PerceptualModel:
    """A distance network, its patcher (so that the host can load and unload it) and its name."""

    network: nn.Module
    patcher: comfy.model_patcher.ModelPatcher
    name: str

    @classmethod
    def wrap(cls, network: nn.Module, name: str) -> "PerceptualModel":
        """Give a network to the host's memory management."""
        patcher = comfy.model_patcher.ModelPatcher(
            network,
            load_device=comfy.model_management.get_torch_device(),
            offload_device=comfy.model_management.vae_offload_device(),
        )
        return cls(network, patcher, name)


class HostDistance:
    """The core's PerceptualDistance on the host's device, differentiable, in float32."""

    def __init__(self, model: PerceptualModel) -> None:
        self.model, self.constant = model, model.network.constant

    def features(self, image: Tensor) -> Features:
        """Image [N, 3, H, W] in [0, 1] -> features on the network's device."""
        network = self.model.network
        return differentiable_call(network, network.features, image.to(self.model.patcher.load_device))

    def distance(self, features: Features, anchor: Features) -> Tensor:
        """Distance of each row to its anchor: [N]."""
        return differentiable_call(self.model.network, self.model.network.distance, features, anchor)
