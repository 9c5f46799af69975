"""A user's windows on the canvas of one model."""

from torch import Tensor

from ...syncdiffusion_core.views.grids import MovingWindows, resolve_grid
from ...syncdiffusion_core.views.windows import WindowLayout, Windows
from .positions import make_places, refuse_positions
from .slicing import Slicer

Views = Windows | MovingWindows
"""The windows of a run: the same at every step, or others."""

PATCH_NAMES = ("patch_size", "patch_spatial", "patch")
"""Under which the host's networks know the size of a patch: most, Cosmos and Anima, Krea 2."""


def resolve_windows(layout: WindowLayout, inner_model: object, x: Tensor) -> Views:
    """The layout over a canvas [N, C, …, H, W] of this model's latents."""
    refuse_positions(layout, inner_model)
    cell_px = int(inner_model.latent_format.spacial_downscale_ratio)
    return resolve_grid(layout, (x.shape[-2], x.shape[-1]), cell_px, patch_size(inner_model))


def make_slicer(layout: WindowLayout, windows: Windows, inner_model: object, seed: int | None) -> Slicer:
    """What cuts a run's conditioning to these windows."""
    return Slicer(windows, seed, make_places(layout, windows, inner_model, patch_size(inner_model)))


def patch_size(inner_model: object) -> int:
    """Latent cells along the side of one of the model's patches, 1 for models without."""
    network = inner_model.diffusion_model
    patch = next((getattr(network, name) for name in PATCH_NAMES if hasattr(network, name)), 1)
    return int(patch[-1] if isinstance(patch, tuple | list) else patch)
