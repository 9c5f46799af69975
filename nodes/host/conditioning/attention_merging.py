"""Self-attention over the canvas (MAD) as patches of the host's UNets, whatever samples them through windows."""

from typing import NamedTuple

import comfy.ldm.modules.attention
from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel
from comfy.patcher_extension import WrappersMP
from torch import Tensor

from ....syncdiffusion_core.attention_merging import MergedTokens, covers
from ....syncdiffusion_core.canvases.windows import Windows
from ....syncdiffusion_core.denoiser import Rows
from .tags import ALONE, KEY, MAPS, WINDOWS

NODE = "Merge Window Attention"
CALL = "syncdiffusion_merging"
"""Of our wrapper, and of the entry in ``transformer_options`` that holds the _Call of a model call that merges."""

ON_WINDOWS = {
    "TomePatchModel.": ("Token Merging", "attn1_patch"),
    "SelfAttentionGuidance.": ("Self-Attention Guidance", "sampler_post_cfg_function"),
}
"""Patches of the host that count a window's own tokens: what made them, their name, where they hang."""


def merge_attention(model: object, end_percent: float) -> object:
    """A clone of the model whose self-attention runs over the canvas up to this share of the schedule.

    Raises ValueError for models without the attention that can be merged, and where the patch is there already.
    """
    _check_model(model)
    clone = model.clone()
    merging = AttentionMerging(end_percent)
    clone.set_model_attn1_patch(merging.enter)
    clone.set_model_attn1_output_patch(merging.leave)
    clone.add_wrapper_with_key(WrappersMP.APPLY_MODEL, CALL, merging.apply_model)
    return clone


class AttentionMerging:
    """Patches of one model. They hold a setting only: nothing of a run stays here.

    A call of the model merges where all its windows cover the canvas together. Calls of guidance's own are tagged as
    such and are of windows alone; a model that is shown no windows is left as it is. Other patches of the same
    attention see the canvas's tokens after this one, the windows' before it.
    """

    def __init__(self, end_percent: float) -> None:
        self._end_percent = end_percent

    def acts(self, model_sampling: object, sigma: Tensor, transformer_options: dict) -> bool:
        """Whether a call at this noise level [R] is to be merged."""
        if KEY not in transformer_options or transformer_options.get(ALONE, False):
            return False
        return float(sigma.flatten()[0]) > model_sampling.percent_to_sigma(self._end_percent)

    def apply_model(
        self, executor, x: Tensor, sigma: Tensor, c_concat, c_crossattn, control, transformer_options, **kwargs
    ):
        """Around the host's function of that name: x [K*R, C, h, w], the rows of K conditions."""
        if self.acts(executor.class_obj.model_sampling, sigma, transformer_options):
            transformer_options = {**transformer_options, CALL: _call(x, transformer_options)}
        return executor(x, sigma, c_concat, c_crossattn, control, transformer_options, **kwargs)

    def enter(self, hidden: Tensor, context: Tensor, value: Tensor, options: dict) -> tuple[Tensor, Tensor, Tensor]:
        """What queries, keys and values are made from, of the windows -> of the canvas."""
        tokens = _tokens(options)
        if tokens is None:
            return hidden, context, value
        merged = tokens.merge(hidden)
        others = (merged if other is hidden else _merged(tokens, other, hidden) for other in (context, value))
        return merged, *others

    def leave(self, attended: Tensor, options: dict) -> Tensor:
        """What the attention has made, of the canvas -> of the windows."""
        tokens = _tokens(options)
        return attended if tokens is None else tokens.split(attended)


class _Call(NamedTuple):
    """Calls of the model with the same windows: these, their samples, and the maps of the layers seen so far."""

    windows: Windows
    n_samples: int
    layers: dict[tuple[int, int], MergedTokens]


def merging_of(transformer_options: dict) -> AttentionMerging | None:
    """What merges attention among the patches of a model or a run, None where nothing does."""
    patches = transformer_options.get("patches", {}).get("attn1_patch", ())
    owners = (getattr(patch, "__self__", None) for patch in patches)
    return next((owner for owner in owners if isinstance(owner, AttentionMerging)), None)


def merges(model: object, sigma: Tensor, transformer_options: dict) -> bool:
    """Whether a call of the model with these options at this noise level [R] is to be merged."""
    merging = merging_of(transformer_options)
    return merging is not None and merging.acts(model.model_sampling, sigma, transformer_options)


