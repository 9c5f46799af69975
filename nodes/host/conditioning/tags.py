"""How a batch of windows is known on its way through the host, and what it is shown of a canvas."""

import comfy.utils
from torch import Tensor

from ....syncdiffusion_core.canvases.windows import Windows
from ....syncdiffusion_core.denoiser import Rows

KEY = "syncdiffusion"
"""Of our wrappers, and of the entry in ``transformer_options`` that says which windows a batch holds."""
WINDOWS = "syncdiffusion_windows"
"""Of the entry that holds the windows themselves: all of a run, among which the rows name theirs."""
MAPS = "syncdiffusion_maps"
"""Of the entry that holds what merged attention keeps from call to call of a run."""
ALONE = "syncdiffusion_alone"
"""Of the entry that says that a call is guidance's own: each window counts by itself, whatever else is in the batch."""


def tagged(model_options: dict, rows: Rows) -> dict:
    """A shallow copy of the options that says which windows the batch holds."""
    return {**model_options, "transformer_options": {**model_options.get("transformer_options", {}), KEY: rows}}


def cut(windows: Windows, canvas: Tensor, rows: Rows, scale: int = 1) -> Tensor:
    """[B, …, H, W], B samples or 1 -> [R, …, h, w]; scale: pixels of this canvas along a cell of the windows'."""
    views = windows.subset(rows.distinct_views)
    views = views if scale == 1 else views.scaled(scale)
    return views.project(comfy.utils.repeat_to_batch_size(canvas, rows.n_samples))


def image_scale(value: object, windows: Windows) -> int:
    """Cells of an image of the canvas along a latent cell, 0 for what is no such image."""
    height, width = windows.canvas
    if not isinstance(value, Tensor) or value.ndim < 4 or value.shape[-2] % height:
        return 0
    scale = value.shape[-2] // height
    return scale if value.shape[-1] == scale * width else 0
