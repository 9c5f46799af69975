"""Panorama Coherence: figures and a picture of how alike the parts of a panorama look."""

import torch
from comfy_api.latest import io, ui

from ..syncdiffusion_core.metrics.coherence import Coherence, coherence
from .host.memory import load_together
from .host.perceptual import HostDistance
from .sockets import CATEGORY, Perceptual

HEAT_CELL_PX = 32


class PanoramaCoherence(io.ComfyNode):
    """IMAGE and a perceptual model -> figures, heat map."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SyncDiffusionCoherence",
            display_name="Panorama Coherence",
            category=CATEGORY,
            description=(
                "Measures how alike the parts of a panorama look: the mean perceptual distance between all pairs of "
                "non-overlapping windows (the paper's Intra-LPIPS), and how visible the wrap is."
            ),
            search_aliases=["metric", "lpips", "intra-lpips", "score", "evaluate", "seam"],
            is_output_node=True,
            inputs=[
                io.Image.Input("image", tooltip="One or more panoramas."),
                Perceptual.Input(
                    "perceptual_model",
                    tooltip="The network that compares windows. Scoring with the one that guided is circular: add a "
                    "second, different one.",
                ),
                io.Int.Input(
                    "window_size",
                    default=512,
                    min=32,
                    max=16384,
                    step=8,
                    tooltip="Width of a window in pixels along the panorama's longer side; the model's resolution.",
                ),
            ],
            outputs=[
                io.Float.Output(
                    display_name="intra_distance",
                    tooltip="Mean distance over all pairs of windows and all panoramas; lower is more coherent.",
                ),
                io.Float.Output(
                    display_name="seam",
                    tooltip="Difference of the first and last columns over that of neighbours: about 1 when the ends "
                    "meet.",
                ),
                io.String.Output(display_name="report", tooltip="The figures in words, a line for each panorama."),
                io.Image.Output(
                    display_name="heat_map",
                    tooltip="Distance of every pair of windows, a square each, white the largest of its panorama.",
                ),
            ],
        )

    @classmethod
    def execute(cls, image, perceptual_model, window_size) -> io.NodeOutput:
        load_together([perceptual_model.patcher])
        distance = HostDistance(perceptual_model)
        results = [coherence(picture, distance, window_size) for picture in image[..., :3].movedim(-1, 1)]
        report = "\n".join(_describe(k, result) for k, result in enumerate(results))
        intra = sum(result.intra for result in results) / len(results)
        seam = sum(result.seam for result in results) / len(results)
        heat = torch.cat([_heat_map(result.pairs) for result in results])
        return io.NodeOutput(intra, seam, report, heat, ui=ui.PreviewText(report))


def _describe(index: int, result: Coherence) -> str:
    return (
        f"panorama {index + 1}: intra distance {result.intra:.4f} over {len(result.pairs)} windows, "
        f"seam {result.seam:.2f}"
    )


def _heat_map(pairs: torch.Tensor) -> torch.Tensor:
    """[1, W*32, W*32, 3] in [0, 1]."""
    scaled = (pairs / pairs.max().clamp(min=1e-12)).float().cpu()
    large = scaled.repeat_interleave(HEAT_CELL_PX, 0).repeat_interleave(HEAT_CELL_PX, 1)
    return large[None, :, :, None].expand(-1, -1, -1, 3).contiguous()
