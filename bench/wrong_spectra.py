"""Wrong spectra, to see what the image prior loses with one: of other worlds, and a right one bent."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from bench.graphs import Graph
from bench.hosts import Runner
from syncdiffusion_core.guidance.spectrum import Spectrum

SIDE_PX = 1280
"""A hundred of the demo's windows."""
NODE = "SyncDiffusionLatentSpectrum"
WRONG = 4.0
WHITE = Spectrum((1e12,), (1e6,))
"""The same power at every frequency: what the plain decoder gradient takes for true."""
NOISE, RAMPS = "spectrum_noise.png", "spectrum_ramps.png"


def upload_pictures(runner: Runner) -> None:
    """Put both worlds into the host's input folder."""
    for name, pixels in ((NOISE, noise()), (RAMPS, ramps())):
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "png")
        runner.upload(name, file.getvalue())


def noise() -> np.ndarray:
    """White noise [H, W, 3], uint8: as much of the fine as of the coarse."""
    return np.random.default_rng(0).integers(0, 256, (SIDE_PX, SIDE_PX, 3), dtype=np.uint8)


def ramps() -> np.ndarray:
    """Two crossing ramps of light [H, W, 3], uint8, with a trace of noise: hardly anything fine."""
    across = np.linspace(0, 3, SIDE_PX) % 1
    light = (across[None, :, None] + across[:, None, None]) * [90.0, 110.0, 127.0]
    trace = np.random.default_rng(0).uniform(-1, 1, (SIDE_PX, SIDE_PX, 3))
    return (light + trace).clip(0, 255).astype(np.uint8)


def bent(spectrum: Spectrum) -> dict[str, Spectrum]:
    """The spectrum got wrong in each way, by name."""

    def times(power: float = 1.0, bend: float = 1.0) -> Spectrum:
        return Spectrum(tuple(c * power for c in spectrum.scale), tuple(f0 * bend for f0 in spectrum.bend))

    return {
        f"f0 x{WRONG:g}": times(bend=WRONG),
        f"f0 /{WRONG:g}": times(bend=1 / WRONG),
        "white": WHITE,
        f"c x{WRONG:g}": times(power=WRONG),
        f"c /{WRONG:g}": times(power=1 / WRONG),
    }


def of_noise(graph: Graph) -> None:
    """Give guidance the spectrum of noise."""
    _measure(graph, NOISE)


def of_ramps(graph: Graph) -> None:
    """Give guidance the spectrum of ramps."""
    _measure(graph, RAMPS)


def _measure(graph: Graph, name: str) -> None:
    window = graph["windows"]["inputs"]["window_width"]
    links = {"images": ["pictures", 0], "model": ["model", 0], "vae": ["model", 2]}
    graph["pictures"] = {"class_type": "LoadImage", "inputs": {"image": name}}
    graph["spectrum"] = {"class_type": NODE, "inputs": {"name": "", "window_size": window, **links}}
    graph["guidance"]["inputs"]["spectrum"] = ["spectrum", 0]
