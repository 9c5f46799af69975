"""What the measurements' tests share: a world of toy pictures, small enough to make and score by the hundred."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bench.arms import Arm, paper_arms, reference_set
from bench.graphs import PICTURE
from bench.journal import write_whole
from bench.judges import Judges
from bench.protocol import DEMO, Protocol


class ToyRunner:
    """Stands for a host: a picture of the graph's canvas, drawn from its seed and guidance alone."""

    def __init__(self) -> None:
        self.made: list[tuple[int, int]] = []

    def run(self, graph: dict) -> bytes:
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


@pytest.fixture
def protocol() -> Protocol:
    """The demo's, on canvases of 16-px windows."""
    return replace(DEMO, window_px=16, stride_px=8, widths_px=(64, 32), panoramas=10, crops=3, references=50)


@pytest.fixture
def judges() -> Judges:
    net = MeanColour()
    return Judges("toy", {"Intra-LPIPS": net}, net, False, net, labels=colour_shares)


@pytest.fixture
def runner() -> ToyRunner:
    return ToyRunner()


@pytest.fixture
def arms(protocol: Protocol) -> list[Arm]:
    """The reference set and three rows."""
    rows = {arm.name: arm for arm in paper_arms(protocol)}
    return [reference_set(protocol), rows["sd"], rows["w0"], rows["w20"]]


@pytest.fixture
def folder(tmp_path: Path, arms: list[Arm], protocol: Protocol) -> Path:
    """A folder where every picture of the arms is."""
    for arm in arms:
        weight = 0.0 if arm.guidance is None else arm.guidance["weight"]
        for seed in arm.seeds:
            data = toy_picture(arm.width_px, protocol.window_px, seed, weight)
            write_whole(tmp_path / "pictures" / arm.name / f"{seed}.png", data)
    return tmp_path
