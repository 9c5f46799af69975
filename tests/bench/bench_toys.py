"""A world of toy pictures, small enough to make and score by the hundred; run as a program, a toy table.

`PYTHONPATH=. python tests/bench/bench_toys.py FOLDER SECONDS` makes, scores and writes it as the command does, each
picture taking so many seconds more.
"""

import io
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from bench.arms import paper_arms, reference_set
from bench.figures import figures
from bench.generate import generate
from bench.graphs import PICTURE
from bench.judges import Judges
from bench.paper_table import write_results
from bench.protocol import DEMO
from bench.score import score_all
from bench.settled import settle

PROTOCOL = replace(DEMO, window_px=16, stride_px=8, widths_px=(64, 32), panoramas=10, crops=3, references=50)
"""The demo's, on canvases of 16-px windows."""


class ToyRunner:
    """Stands for a host: a picture of the graph's canvas, drawn from its seed and guidance alone."""

    def __init__(self) -> None:
        self.made: list[tuple[int, int]] = []

    def run(self, graph: dict, on_node=None) -> bytes:
        for node in graph if on_node is not None else ():
            on_node(node)
        assert graph[PICTURE]["class_type"] == "PreviewImage"
        canvas, sampler = graph["canvas"]["inputs"], graph["sampler"]["inputs"]
        weight = graph["guidance"]["inputs"]["weight"] if "guidance" in graph else 0.0
        self.made.append((canvas["width"], sampler["seed"]))
        return toy_picture(canvas["width"], canvas["height"], sampler["seed"], weight)

    def upload(self, name: str, data: bytes) -> None:
        raise AssertionError("no toy needs a file")


def toy_picture(width: int, height: int, seed: int, weight: float = 0.0) -> bytes:
    """Blocks of colour, the more alike the larger the weight; a PNG."""
    draw = np.random.default_rng(seed)
    colours = draw.uniform(0, 255, (1, width // 16, 3)) / (1 + weight) + 255 * weight / (1 + weight) / 2
    pixels = np.broadcast_to(np.repeat(colours, 16, axis=1), (height, width, 3)) * draw.uniform(0.9, 1, (height, 1, 1))
    file = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(file, "png")
    return file.getvalue()


class MeanColour:
    """A distance and a feature network at once: the mean colour."""

    constant = 1.0

    def parameters(self):
        return iter([torch.zeros(1)])

    def features(self, image):
        return (image.mean(dim=(2, 3)),)

    def distance(self, features, anchor):
        return (features[0] - anchor[0]).abs().sum(dim=1)

    def embed(self, images):
        return images.mean(dim=(2, 3))

    def score(self, images, prompts):
        return 100 * images.mean(dim=(1, 2, 3))


def colour_shares(windows):
    return windows.mean(dim=(2, 3)).softmax(dim=1)


def toy_judges() -> Judges:
    net = MeanColour()
    return Judges("toy", {"Intra-LPIPS": net}, net, False, net, labels=colour_shares)


def toy_table(folder: Path, seconds: float) -> None:
    """Every row of the table, from the first picture to the last plot."""

    class SlowRunner(ToyRunner):
        def run(self, graph: dict) -> bytes:
            time.sleep(seconds)
            return super().run(graph)

    protocol, arms, judges = PROTOCOL, list(paper_arms(PROTOCOL)), toy_judges()
    settle(protocol, arms, folder)
    generate(protocol, [reference_set(protocol), *arms], folder, [SlowRunner(), SlowRunner()])
    scores, problems = score_all(protocol, arms, folder, judges)
    assert not problems, problems
    write_results(protocol, arms, figures(protocol, arms, scores, True), "toy score", folder)


if __name__ == "__main__":
    torch.set_num_threads(1)
    toy_table(Path(sys.argv[1]), float(sys.argv[2]))


class Constant:
    """A model that sees grey whatever it is shown, with a codec that repeats cells."""

    def encode(self, texts):
        return torch.zeros(len(texts), 1, 1)

    def denoiser(self, cond, uncond, cfg):
        return lambda x, sigma, rows: torch.full_like(x, 0.25)

    def decode(self, x0):
        return x0[:, :3].repeat_interleave(8, -1).repeat_interleave(8, -2) * 0.5 + 0.5

    def encode_image(self, pictures):
        cells = (pictures[..., ::8, ::8] - 0.5) / 0.5
        return torch.cat([cells, cells[:, :1]], dim=1)
