"""Another world for the demo model: a low-rank change of its UNet, and a text encoder of more words, in one file.

The model of landscapes stays as it is (LoRA, Hu et al. 2022, on linear layers and convolutions; small weights whole).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from .text_encoder import TEXT_CONFIG, TextEncoder
from .tokenizer import SPECIAL
from .unet import UNet

if TYPE_CHECKING:
    from syncdiffusion_core.weights import WeightsFile

RANK = 48
UNET, TEXT, UP, DOWN = "unet.", "text.", ".up", ".down"

State = dict[str, Tensor]


@dataclass(frozen=True)
class World:
    """What the demo model may be turned into. vocabulary: the landscapes' and more. what: its name in errors."""

    file: Path
    vocabulary: Sequence[str]
    what: str

    @cached_property
    def text_config(self) -> dict:
        return {**TEXT_CONFIG, "vocabulary_size": len(self.vocabulary) + len(SPECIAL)}

    def changed(self, unet: State, file: WeightsFile) -> tuple[State, State]:
        """(UNet, text encoder) of this world's model, from the UNet of landscapes: float32.

        Raises ValueError naming the file where it is damaged or not of this version.
        """
        file.check_shapes(self._shapes(), self.what)
        tensors = file.tensors()
        state = {name: _changed(name, weight, tensors) for name, weight in unet.items()}
        return state, {name.removeprefix(TEXT): value for name, value in tensors.items() if name.startswith(TEXT)}

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        """Of all tensors of the file, by name."""
        with torch.device("meta"):
            unet, text = UNet(), TextEncoder(self.text_config)
        shapes = {TEXT + name: tuple(weight.shape) for name, weight in text.state_dict().items()}
        for name, weight in unet.named_parameters():
            if is_low_rank(weight):
                rows, columns = weight.shape[0], weight.shape[1:].numel()
                shapes |= {UNET + name + UP: (rows, RANK), UNET + name + DOWN: (RANK, columns)}
            else:
                shapes[UNET + name] = tuple(weight.shape)
        return shapes

    def started(self, unet: nn.Module, text: nn.Module) -> nn.ModuleDict:
        """The networks to train, from those of landscapes: large weights frozen beside what changes them, else free.

        They are the given ones, changed in place.
        """
        unet.requires_grad_(True)
        for module in list(unet.modules()):
            weight = getattr(module, "weight", None)
            if weight is not None and is_low_rank(weight):
                weight.requires_grad_(False)
                parametrize.register_parametrization(module, "weight", LowRank(weight))
        more = TextEncoder(self.text_config)
        words, known = more.state_dict()["token_embedding.weight"], text.state_dict()
        rows = known["token_embedding.weight"]
        words.normal_(0, float(rows.std()))[: len(rows)] = rows
        more.load_state_dict({**known, "token_embedding.weight": words})
        return nn.ModuleDict({"unet": unet, "text": more.requires_grad_(True)})


def is_low_rank(weight: Tensor | torch.Size) -> bool:
    """Whether the change of a weight of this shape is smaller as two factors."""
    shape = weight.shape if isinstance(weight, Tensor) else weight
    if len(shape) < 2:
        return False
    rows, columns = shape[0], shape[1:].numel()
    return RANK * (rows + columns) < rows * columns


def tensors_of(model: nn.ModuleDict) -> State:
    """What the file holds of trained networks, fp16."""
    renamed = {".parametrizations.weight.0.up": ".weight" + UP, ".parametrizations.weight.0.down": ".weight" + DOWN}
    tensors = {TEXT + name: value for name, value in model["text"].state_dict().items()}
    for name, value in model["unet"].state_dict().items():
        if name.endswith(".parametrizations.weight.original"):
            continue
        for old, new in renamed.items():
            name = name.replace(old, new)
        tensors[UNET + name] = value
    return {name: value.half().cpu().contiguous() for name, value in tensors.items()}


def _changed(name: str, weight: Tensor, tensors: State) -> Tensor:
    """One weight: another, or the old one and a product."""
    if not is_low_rank(weight):
        return tensors[UNET + name]
    return weight + (tensors[UNET + name + UP] @ tensors[UNET + name + DOWN]).view_as(weight)


class LowRank(nn.Module):
    """A frozen weight and a product that changes it, as a parametrization; nothing changes at first."""

    def __init__(self, weight: Tensor):
        super().__init__()
        rows, columns = weight.shape[0], weight.shape[1:].numel()
        self.up = nn.Parameter(torch.zeros(rows, RANK))
        self.down = nn.Parameter(torch.randn(RANK, columns) / columns**0.5)

    def forward(self, weight: Tensor) -> Tensor:
        return weight + (self.up @ self.down).view_as(weight)
