"""The arithmetic of the guided pass's decoder: lower precision by autocast, so that no weight is copied or changed."""

from contextlib import AbstractContextManager, nullcontext
from enum import Enum

import torch


class Precision(str, Enum):
    """What the decoder computes in while guidance looks; the perceptual network stays in float32."""

    AS_LOADED = "as loaded"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"

    def dtype(self, loaded: torch.dtype) -> torch.dtype:
        """The type of the convolutions of a network whose weights are of type ``loaded``."""
        return {Precision.BFLOAT16: torch.bfloat16, Precision.FLOAT16: torch.float16}.get(self, loaded)


def check_precision(precision: Precision, device: torch.device) -> None:
    """Raise ValueError where the precision would cost time instead of saving it."""
    if precision is Precision.FLOAT16 and device.type == "cpu":
        raise ValueError(
            f"precision: '{precision.value}' needs a GPU, and the decoder runs on the CPU, where it is 15 times "
            f"slower; choose '{Precision.BFLOAT16.value}' or '{Precision.AS_LOADED.value}'"
        )


def computing_in(precision: Precision, device: torch.device) -> AbstractContextManager:
    """Convolutions and products in that precision, sums of norms in float32; nothing is changed when it ends."""
    if precision is Precision.AS_LOADED:
        return nullcontext()
    return torch.autocast(device.type, precision.dtype(torch.float32))
