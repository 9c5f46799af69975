"""Graphs on random networks of given shapes, that end without a picture."""

from __future__ import annotations

from pathlib import Path

from bench.arms import Arm
from bench.graphs import DECODE, PICTURE, Graph, graph_of
from bench.protocol import Protocol
from bench.shape_kinds import Shape
from syncdiffusion_core.perceptual.files import save_perceptual
from syncdiffusion_core.perceptual.lpips_net import Trunk, random_lpips

PERCEPTUAL = "random_vgg.safetensors"


def prepare(scratch: Path) -> None:
    """The nodes of the random networks, and a random VGG where perceptual models are looked for."""
    import folder_paths

    from bench.shape_nodes import register

    register()
    network = random_lpips(Trunk.VGG)
    save_perceptual(scratch / PERCEPTUAL, Trunk.VGG.value, network.net.state_dict(), 1.0)
    folder_paths.add_model_folder_path("perceptual", str(scratch))


def shape_protocol(shape: Shape, canvas: tuple[int, int], steps: int) -> Protocol:
    """The paper's settings on a canvas (width, height) in px, a fifth of the steps guided."""
    width, height = canvas
    return Protocol(
        None,
        window_px=height,
        stride_px=height // 4,
        widths_px=(width,),
        steps=steps,
        cfg=shape.cfg,
        algorithm="automatic",
        perceptual=PERCEPTUAL,
        guidance={"end_percent": 0.2, "gradient": "through the model"},
    )


def shape_graph(protocol: Protocol, arm: Arm, name: str, seed: int) -> Graph:
    """The arm's graph on the random network of a shape's name."""
    from bench.shape_nodes import SINK, SOURCE

    graph = graph_of(protocol, arm, seed)
    for node in ("prompt", "negative", DECODE, PICTURE):
        del graph[node]
    graph["model"] = {"class_type": SOURCE, "inputs": {"name": name}}
    graph["sampler"]["inputs"].update(positive=["model", 1], negative=["model", 2])
    if "guidance" in graph:
        graph["guidance"]["inputs"]["vae"] = ["model", 3]
    graph["sink"] = {"class_type": SINK, "inputs": {"latent": ["sampler", 0]}}
    return graph


def size_of(canvas: tuple[int, int]) -> str:
    """(width, height) as people write it here: height first."""
    return f"{canvas[1]}x{canvas[0]}"
