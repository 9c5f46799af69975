"""The demo model that looks around: a low-rank change of the UNet, and a text encoder that knows up from down.

The model of landscapes stays as it is; this file turns its weights into those of one that has also seen the sky, the
ground and everything between (LoRA, Hu et al. 2022, on linear layers and convolutions).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from .captions import VOCABULARY_AROUND
from .export import WEIGHTS
from .text_encoder import TEXT_CONFIG, TextEncoder
from .tokenizer import SPECIAL
from .unet import UNet

if TYPE_CHECKING:
    from syncdiffusion_core.weights import WeightsFile

FILE = WEIGHTS / "around.safetensors"
RANK = 48
TEXT_CONFIG_AROUND = {**TEXT_CONFIG, "vocabulary_size": len(VOCABULARY_AROUND) + len(SPECIAL)}
UNET, TEXT, UP, DOWN = "unet.", "text.", ".up", ".down"

State = dict[str, Tensor]


def is_low_rank(weight: Tensor | torch.Size) -> bool:
    """Whether the change of a weight of this shape is smaller as two factors."""
    shape = weight.shape if isinstance(weight, Tensor) else weight
    if len(shape) < 2:
        return False
    rows, columns = shape[0], shape[1:].numel()
    return RANK * (rows + columns) < rows * columns


def changed(unet: State, file: WeightsFile) -> tuple[State, State]:
    """(UNet, text encoder) of the model that looks around, from the UNet of landscapes: float32.

    Raises ValueError naming the file where it is damaged or not of this version.
    """
    file.check_shapes(_shapes(), "the demo model that looks around")
    tensors = file.tensors()
    state = {name: _changed(name, weight, tensors) for name, weight in unet.items()}
    return state, {name.removeprefix(TEXT): value for name, value in tensors.items() if name.startswith(TEXT)}


def _changed(name: str, weight: Tensor, tensors: State) -> Tensor:
    """One weight: another, or the old one and a product."""
    if not is_low_rank(weight):
        return tensors[UNET + name]
    return weight + (tensors[UNET + name + UP] @ tensors[UNET + name + DOWN]).view_as(weight)


def _shapes() -> dict[str, tuple[int, ...]]:
    """Of all tensors of the file, by name."""
    with torch.device("meta"):
        unet, text = UNet(), TextEncoder(TEXT_CONFIG_AROUND)
    shapes = {TEXT + name: tuple(weight.shape) for name, weight in text.state_dict().items()}
    for name, weight in unet.named_parameters():
        if is_low_rank(weight):
            rows, columns = weight.shape[0], weight.shape[1:].numel()
            shapes |= {UNET + name + UP: (rows, RANK), UNET + name + DOWN: (RANK, columns)}
        else:
            shapes[UNET + name] = tuple(weight.shape)
    return shapes


class LowRank(nn.Module):
    """A frozen weight and a product that changes it, as a parametrization; nothing changes at first."""

    def __init__(self, weight: Tensor):
        super().__init__()
        rows, columns = weight.shape[0], weight.shape[1:].numel()
        self.up = nn.Parameter(torch.zeros(rows, RANK))
        self.down = nn.Parameter(torch.randn(RANK, columns) / columns**0.5)

    def forward(self, weight: Tensor) -> Tensor:
        return weight + (self.up @ self.down).view_as(weight)
