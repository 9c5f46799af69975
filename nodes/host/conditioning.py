"""What windows need to be told of their size, and the host's windows, which exclude ours."""

from collections.abc import Iterable

import comfy.conds


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


def set_window_size(conds: dict[str, list[dict]], width_px: int, height_px: int) -> None:
    """The same for a guider's conds of one run, before the host processes them."""
    for entry in entries_of(conds):
        entry.setdefault("width", width_px)
        entry.setdefault("height", height_px)


def encode_window_size(
    inner_model: object, conds: dict[str, list[dict]], width_px: int, height_px: int, seed: int | None
) -> None:
    """The same after the host processed them: ``y`` is encoded again with the window's size and the run's seed.

    The entries of one run are changed, never the user's CONDITIONING.
    """
    for role, entries in conds.items():
        for entry in entries or ():
            if "y" not in entry.get("model_conds", {}) or "width" in entry:
                continue
            device = entry["model_conds"]["y"].cond.device
            size = {"width": width_px, "height": height_px, "device": device, "prompt_type": role, "seed": seed}
            adm = inner_model.encode_adm(**{**entry, **size})
            entry["model_conds"] = {**entry["model_conds"], "y": comfy.conds.CONDRegular(adm)}


def entries_of(conds: dict[str, list[dict]]) -> Iterable[dict]:
    """All conditions of a guider, whatever their role."""
    return (entry for entries in conds.values() for entry in entries or ())
