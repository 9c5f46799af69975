"""Continuing a canvas around its edges, for decoders that know nothing of wrapping."""

import torch
from torch import Tensor


def wrap_pad(canvas: Tensor, pad_y: int, pad_x: int) -> Tensor:
    """Continue a periodic canvas [..., H, W] by pad_y rows and pad_x columns on each side.

    Any amount: the canvas repeats.
    """
    rows = torch.arange(-pad_y, canvas.shape[-2] + pad_y, device=canvas.device) % canvas.shape[-2]
    columns = torch.arange(-pad_x, canvas.shape[-1] + pad_x, device=canvas.device) % canvas.shape[-1]
    return canvas[..., rows[:, None], columns]


def crop(image: Tensor, pad_y: int, pad_x: int) -> Tensor:
    """Undo ``wrap_pad`` on a decoded image [N, H, W, 3], paddings in pixels."""
    return image[:, pad_y : image.shape[1] - pad_y, pad_x : image.shape[2] - pad_x]
