"""Model patches that hold a picture of the whole canvas: every window would be shown all of it, squeezed.

ControlNets that are model patches (Qwen-Image, Z-Image, Anima, SUPIR, Uni3C) keep their image, adapters and
attention couples their masks. They are the patches' own: they cannot be cut as conditioning is.
"""

from collections.abc import Iterable, Iterator
from types import CellType

from torch import Tensor

PICTURES = ("image", "inpaint_image", "render_video", "hint_latent", "mask", "masks", "attn_mask")
"""How the host's patches, and those of the packs around it, call a picture or a mask of the canvas."""
DEPTH = 3


def refuse_pictures(model_options: dict, conds: list[list[dict] | None]) -> None:
    """Raise ValueError for a patch that holds a picture, on the model or in the hooks of a condition."""
    given = [model_options.get("transformer_options", {})]
    for entry in (entry for entries in conds for entry in entries or ()):
        hooks = getattr(entry.get("hooks"), "hooks", ())
        given += [hook.transformers_dict for hook in hooks if hasattr(hook, "transformers_dict")]
    for patch in (patch for options in given for patch in _patches(options or {})):
        for name in _pictures(patch):
            raise ValueError(
                f"model: the patch {_title(patch)} holds a picture of the canvas ('{name}') that cannot be cut into "
                "windows; remove it, or use a ControlNet or masked conditioning, which are cut"
            )


def _patches(transformer_options: dict) -> Iterator[object]:
    for kind in ("patches", "patches_replace"):
        for group in transformer_options.get(kind, {}).values():
            yield from group.values() if isinstance(group, dict) else group


def _pictures(thing: object, name: str = "", depth: int = DEPTH) -> Iterator[str]:
    """Names of the pictures that a patch holds: in its attributes or closure, and in what those list."""
    if isinstance(thing, Tensor):
        if name in PICTURES and thing.ndim >= 2 and min(thing.shape[-2:]) > 1:
            yield name
    elif depth:
        for inner, value in _parts(thing, name):
            yield from _pictures(value, inner, depth - 1)


def _parts(thing: object, name: str) -> Iterable[tuple[str, object]]:
    if isinstance(thing, dict):
        return [(str(key), value) for key, value in thing.items()]
    if isinstance(thing, list | tuple):
        return [(name, value) for value in thing]
    owner = getattr(thing, "__self__", None)
    if owner is not None:
        return [(name, owner)]
    code, cells = getattr(thing, "__code__", None), getattr(thing, "__closure__", None)
    if code is not None:
        free = zip(code.co_freevars, cells or (), strict=True)
        return [(variable, cell.cell_contents) for variable, cell in free if cell != CellType()]
    return list(getattr(thing, "__dict__", {}).items())


def _title(patch: object) -> str:
    return getattr(patch, "__qualname__", type(patch).__qualname__).split(".<locals>")[0]
