"""Panorama Coherence: figures and pictures of how alike the parts of a panorama look."""

from comfy_api.latest import io
from PIL import Image

from .drawing.heat_map import draw_heat_map
from .drawing.lettering import round_top
from .drawing.panorama import Panorama
from .drawing.windows import draw_windows
from .host.inputs import check_widgets
from .host.panoramas import least_difference, measure, shown, to_image
from .report import described, distance, verdict_of
from .sockets import CATEGORY, Perceptual

SCALE_LEAST = 6
"""A shorter scale would show the noise of a coherent panorama in the colours of great differences."""


class PanoramaCoherence(io.ComfyNode):
    """IMAGE and a perceptual model -> figures, heat map, windows that disagree."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SyncDiffusionCoherence",
            display_name="Panorama Coherence",
            category=CATEGORY,
            description=(
                "Measures how alike the parts of a panorama look: the mean perceptual distance between all pairs of "
                "non-overlapping windows (the paper's Intra-LPIPS), which windows disagree with the others, and how "
                "visible the wrap is."
            ),
            search_aliases=["metric", "lpips", "intra-lpips", "score", "evaluate", "seam", "heat map"],
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
                io.String.Output(
                    display_name="report",
                    tooltip="The figures and the windows that disagree in words, a line for each panorama.",
                ),
                io.Image.Output(
                    display_name="heat_map",
                    tooltip="Distance of every pair of windows: dark squares are alike, bright ones differ. The "
                    "windows stand along both edges; one scale for all panoramas of a batch.",
                ),
                io.Image.Output(
                    display_name="disagreeing",
                    tooltip="The panorama with its windows numbered, each with its mean distance to the others; those "
                    "that disagree keep their light and have a thick frame.",
                ),
            ],
        )

    @classmethod
    def execute(cls, image, perceptual_model, window_size) -> io.NodeOutput:
        check_widgets(cls, window_size=window_size)
        panoramas = measure("image", image, perceptual_model, window_size)
        report = "\n".join(f"panorama {k + 1}: {described(panorama)}" for k, panorama in enumerate(panoramas))
        intra = sum(panorama.intra for panorama in panoramas) / len(panoramas)
        seam = sum(panorama.seam for panorama in panoramas) / len(panoramas)
        heat = to_image(_heat_maps(panoramas, least_difference(perceptual_model.network)))
        marked = to_image([draw_windows(panorama, _title(panorama)) for panorama in panoramas])
        return io.NodeOutput(intra, seam, report, heat, marked, ui=shown(marked, report, cls))


def _heat_maps(panoramas: list[Panorama], least: float) -> list[Image.Image]:
    """One for each, on one scale that ends at SCALE_LEAST least differences or above."""
    top = round_top(max(SCALE_LEAST * least, *(panorama.largest for panorama in panoramas)))
    return [draw_heat_map(panorama, top, _subtitle(k, panoramas)) for k, panorama in enumerate(panoramas)]


def _subtitle(index: int, panoramas: list[Panorama]) -> str:
    of = f" of {len(panoramas)}" if len(panoramas) > 1 else ""
    return f"panorama {index + 1}{of}, mean of all pairs {distance(panoramas[index].intra)}"


def _title(panorama: Panorama) -> str:
    verdict = verdict_of(panorama)
    return verdict[:1].upper() + verdict[1:]
