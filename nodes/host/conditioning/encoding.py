"""What windows need to be told of their size, and the host's windows, which exclude ours."""

from collections.abc import Iterable, Iterator

import comfy.conds
import comfy.samplers
import torch
from torch import Tensor

from ....syncdiffusion_core.canvases.window_layout import WindowLayout
from ....syncdiffusion_core.canvases.windows import Windows
from .attention import ATTENTION
from .tags import image_scale


def refuse_context_windows(model_options: dict) -> None:
    """Raise ValueError when the host's own context windows would cut the canvas a second time."""
    if model_options.get("context_handler") is not None:
        raise ValueError(
            "model: the host's context windows are set on this model and would cut our windows again; "
            "remove the Context Windows node, or use it instead of this pack's windows"
        )


def with_window_size(conditioning: list, width_px: int, height_px: int) -> list:
    """CONDITIONING whose size conditioning (SDXL's ``y``) is the window's, unless the user gave sizes."""
    return [[tensor, {"width": width_px, "height": height_px, **options}] for tensor, options in conditioning]


def encode_for_windows(
    inner_model: object,
    conds: dict[str, list[dict]],
    layout: WindowLayout,
    windows: Windows,
    canvas: Tensor,
    seed: int | None,
) -> None:
    """Encode again what the host encoded for the canvas and the model wants for what it is shown, a window.

    Such are SDXL's sizes, and the positions of HiDream-O1's tokens. Images and attention masks are left alone: they are
    cut. canvas: of the run, [N, C, …, H, W]. The entries of one run are changed, never the user's CONDITIONING.
    """
    window = canvas.new_zeros(*canvas.shape[:-2], *windows.view)
    for role, entries in conds.items():
        # For areas the host appends entries with another one's inputs: what is first seen of an input is its own entry.
        of_window: dict[int, comfy.conds.CONDRegular] = {}
        for entry in entries or ():
            of_canvas = entry["model_conds"]
            if not all(id(cond) in of_window for cond in of_canvas.values()):
                encoded = _encoded(inner_model, entry, role, layout, window, seed)
                for name, cond in of_canvas.items():
                    is_cut = name == ATTENTION or _is_image(cond, windows)
                    of_window[id(cond)] = cond if is_cut else _fitting(cond, encoded.get(name, cond))
            entry["model_conds"] = {name: of_window[id(cond)] for name, cond in of_canvas.items()}
            _refuse_area(entry, of_canvas)


def _encoded(
    inner_model: object, entry: dict, role: str, layout: WindowLayout, window: Tensor, seed: int | None
) -> dict[str, comfy.conds.CONDRegular]:
    """The model's inputs of this condition for a canvas of one window's size."""
    size = {"width": layout.window_width_px, "height": layout.window_height_px}
    whole = {name: value for name, value in entry.items() if name != "area"}
    known = {"latent_image": window, "denoise_mask": torch.ones_like(window), "seed": seed}
    given = [{**size, **whole}]
    made = comfy.samplers.encode_model_conds(inner_model.extra_conds, given, window, window.device, role, **known)
    return made[0]["model_conds"]


def _is_image(cond: comfy.conds.CONDRegular, windows: Windows) -> bool:
    """Whether the slicer cuts this input, or refuses to; pictures in lists are as large as they are."""
    listed = isinstance(cond, comfy.conds.CONDNoiseShape | comfy.conds.CONDList)
    return listed or image_scale(cond.cond, windows) > 0


def _fitting(of_canvas: comfy.conds.CONDRegular, of_window: comfy.conds.CONDRegular) -> comfy.conds.CONDRegular:
    """The window's, where the input depends on the size."""
    return of_canvas if comfy.conds.is_equal(of_canvas.cond, of_window.cond) else of_window


def _refuse_area(entry: dict, of_canvas: dict) -> None:
    resized = [name for name, cond in entry["model_conds"].items() if cond.size() != of_canvas[name].size()]
    if entry.get("area") is not None and resized:
        raise ValueError(
            f"conditioning: an area cannot be used with windows and this model, whose input '{resized[0]}' is made "
            "for one size of picture; use Conditioning (Set Mask) instead"
        )


def models_and_conds(guider: object) -> Iterator[tuple[object, dict[str, list[dict]]]]:
    """The models of a guider in a run, each with the conditions it is given.

    The host's Dual Model CFG Guider has a model of its own for the negative ones.
    """
    second = getattr(guider, "uncond_inner", None)
    if second is None:
        yield guider.inner_model, guider.conds
        return
    yield guider.inner_model, {"positive": guider.conds["positive"]}
    yield second, {"negative": guider._uncond_conds}


def entries_of(conds: dict[str, list[dict]]) -> Iterable[dict]:
    """All conditions of a guider, whatever their role."""
    return (entry for entries in conds.values() for entry in entries or ())