def check_batch(count: int, asked: int) -> None:
    """Raise ValueError for batches of fewer windows than there are: asked of count, 0 for no wish."""
    if 0 < asked < count:
        raise ValueError(
            f"windows_per_batch: {NODE} needs all {count} windows in one model call, got {asked}; set it to 0, or "
            "remove that node"
        )


def refuse_parts() -> None:
    """Raise ValueError: conditioning splits the windows."""
    raise ValueError(
        f"model: {NODE} needs all windows in one model call, and conditioning with an area or a GLIGEN box is "
        "evaluated in parts of them; use masks (Window Prompts, Region Prompts, Conditioning Set Mask), or remove that "
        "node"
    )


def refuse_with_merging(model_options: dict) -> None:
    """Raise ValueError for patches that count the tokens of one window and would be shown the canvas's."""
    patches = model_options.get("transformer_options", {}).get("patches", {})
    given = {**patches, "sampler_post_cfg_function": model_options.get("sampler_post_cfg_function", ())}
    for made_by, (name, where) in ON_WINDOWS.items():
        if any(getattr(patch, "__qualname__", "").startswith(made_by) for patch in given.get(where, ())):
            raise ValueError(
                f"model: {name} counts the tokens of one window, and with {NODE} attention has the canvas's; remove "
                "one of the two"
            )


def refuse_views(model_options: dict) -> None:
    """Raise ValueError for merged attention under views that are no windows: their tokens have no place in common."""
    if merging_of(model_options.get("transformer_options", {})) is not None:
        raise ValueError(
            f"model: {NODE} merges the windows of a panorama, and these views are of another canvas; remove that node"
        )


def _check_model(model: object) -> None:
    if merging_of(model.model_options.get("transformer_options", {})) is not None:
        raise ValueError(f"model: {NODE} is on this model already; remove one of the two nodes")
    network = model.model.diffusion_model
    blocks = [m for m in network.modules() if isinstance(m, comfy.ldm.modules.attention.BasicTransformerBlock)]
    video = any(isinstance(m, comfy.ldm.modules.attention.SpatialVideoTransformer) for m in network.modules())
    looks_at_itself = blocks and not any(block.disable_self_attn for block in blocks)
    if not isinstance(network, UNetModel) or video or not looks_at_itself:
        raise ValueError(
            f"model: {type(model.model).__name__} has no UNet of pictures with self-attention in its blocks, which is "
            f"what {NODE} merges; it is for Stable Diffusion 1.x, 2.x, SDXL and their kin. Use Perceptual Sync "
            "Guidance with this model"
        )


def _call(x: Tensor, options: dict) -> _Call | None:
    """What a call holds; None for one window over the canvas, whose attention is the canvas's already.

    Raises ValueError where windows are missing: the picture would depend on the batch size.
    """
    rows: Rows = options[KEY]
    if WINDOWS not in options:
        return None  # the samplers cut no conditioning for one window over the canvas
    run: Windows = options[WINDOWS]
    key, kept = (rows, x.shape), options[MAPS]
    if key not in kept:  # those of the last call serve the next one, unless windows have moved
        kept.clear()
        kept[key] = _checked_call(x, rows, run.subset(rows.distinct_views))
    return kept[key]


def _checked_call(x: Tensor, rows: Rows, windows: Windows) -> _Call | None:
    if not covers(windows) or x.shape[0] % len(rows) or x.shape[-2:] != windows.view:
        raise ValueError(
            f"model: {NODE} needs all windows of the canvas in one model call, and this one holds {len(windows)} that "
            "do not cover it; set windows_per_batch to 0 and choose another algorithm than 'sequential'. If memory "
            "does not suffice, take larger strides or remove that node"
        )
    return _Call(windows, rows.n_samples, {}) if len(windows) > 1 else None


def _tokens(options: dict) -> MergedTokens | None:
    """The maps of the layer that asks; None where the call does not merge."""
    call: _Call | None = options.get(CALL)
    if call is None:
        return None
    height, width = options["activations_shape"][-2:]
    if (height, width) not in call.layers:
        call.layers[height, width] = MergedTokens(call.windows, (height, width), call.n_samples)
    return call.layers[height, width]


def _merged(tokens: MergedTokens, other: Tensor, hidden: Tensor) -> Tensor:
    """Keys' or values' source that another patch has replaced; it has to be of the same tokens."""
    if other.shape[:2] != hidden.shape[:2]:
        raise ValueError(
            f"model: {NODE} got {other.shape[1]} tokens to look at for {hidden.shape[1]} that look, so another patch "
            "of the self-attention has added or removed some; remove that patch"
        )
    return tokens.merge(other)
