"""One panorama as an API-format graph of ComfyUI."""

from __future__ import annotations

from bench.arms import Arm
from bench.protocol import GUIDANCE, SAVINGS, Protocol

Graph = dict[str, dict]
PICTURE = "picture"
"""The node whose image is the panorama."""
DECODE = "image"
"""The node that decodes it, the next after the sampler."""


def graph_of(protocol: Protocol, arm: Arm, seed: int) -> Graph:
    """The graph of an arm's panorama; a preview node takes it, so nothing stays in a user's output folder."""
    patches = _patches(arm)
    graph = {
        "model": _loader(protocol),
        "prompt": _node("CLIPTextEncode", clip=["model", 1], text=protocol.prompt_of(seed)),
        "negative": _node("CLIPTextEncode", clip=["model", 1], text=protocol.negative),
        "canvas": _node("EmptyLatentImage", width=arm.width_px, height=protocol.window_px, batch_size=1),
        "windows": _windows(protocol, arm),
        **({} if arm.guidance is None else _guidance(protocol, arm)),
        **patches,
        "sampler": _sampler(protocol, arm, seed, next(reversed(patches), "model")),
        DECODE: _node(
            "SyncDiffusionPanoramaDecode",
            samples=["sampler", 0],
            vae=["model", 2],
            wrap_x=False,
            wrap_y=False,
            wrap_margin=128,
            tile_size=1024,
        ),
        PICTURE: _node("PreviewImage", images=[DECODE, 0]),
    }
    if arm.rebuild is not None:
        arm.rebuild(graph)
    return graph


def plain_sampler(graph: Graph) -> None:
    """The host's own KSampler in the place of the Panorama Sampler, for packs that window the model themselves."""
    inputs = graph["sampler"]["inputs"]
    kept = ("model", "positive", "negative", "latent_image", "seed", "steps", "cfg", "sampler_name", "scheduler")
    graph["sampler"] = _node("KSampler", **{name: inputs[name] for name in kept}, denoise=1.0)
    del graph["windows"]


def _node(class_type: str, **inputs: object) -> dict:
    return {"class_type": class_type, "inputs": inputs}


def _loader(protocol: Protocol) -> dict:
    if protocol.checkpoint is None:
        return _node("SyncDiffusionLoadDemoModel")
    return _node("CheckpointLoaderSimple", ckpt_name=protocol.checkpoint)


def _windows(protocol: Protocol, arm: Arm) -> dict:
    widgets = {
        "window_width": protocol.window_px,
        "window_height": protocol.window_px,
        "stride_x": protocol.stride_px,
        "stride_y": protocol.stride_px,
        "wrap_x": False,
        "wrap_y": False,
        "blend": protocol.blend,
        "positions": "window's own corner",
    }
    return _node("SyncDiffusionWindowTiler", **{**widgets, **arm.tiler})


def _patches(arm: Arm) -> Graph:
    """Each takes the model of the one before."""
    graph: Graph = {}
    for k, (class_type, widgets) in enumerate(arm.patches):
        graph[f"patch_{k}"] = _node(class_type, model=[f"patch_{k - 1}" if k else "model", 0], **widgets)
    return graph


def _guidance(protocol: Protocol, arm: Arm) -> Graph:
    widgets = {"weight": protocol.ablation_weight, **GUIDANCE, **protocol.guidance, **arm.guidance}
    graph: Graph = {}
    if arm.savings is not None:
        graph["savings"] = _node("SyncDiffusionSavings", **{**SAVINGS, **arm.savings})
        widgets["savings"] = ["savings", 0]
    return {
        **graph,
        "perceptual": _node("SyncDiffusionLoadPerceptualModel", perceptual_name=arm.perceptual or protocol.perceptual),
        "guidance": _node("SyncDiffusionGuidance", vae=["model", 2], perceptual_model=["perceptual", 0], **widgets),
    }


def _sampler(protocol: Protocol, arm: Arm, seed: int, model: str) -> dict:
    inputs = {
        "model": [model, 0],
        "windows": ["windows", 0],
        "positive": ["prompt", 0],
        "negative": ["negative", 0],
        "latent_image": ["canvas", 0],
        "seed": seed,
        "steps": protocol.steps,
        "cfg": protocol.cfg,
        "sampler_name": protocol.sampler,
        "scheduler": protocol.scheduler,
        "denoise": 1.0,
        "algorithm": arm.algorithm or protocol.algorithm,
        "start_at_step": 0,
        "end_at_step": 10000,
        "add_noise": True,
        "return_with_leftover_noise": False,
        "windows_per_batch": 0,
        **({} if arm.guidance is None else {"guidance": ["guidance", 0]}),
    }
    return _node("SyncDiffusionPanoramaSampler", **{**inputs, **arm.sampler})
