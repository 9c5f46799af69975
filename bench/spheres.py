"""Pictures of 360 degrees by every way there is, on the demo model: does it pay to know that the canvas is a sphere?

    python -m bench.spheres                    # 32 seeds a row: pictures, figures, table, contact sheet
    python -m bench.spheres --seeds 8 --rows light,ten,balanced_front --out /tmp/spheres
    python -m bench.spheres --device cuda      # the same noise, 32 seeds at once
    python -m bench.spheres --time             # seconds of a panorama, on a machine that does nothing else
    python -m bench.spheres --score-only       # the report of what is there so far, each row of its own seeds

A place without its time of day, with words for where a view looks; 25 DDIM steps, CFG 7.5; guidance of weight 10 where
no other is said. On the pack's core alone, with the nodes' settings. Scored on views that no row was made from; true
globes of the same places are the first row. A run goes on where it was stopped: what is made stays in the folder, a
file a row.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from bench.journal import Journal
from bench.meter import peak_memory
from bench.sphere_maker import STEPS, SphereMaker
from bench.sphere_report import Costs, Line, write_report
from bench.sphere_rows import ROWS, SphereRow
from bench.sphere_scores import SphereJudge
from bench.sphere_truth import REFERENCE_GLOBES, reference_features, shrunk, true_globes
from bench.strategies import made
from demo.judge import load_judge
from demo.pipeline import load_demo

RESULTS = Path(__file__).parent / "results" / "spheres"
AROUND = True
"""Whether it is the demo model that looks around, and the judge that knows such views."""
SEEDS = 32
BATCH = {"cpu": 8, "cuda": 32}
TRUE_GLOBES = "globes"


class Bench:
    """What makes the rows and counts what they take, in a folder."""

    def __init__(self, maker: SphereMaker, out: Path, processes: int = 1) -> None:
        self.maker, self.out, self.processes = maker, out, processes
        self.journal, self.timing = Journal(out / "runs.jsonl"), Journal(out / "timing.jsonl")
        self.device = torch.cuda.get_device_name() if maker.device.type == "cuda" else "CPU"

    def pictures(self, row: SphereRow | None, seeds: Sequence[int], bar: tqdm) -> np.ndarray:
        """Of a row, None for the true globes: uint8 [N, 3, H, W]."""
        make = partial(self._run, row) if row else self._true
        return made(self._path(row), make, seeds, bar, BATCH[self.maker.device.type])

    def kept(self, row: SphereRow | None) -> np.ndarray | None:
        """Those that have been made; None where there are none."""
        path = self._path(row)
        return np.load(path) if path.exists() else None

    def time(self, row: SphereRow) -> float:
        """Seconds of one panorama; the first, which makes tables, is made before."""
        for _ in range(2):
            start = time.perf_counter()
            self.maker.make(row, [0])
            seconds = time.perf_counter() - start
        self.timing.append({"row": row.name, "seconds": seconds, "device": self.device})
        return seconds

    def costs(self, row: SphereRow) -> Costs:
        """What the row's pictures took, the latest time each was made, and the least time that one has taken."""
        runs, times = ([entry for entry in kept if entry["row"] == row.name] for kept in (self.journal, self.timing))
        peaks = [entry["peak_bytes"] for entry in runs if entry["peak_bytes"] is not None]
        return Costs(
            {seed: entry["evaluations"] for entry in runs for seed in entry["seeds"]},
            peaks[-1] if peaks else None,
            min((entry["seconds"] for entry in times), default=None),
            times[-1]["device"] if times else "",
        )

    def _path(self, row: SphereRow | None) -> Path:
        return self.out / "pictures" / f"{TRUE_GLOBES if row is None else row.name}.npy"

    def _true(self, seeds: Sequence[int]) -> Tensor:
        return shrunk(true_globes(seeds, processes=self.processes))

    def _run(self, row: SphereRow, seeds: Sequence[int]) -> Tensor:
        peak = self._peak(row) if self.maker.device.type == "cuda" else None
        self.maker.evaluations = 0.0
        pictures = self.maker.make(row, seeds)
        taken = {"evaluations": self.maker.evaluations, "peak_bytes": peak, "device": self.device}
        self.journal.append({"row": row.name, "seeds": [*seeds], **taken})
        return pictures

    def _peak(self, row: SphereRow) -> int:
        """Bytes of one panorama's first two steps and its decoding, which is where a run holds the most."""
        sigmas, self.maker.sigmas = self.maker.sigmas, [*self.maker.sigmas[:2], 0.0]
        try:
            with peak_memory() as peak:
                self.maker.make(row, [0])
                return peak()
        finally:
            self.maker.sigmas = sigmas


Pictures = dict[SphereRow | None, np.ndarray]


def measure(bench: Bench, judge: SphereJudge, rows: Sequence[SphereRow], seeds: range, references: int) -> None:
    """Make what is missing, score it and write the report."""
    with tqdm(total=(1 + len(rows)) * len(seeds), unit="panorama") as bar:
        pictures: Pictures = {row: bench.pictures(row, seeds, bar) for row in (None, *rows)}
    report(bench, judge, pictures, references)


def report(bench: Bench, judge: SphereJudge, pictures: Pictures, references: int) -> None:
    """Score pictures, of a row each, and write what comes of it."""
    reference = reference_features(judge, references, bench.out / "pictures", bench.processes)
    lines = []
    for row, each in tqdm(pictures.items(), desc="scores", unit="row"):
        scores = judge.scores(torch.from_numpy(each))
        name, title = (TRUE_GLOBES, "true globes") if row is None else (row.name, row.title)
        lines.append(Line(name, title, each, scores, None if row is None else bench.costs(row)))
    write_report(bench.out, lines, reference)


def chosen(names: str | None) -> list[SphereRow]:
    """Rows by their names, all without. Raises ValueError for a name that no row has."""
    asked = ROWS if names is None else names.split(",")
    if unknown := [name for name in asked if name not in ROWS]:
        raise ValueError(f"rows: there is none called {', '.join(unknown)}; there are {', '.join(ROWS)}")
    return [ROWS[name] for name in asked]


def main(arguments: Sequence[str] | None = None) -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--rows", help=f"some of {', '.join(ROWS)}, with commas between")
    parser.add_argument("--device", choices=[*BATCH], default="cpu")
    parser.add_argument("--steps", type=int, default=STEPS, help="a divisor of 1000; fewer for a trial")
    parser.add_argument("--references", type=int, default=REFERENCE_GLOBES, help="true globes to compare with")
    parser.add_argument("--score-only", action="store_true", help="make nothing, report what is there")
    parser.add_argument("--time", action="store_true", help="make one panorama a row, and note how long it takes")
    options = parser.parse_args(arguments)
    rows = chosen(options.rows)
    maker = SphereMaker(load_demo(around=AROUND), options.device, options.steps)
    judge = SphereJudge(load_judge(around=AROUND), options.device)
    bench = Bench(maker, options.out, len(os.sched_getaffinity(0)))
    if options.time:
        for row in rows:
            print(f"{row.title}: {bench.time(row):.1f} s", flush=True)
    elif options.score_only:
        kept = {row: bench.kept(row) for row in (None, *rows)}
        report(bench, judge, {row: each for row, each in kept.items() if each is not None}, options.references)
    else:
        measure(bench, judge, rows, range(options.seeds), options.references)


if __name__ == "__main__":
    main()
