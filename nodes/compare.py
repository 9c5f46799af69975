"""Compare Panoramas: two of them in one picture, with their figures."""

from comfy_api.latest import io

from .drawing.comparison import Side, draw_comparison
from .drawing.lettering import printable
from .drawing.panorama import Panorama
from .host.inputs import check_widgets, picture
from .host.panoramas import measure, shown, to_image
from .report import described, distance
from .sockets import CATEGORY, Perceptual


class ComparePanoramas(io.ComfyNode):
    """Two IMAGEs and a perceptual model -> picture of both, difference of their figures, report."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SyncDiffusionCompare",
            display_name="Compare Panoramas",
            category=CATEGORY,
            description=(
                "Puts two panoramas into one picture with their names and figures, such as one seed with guidance and "
                "without, and marks the one whose windows are more alike."
            ),
            search_aliases=["compare images", "side by side", "a/b test", "evaluate", "intra-lpips"],
            is_output_node=True,
            inputs=[
                io.Image.Input("image_a", tooltip="One or more panoramas; one alone is compared with all of image_b."),
                io.Image.Input(
                    "image_b",
                    tooltip="The panoramas to compare them with, one by one; one alone is compared with all of "
                    "image_a.",
                ),
                Perceptual.Input(
                    "perceptual_model",
                    tooltip="The network that compares windows. One that guided either panorama favours it: choose "
                    "another.",
                ),
                io.Int.Input(
                    "window_size",
                    default=512,
                    min=32,
                    max=16384,
                    step=8,
                    tooltip="Width of a window in pixels along each panorama's longer side; the model's resolution.",
                ),
                io.String.Input("name_a", default="A", tooltip="What the picture and the report call image_a."),
                io.String.Input("name_b", default="B", tooltip="What the picture and the report call image_b."),
            ],
            outputs=[
                io.Image.Output(
                    display_name="comparison",
                    tooltip="Both panoramas with their names and figures: above one another, or beside one another "
                    "where both are tall. The more coherent one has a frame and says so.",
                ),
                io.Float.Output(
                    display_name="difference",
                    tooltip="Intra distance of image_b minus that of image_a, mean over the pairs: negative where b "
                    "is more coherent. 0 where a panorama is one window.",
                ),
                io.String.Output(display_name="report", tooltip="The figures of both in words, pair by pair."),
            ],
        )

    @classmethod
    def execute(cls, image_a, image_b, perceptual_model, window_size, name_a, name_b) -> io.NodeOutput:
        check_widgets(cls, window_size=window_size)
        image_a, image_b = picture("image_a", image_a), picture("image_b", image_b)
        _check_counts(len(image_a), len(image_b))
        names = (name_a.strip() or "A", name_b.strip() or "B")
        first = measure("image_a", image_a, perceptual_model, window_size)
        second = measure("image_b", image_b, perceptual_model, window_size)
        count = max(len(first), len(second))
        pairs = [(first[k % len(first)], second[k % len(second)]) for k in range(count)]
        drawn = to_image([draw_comparison(*_sides(pair, names)) for pair in pairs])
        report = "\n".join(_described(k, pair, names) for k, pair in enumerate(pairs))
        difference = sum(_difference(*pair) for pair in pairs) / count
        return io.NodeOutput(drawn, difference, report, ui=shown(drawn, report, cls))


def _check_counts(first: int, second: int) -> None:
    if first != second and 1 not in (first, second):
        raise ValueError(
            f"image_b: {second} panoramas to compare with the {first} of image_a; give as many, or one on either side"
        )


def _difference(first: Panorama, second: Panorama) -> float:
    """Intra distance of the second minus that of the first; 0 where either has no pair of windows."""
    return second.intra - first.intra if min(len(first.boxes), len(second.boxes)) > 1 else 0.0


def _sides(pair: tuple[Panorama, Panorama], names: tuple[str, str]) -> tuple[Side, Side]:
    """The two sides of the drawing."""
    gain = _difference(*pair)
    first, second = (
        Side(panorama, printable(name, letter), _figures(panorama), better)
        for panorama, name, letter, better in zip(pair, names, "AB", (gain > 0, gain < 0), strict=True)
    )
    return first, second


def _figures(panorama: Panorama) -> tuple[str, ...]:
    if len(panorama.boxes) < 2:
        return ("one window", f"seam {panorama.seam:.2f}")
    return (f"intra distance {distance(panorama.intra)}", f"seam {panorama.seam:.2f}")


def _described(index: int, pair: tuple[Panorama, Panorama], names: tuple[str, str]) -> str:
    """The verdict on a pair, and a line for each of the two."""
    lines = [f"pair {index + 1}: {_verdict(pair, names)}"]
    lines += [f"  {name}: {described(panorama)}" for name, panorama in zip(names, pair, strict=True)]
    sizes = [panorama.picture.size for panorama in pair]
    if sizes[0] != sizes[1]:
        words = " and ".join(f"{name} {w} x {h} px" for name, (w, h) in zip(names, sizes, strict=True))
        lines.append(f"  sizes: {words}; scaled for the picture only, and figures of two sizes compare roughly")
    return "\n".join(lines)


def _verdict(pair: tuple[Panorama, Panorama], names: tuple[str, str]) -> str:
    gain = _difference(*pair)
    if min(len(panorama.boxes) for panorama in pair) < 2:
        return "no verdict, for a panorama of one window has nothing to compare; choose a smaller window_size"
    if gain == 0:
        return "equally coherent"
    worse = max(panorama.intra for panorama in pair)
    return f"{names[gain < 0]} is more coherent, by {distance(abs(gain))} ({abs(gain) / worse:.0%})"
