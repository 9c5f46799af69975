"""What the host is shown of a long canvas after each step."""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

LONGEST = 512
"""Latent cells along the longer side of a preview: the host shrinks its picture to as many pixels anyway."""


class Previews:
    """The callback of a sampler, shown shrunken canvases: the host decodes what it is shown, at every step.

    Hosts also keep the last clean canvas that they are shown, as a result of its own: ``finish`` shows it in full.
    """

    def __init__(self, callback: Callable[[dict], None] | None) -> None:
        self._callback = callback
        self._last: dict | None = None

    def __call__(self, told: dict) -> None:
        """told: what samplers tell, "denoised" [N, C, …, H, W] among it."""
        if self._callback is None:
            return
        small = shrunken(told["denoised"])
        self._last = None if small is told["denoised"] else told
        self._callback({**told, "denoised": small})

    def finish(self) -> None:
        """After the last step."""
        if self._callback is not None and self._last is not None:
            self._callback(self._last)
        self._last = None


def shrunken(canvas: Tensor) -> Tensor:
    """A canvas [N, C, …, H, W] of at most LONGEST cells a side, by the mean of areas; itself where it is no longer."""
    factor = -(-max(canvas.shape[-2:]) // LONGEST)
    if factor == 1:
        return canvas
    # Not interpolate(mode="area"): Apple's GPUs have no adaptive pooling to sizes that do not divide.
    small = F.avg_pool2d(canvas.flatten(0, -3), factor, ceil_mode=True)  # [N*C*…, h, w]
    return small.unflatten(0, canvas.shape[:-2])
