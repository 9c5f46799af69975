"""Patches of the model by other nodes and packs, as far as windows concern them.

They are functions of any make, and cannot be cut as conditioning is. One that holds a picture of the whole canvas
would show every window all of it, squeezed: ControlNets that are model patches (Qwen-Image, Z-Image, Anima, SUPIR,
Uni3C) keep their image, adapters and attention couples their masks. One that holds a tensor for each sample of a batch
(IPAdapter Batch) takes the first rows of a call for the first samples, which is so where a call holds one window. It
may hold it in any way, so that of several samples each patch of another pack is taken for one.
"""

import re
from collections.abc import Iterator
from functools import partial

from torch import Tensor

from ....syncdiffusion_core.canvases.windows import Windows
from ..progress import say
from .attention_merging import NODE, merging_of
from .reach import reachable, title

PICTURES = ("image", "inpaint_image", "render_video", "hint_latent", "mask", "masks", "attn_mask")
"""How the host's patches, and those of the packs around it, call a picture or a mask of the canvas."""
CELLS_PX = (1, 8, 16, 32)
"""Pixels along a latent cell of the host's models, and the cell itself: scales of a picture of the canvas."""
FUNCTIONS = (
    "model_function_wrapper",
    "sampler_cfg_function",
    "sampler_calc_cond_batch_function",
    "sampler_pre_cfg_function",
    "sampler_post_cfg_function",
)
"""Entries of the model options that hold functions of nodes, one or a list."""

Conds = list[list[dict] | None]


def refuse_pictures(model_options: dict, conds: Conds, windows: Windows) -> None:
    """Raise ValueError for a patch that holds a picture of the canvas, on the model or in the hooks of a condition."""
    for patch in patches_of(model_options, conds):
        for name, value in reachable(patch):
            if _is_picture(name, value, windows):
                raise ValueError(
                    f"model: the patch {title(patch)} holds a picture of the canvas ('{name or 'a tensor'}') that "
                    "cannot be cut into windows; remove it, or use a ControlNet or masked conditioning, which are cut"
                )


def windows_per_batch(
    asked: int, windows: Windows, patcher: object, model_options: dict, conds: Conds, n_samples: int
) -> int:
    """Windows in a call by the user's wish, 0 for what fits; one, and said, where a patch may know samples by rows.

    Raises ValueError where a patch does, and all windows have to be in one call.
    """
    patches = [patch for patch in patches_of(model_options, conds) if not _of_host(patch)] if len(windows) > 1 else []
    merged = merging_of(model_options.get("transformer_options", {})) is not None
    if (patch := _by_sample(patches, n_samples)) is not None:
        if merged:
            raise ValueError(
                f"model: the patch {patch} holds a tensor for each sample and needs one window a call, and {NODE} "
                "needs all windows in one; remove one of the two"
            )
        say(f"one window a call: the patch {patch} holds a tensor for each sample, and knows them by their rows in it")
        return 1
    if n_samples == 1 or merged or len(windows) == 1:
        return asked
    if (patch := _foreign(patches, patcher, conds)) is not None:
        say(f"one window a call: {patch}, of another pack, may know the samples of the batch by their rows in it")
        return 1
    return asked


def _by_sample(patches: list, n_samples: int) -> str | None:
    """The name of a patch that holds a tensor for each sample, None where none is seen to.

    The host's own are not asked: what tensors they hold are of their last call.
    """
    held = (p for p in patches if any(_is_by_sample(value, n_samples) for _, value in reachable(p)))
    return next(map(title, held), None)


def _foreign(patches: list, patcher: object, conds: Conds) -> str | None:
    """The name of anything of another pack that takes part in a call, None where all is the host's."""
    controls = (part for entries in conds for entry in entries or () for part in _chain(entry.get("control")))
    others = (thing for thing in (*patcher.object_patches.values(), *controls) if not _of_host(thing))
    return next(map(title, (*patches, *others)), None)


def patches_of(model_options: dict, conds: Conds) -> Iterator[object]:
    """The patches that other nodes have put on a model, or into the hooks of a condition."""
    options = model_options.get("transformer_options", {})
    hooks = (getattr(entry.get("hooks"), "hooks", ()) for entries in conds for entry in entries or ())
    hooked = [hook.transformers_dict or {} for group in hooks for hook in group if hasattr(hook, "transformers_dict")]
    given = [_listed(model_options.get(name)) for name in FUNCTIONS]
    given.append(_listed(options.get("optimized_attention_override")))
    for holder in (options, *hooked):
        given += [_listed(group) for kind in ("patches", "patches_replace") for group in holder.get(kind, {}).values()]
    given += [_listed(group) for by_key in options.get("wrappers", {}).values() for group in by_key.values()]
    own = __name__.rsplit(".", 3)[0]  # the pack, under whatever name the host has loaded it
    for patch in (patch for group in given for patch in group):
        if not str(getattr(patch, "__module__", "")).startswith(own):
            yield patch


def _of_host(patch: object) -> bool:
    """Whether a patch is the host's own, or a compiled module; its nodes are modules named by their path."""
    name = str(getattr(patch.func if isinstance(patch, partial) else patch, "__module__", ""))
    folders = re.split(r"[./\\]", name)
    return folders[0] in ("comfy", "torch") or ("comfy_extras" in folders and "custom_nodes" not in folders)


def _chain(control: object) -> Iterator[object]:
    """A ControlNet and those before it."""
    while control is not None:
        yield control
        control = getattr(control, "previous_controlnet", None)


def _listed(group: object) -> list:
    if isinstance(group, dict):
        return list(group.values())
    return list(group) if isinstance(group, list | tuple) else [] if group is None else [group]


def _is_picture(name: str, value: object, windows: Windows) -> bool:
    if not isinstance(value, Tensor) or value.ndim < 2 or min(value.shape[-2:]) == 1:
        return False
    sizes = [tuple(cell * side for side in windows.canvas) for cell in CELLS_PX]
    return name in PICTURES or (value.ndim > 2 and tuple(value.shape[-2:]) in sizes)


def _is_by_sample(value: object, n_samples: int) -> bool:
    """A tensor with a row, or a collection with a tensor, for each of several samples or pictures."""
    if isinstance(value, Tensor):
        several = n_samples if value.ndim == 1 else 2  # a longer list of numbers is a table
        return value.ndim > 0 and len(value) > 1 and (len(value) == several or value.ndim > 1)
    if isinstance(value, dict | list | tuple):
        held = list(value.values()) if isinstance(value, dict) else list(value)
        return n_samples > 1 and len(held) == n_samples and all(isinstance(each, Tensor) for each in held)
    return False
