"""Patches of the host that remember the last call of the model: with windows, that was another part of the canvas."""

from collections.abc import Callable


def refuse_stateful(model_options: dict) -> None:
    """Raise ValueError for patches whose memory would mix windows. model_options: of a run, at its first call.

    For models whose windows are made above CFG (the samplers). Below it, on the canvas, see refuse_stateful_model.
    """
    _refuse_key_cache(model_options)
    if "easycache" in model_options.get("transformer_options", {}):
        raise ValueError(_message("EasyCache or LazyCache", "keep the model's last output"))
    for function in model_options.get("sampler_pre_cfg_function", ()):
        if _made_by(function, "APG.") and _closure(function, "momentum"):
            raise ValueError(
                _message("Adaptive Projected Guidance with momentum", "averages over calls", "set its momentum to 0")
            )


def refuse_stateful_model(model_options: dict) -> None:
    """Raise ValueError for patches that would mix windows below CFG, as Apply Windows makes them."""
    _refuse_key_cache(model_options)
    cache = model_options.get("transformer_options", {}).get("easycache")
    if type(cache).__name__ == "EasyCacheHolder":
        raise ValueError(_message("EasyCache", "keeps the model's last output", "use LazyCache, or remove it"))
    for function in model_options.get("sampler_post_cfg_function", ()):
        if _made_by(function, "SelfAttentionGuidance."):
            raise ValueError(
                _message(
                    "Self-Attention Guidance",
                    "keeps the attention of one call",
                    "use SyncDiffusion Panorama Sampler, where it works window by window",
                )
            )


def _refuse_key_cache(model_options: dict) -> None:
    patches = model_options.get("transformer_options", {}).get("patches", {}).get("attn1_patch", ())
    if any(type(patch).__name__ == "KV_Attn_Input" for patch in patches):
        raise ValueError(_message("Flux KV Cache", "keeps a reference's keys and values of the first call"))


def _made_by(function: Callable, node: str) -> bool:
    return getattr(function, "__qualname__", "").startswith(node)


def _closure(function: Callable, name: str) -> object:
    cells = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
    return cells[name].cell_contents if name in cells else None


def _message(what: str, why: str, remedy: str = "remove it from this model") -> str:
    return f"model: {what} {why}, which with windows is another part of the canvas; {remedy}"
