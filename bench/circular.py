"""The demo model with circular padding along the width: what people patch into models for pictures that wrap."""

from __future__ import annotations

from copy import deepcopy

import torch.nn.functional as F
from torch import Tensor, nn

from demo.pipeline import DemoModel


def around(model: DemoModel) -> DemoModel:
    """The model with convolutions that wrap along the width, of a copy of its networks."""
    return DemoModel(_circular(model.unet), _circular(model.vae), model.text, model.tokenizer)


def _circular(network: nn.Module) -> nn.Module:
    network = deepcopy(network)
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d) and layer.padding[1]:
            layer.register_forward_pre_hook(_Wrap(layer.padding[1]))
            layer.padding = (layer.padding[0], 0)
    return network


class _Wrap:
    """Continues what comes into a layer around its sides."""

    def __init__(self, columns: int) -> None:
        self.columns = columns

    def __call__(self, layer: nn.Module, args: tuple[Tensor]) -> tuple[Tensor]:
        return (F.pad(args[0], (self.columns, self.columns, 0, 0), mode="circular"),)
