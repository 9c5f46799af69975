"""Runs of the GPU check: one panorama of random networks each, and all that it shows."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.arms import UNGUIDED, Arm
from bench.frontier_arms import BALANCED, FAST, MODE
from bench.graphs import Graph
from bench.in_process import InProcess
from bench.meter import peak_memory
from bench.shape_graphs import shape_graph, shape_protocol, size_of
from bench.shape_kinds import SHAPES

STRAIGHT = "straight"
TITLES = {
    UNGUIDED: "MultiDiffusion",
    MODE: "reference",
    BALANCED: "balanced",
    FAST: "fast",
    STRAIGHT: "straight-line transcription",
}
"""The rows, in the order in which they run."""
WIDGETS = {MODE: {}, BALANCED: {"preset": "balanced"}, FAST: {"preset": "fast"}}
"""Of Perceptual Sync Guidance; each with the preset's own gradient."""
WHOLE = 50
"""Steps of a whole panorama, which times are carried over to."""
SEED = 3_000_000


@dataclass(frozen=True)
class Case:
    """A model and a canvas. shape: a name of SHAPES. dtype: of its weights. canvas: (width, height) in px.

    steps: of which the reference guides the first, so at least 3: the presets guide twice as long.
    """

    shape: str
    dtype: str
    canvas: tuple[int, int]
    steps: int = 5

    def __str__(self) -> str:
        return f"{SHAPES[self.shape].title}, {self.dtype}, {size_of(self.canvas)}"


@dataclass(frozen=True)
class Run:
    """What one run took. preparation: seconds until the model was asked. steps: of each step, ``guided`` ones first.

    peak, reserved: bytes at most allocated, and held by torch's allocator; held: allocated before. announced: bytes
    beside the weights by the node's own line, None where it has none. said: all lines under nodes. latent: the canvas.
    """

    preparation: float
    steps: tuple[float, ...]
    guided: int
    peak: int
    reserved: int
    held: int
    announced: int | None
    said: tuple[str, ...]
    latent: Tensor

    @property
    def guided_step(self) -> float | None:
        """Median seconds, None where there is none."""
        return statistics.median(self.steps[: self.guided]) if self.guided else None

    @property
    def plain_step(self) -> float | None:
        """Median seconds, None where there is none."""
        return statistics.median(self.steps[self.guided :]) if self.guided < len(self.steps) else None

    @property
    def whole(self) -> float | None:
        """Seconds of a panorama of WHOLE steps, a fifth of them guided for each one that was here; loading left out."""
        guided = WHOLE // 5 * self.guided
        parts = [(guided, self.guided_step), (WHOLE - guided, self.plain_step)]
        if any(count and seconds is None for count, seconds in parts):
            return None
        return sum(count * seconds for count, seconds in parts if count)


class Runs:
    """Makes runs in the host of this process."""

    def __init__(self, runner: InProcess) -> None:
        self._runner, self._number = runner, 0

    def __call__(self, case: Case, arm: str, **sampler: object) -> Run:
        """One run. sampler: widgets of the Panorama Sampler. RuntimeError with the host's words where it fails."""
        from bench.gpu_nodes import GUIDED, LATENT, MOMENTS

        self._number += 1
        graph = graph_of_run(case, arm, self._number, sampler)
        if on_cuda := torch.cuda.is_available():
            torch.cuda.empty_cache()
        held = torch.cuda.memory_allocated() if on_cuda else 0
        with peak_memory() as peak:
            shown = self._runner.execute(graph)["sink"]
            reserved = torch.cuda.max_memory_reserved() if on_cuda else 0
            memory = {"peak": peak(), "reserved": reserved, "held": held}
        said, announced = self._runner.said, self._runner.estimated_bytes()
        times = MOMENTS.preparation, MOMENTS.steps, shown[GUIDED][0]
        return Run(*times, **memory, announced=announced, said=said, latent=shown[LATENT][0])

    def warm(self, case: Case, arm: str, **sampler: object) -> tuple[Run, Run]:
        """Two equal runs: the first also loads models and chooses kernels, so time and memory are the second's."""
        return self(case, arm, **sampler), self(case, arm, **sampler)


def graph_of_run(case: Case, arm: str, number: int, sampler: Mapping[str, object]) -> Graph:
    """The graph of a run; runs of other numbers are the same, but the host makes them again."""
    from bench.gpu_nodes import CLOCK, SINK, SOURCE

    protocol = shape_protocol(SHAPES[case.shape], case.canvas, case.steps)
    first_step = {"end_percent": 1 / case.steps + 0.01, "gradient": "as the preset says"}
    guidance = None if arm == UNGUIDED else {**first_step, **WIDGETS.get(arm, {})}
    row = Arm(arm, TITLES[arm], case.canvas[0], range(1), guidance=guidance, patches=((CLOCK, {"number": number}),))
    graph = shape_graph(protocol, row, case.shape, SEED)
    graph["model"] = {"class_type": SOURCE, "inputs": {"name": case.shape, "dtype": case.dtype}}
    graph["sampler"]["inputs"].update(sampler)
    graph["sink"] = {"class_type": SINK, "inputs": {"latent": ["sampler", 0], "trace": ["sampler", 1]}}
    if arm == STRAIGHT:
        _straighten(graph, case)
    return graph


def _straighten(graph: Graph, case: Case) -> None:
    """The transcription in the place of the sampler: a step of each kind, since all of a kind cost the same."""
    from bench.gpu_nodes import STRAIGHT as NODE

    sampler, cells = graph["sampler"]["inputs"], case.canvas[1] // 8
    kept = {name: sampler[name] for name in ("model", "positive", "negative", "latent_image", "cfg", "seed")}
    sizes = {"window": cells, "stride": cells // 4, "steps": 2, "guided": 1}
    inputs = {**kept, **sizes, "vae": ["model", 3], "perceptual_model": ["perceptual", 0]}
    graph["sampler"] = {"class_type": NODE, "inputs": inputs}
    for node in ("guidance", "windows"):
        del graph[node]


def apart(one: Tensor, other: Tensor) -> tuple[float, float]:
    """(largest difference of two canvases, share of their values that are not the same to the bit)."""
    return float((one - other).abs().max()), float((one != other).double().mean())
