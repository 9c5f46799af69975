"""Where a window stands on the canvas, told to models whose rotary positions can be moved.

By the host's ``transformer_options["rope_options"]``: one for a whole model call, so that windows with their true
positions are evaluated one position at a time.
"""

from ....syncdiffusion_core.canvases.window_layout import Positions, WindowLayout
from ....syncdiffusion_core.canvases.windows import Windows

IN_PATCHES = ("Flux", "NextDiT", "WanModel")
"""Networks of the host that count positions in patches: Flux and Flux.2, Lumina 2 and Z-Image, Wan.

Where a text shares the attention with the patches, their place matters; in Wan only their distances do.
"""
IN_SPANS = {"PixDiT_T2I": 16.0}
"""Networks that spread a span of positions over whatever they are shown, from its first patch to its last."""
SHIFTED_ALREADY = ("LongCatImage",)
"""Models that move the positions themselves, and no longer do when asked to."""


def refuse_positions(layout: WindowLayout, inner_model: object) -> None:
    """Raise ValueError when windows should have their true positions in a model that cannot be told them."""
    if layout.positions is Positions.CANVAS and _unit(inner_model, 2) is None:
        raise ValueError(
            f"positions: {type(inner_model).__name__} cannot be told where a window stands, as Flux, Flux.2, Lumina 2, "
            f"Z-Image, Wan and PixelDiT can; choose '{Positions.WINDOW.value}' in the Window Tiler"
        )


class Places:
    """The ``rope_options`` of each window."""

    def __init__(self, windows: Windows, inner_model: object, patch: int) -> None:
        self._windows, self._inner_model, self._patch = windows, inner_model, patch

    def rope_options(self, view: int, given: dict | None) -> dict:
        """Those that the user's nodes have set (or None), moved to the window's place; a scale counts there too."""
        options = dict(given or {})
        for axis, start, length in zip("yx", self._windows.origins[view], self._windows.view, strict=True):
            step = options.get(f"scale_{axis}", 1.0) * _unit(self._inner_model, length // self._patch)
            options[f"shift_{axis}"] = options.get(f"shift_{axis}", 0.0) + step * start / self._patch
        return options


def make_places(layout: WindowLayout, windows: Windows, inner_model: object, patch: int) -> Places | None:
    """None where every window counts from its own corner."""
    return Places(windows, inner_model, patch) if layout.positions is Positions.CANVAS else None


def _unit(inner_model: object, patches: int) -> float | None:
    """Positions from one patch to the next in a window of so many along an axis; None where they cannot be moved."""
    network = type(inner_model.diffusion_model).__name__
    if type(inner_model).__name__ in SHIFTED_ALREADY:
        return None
    if network in IN_SPANS:
        return IN_SPANS[network] / max(patches - 1, 1)
    return 1.0 if network in IN_PATCHES else None
