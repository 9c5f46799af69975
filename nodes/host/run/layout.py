"""A user's windows on the canvas of one model."""

import math
from collections.abc import Sequence

from ....syncdiffusion_core.canvases.remarks import refuse_open_wrap, remarks
from ....syncdiffusion_core.canvases.window_layout import WindowLayout
from ....syncdiffusion_core.canvases.windows import Windows
from ....syncdiffusion_core.views.schedule import CellGrid, Resolved, ViewSpec
from ..conditioning.positions import make_places, refuse_positions
from ..conditioning.slicing import Slicer

PATCH_NAMES = ("patch_size", "patch_spatial", "patch")
"""Under which the host's networks know the size of a patch: most, Cosmos and Anima, Krea 2."""

OWN_SIZES = {
    "SD15": 512,
    **dict.fromkeys(("SDXL", "SDXLRefiner", "SSD1B", "Segmind_Vega", "KOALA_700M", "KOALA_1B"), 1024),
    **dict.fromkeys(("SD3", "AuraFlow", "HunyuanDiT", "HunyuanDiT1", "Lumina2", "ZImage", "HiDream", "Omnigen2"), 1024),
    **dict.fromkeys(("Flux", "FluxInpaint", "FluxSchnell", "Flux2", "Chroma", "QwenImage"), 1024),
}
"""Sides in pixels of the square pictures that models were made for, by the class of the host's that describes them."""
SD20_SIZES = {"EPS": 512, "V_PREDICTION": 768}
"""Those of Stable Diffusion 2.x, by what the network predicts."""
FAR = 1.5
"""Factor on the side from which a model shows that windows are not its size: things twice, or only parts of them."""


def resolve_windows(layout: WindowLayout, inner_model: object, size: Sequence[int]) -> Resolved:
    """The layout over a canvas of this model's latents of a size (…, height, width)."""
    refuse_positions(layout, inner_model)
    return layout.resolve((size[-2], size[-1]), cells_of(inner_model))


def check_windows(spec: ViewSpec) -> None:
    """Raise ValueError for views that are no windows of a canvas of latents."""
    if not isinstance(spec, WindowLayout):
        raise ValueError("windows: these are no windows of a panorama; connect a Window Tiler, or use View Sampler")


def check_views(spec: ViewSpec) -> None:
    """Raise ValueError for windows, which have no canvas of their own."""
    if isinstance(spec, WindowLayout):
        raise ValueError(
            "views: windows have no canvas of their own; connect them to SyncDiffusion Panorama Sampler or Apply "
            "Windows, or connect Image Views here"
        )


def tiled_windows(layout: WindowLayout, inner_model: object, size: Sequence[int]) -> Windows:
    """The windows by which the user counts, whatever the grid that moves them: of a canvas (…, height, width)."""
    return layout.tiled((size[-2], size[-1]), cells_of(inner_model))


def cells_of(inner_model: object) -> CellGrid:
    """What a model's latents are made of."""
    return CellGrid(int(inner_model.latent_format.spacial_downscale_ratio), patch_size(inner_model))


def layout_remarks(layout: WindowLayout, windows: Windows, inner_model: object) -> list[str]:
    """Sentences for a run's node about windows that do less than they seem to; empty for most.

    Raises ValueError where an axis is to wrap and no window goes over its edge. windows: all of the run.
    """
    given = layout, windows, cells_of(inner_model)
    refuse_open_wrap(*given)
    return [*remarks(*given), *filter(None, [size_remark(layout, inner_model)])]


def size_remark(layout: WindowLayout, inner_model: object) -> str | None:
    """A sentence where windows are far from the pictures that the model was made for, by their area; else None."""
    own, width, height = own_size(inner_model), layout.window_width_px, layout.window_height_px
    if own is None or 1 / FAR < math.sqrt(width * height) / own < FAR:
        return None
    return (
        f"windows of {width} x {height} px, and this model was made for pictures of about {own} x {own} px: what it "
        f"paints in others is often wrong; set window_width and window_height of the Window Tiler to about {own} px"
    )


def own_size(inner_model: object) -> int | None:
    """Side in pixels of the square pictures that a model was made for; None where it is not known.

    A latent format may tell it as ``native_px``, as the demo model's does.
    """
    told = getattr(inner_model.latent_format, "native_px", None)
    if told is not None:
        return int(told)
    name = type(inner_model.model_config).__name__
    if name == "SD20":
        return SD20_SIZES.get(inner_model.model_type.name)
    return OWN_SIZES.get(name)


def make_slicer(layout: WindowLayout, windows: Windows, inner_model: object, seed: int | None) -> Slicer:
    """What cuts a run's conditioning to these windows."""
    patch = patch_size(inner_model)
    return Slicer(windows, seed, make_places(layout, windows, inner_model, patch), patch)


def patch_size(inner_model: object) -> int:
    """Latent cells along the side of one of the model's patches, 1 for models without."""
    network = inner_model.diffusion_model
    patch = next((getattr(network, name) for name in PATCH_NAMES if hasattr(network, name)), 1)
    return int(patch[-1] if isinstance(patch, tuple | list) else patch)
