"""Panoramas that are missing, made and kept one by one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Empty, SimpleQueue

from tqdm import tqdm

from bench.arms import Arm
from bench.graphs import Graph, graph_of
from bench.hosts import Runner
from bench.journal import Journal, write_whole
from bench.pictures import is_whole, picture
from bench.protocol import GUIDANCE, Protocol

GUIDED_STEP = 6.0
"""What a guided step costs more than a plain one; only the estimate of the remaining time depends on it."""

Job = tuple[Arm, int]
Extend = Callable[[Graph, Arm, int, Runner], None]
"""extend(graph, arm, seed, runner) adds nodes to a graph, and their files to the host's input folder."""


def missing_jobs(arms: Iterable[Arm], folder: Path) -> list[Job]:
    """What is to be made, seed by seed over the arms, so that rows can be compared early. Names damaged pictures."""

    def is_missing(job: Job) -> bool:
        path = picture(folder, *job)
        if not path.exists():
            return True
        if is_whole(path):
            return False
        tqdm.write(f"{path} cannot be read; it is made again")
        return True

    jobs = [(arm, seed) for arm in arms for seed in arm.seeds]
    with ThreadPoolExecutor() as pool:  # thousands of panoramas take minutes to read
        answers = tqdm(pool.map(is_missing, jobs), desc="pictures there", total=len(jobs), leave=False)
        missing = [job for job, answer in zip(jobs, answers, strict=True) if answer]
    return sorted(missing, key=lambda job: job[0].seeds.index(job[1]) / len(job[0].seeds))


def generate(
    protocol: Protocol, arms: Iterable[Arm], folder: Path, runners: Sequence[Runner], extend: Extend | None = None
) -> None:
    """Make what is missing; runners work side by side.

    Killed at any point and started again, it goes on with the next picture that is missing. RuntimeError names
    the panorama that could not be made; what is finished is kept.
    """
    arms = list(arms)
    jobs = missing_jobs(arms, folder)
    total = sum(_work(protocol, arm) * len(arm.seeds) for arm in arms)
    queue: SimpleQueue = SimpleQueue()
    for job in jobs:
        queue.put(job)
    log, lock = Journal(folder / "runs.jsonl"), threading.Lock()
    form = "{desc} {percentage:3.0f}%|{bar}| {elapsed}, {remaining} left{postfix}"
    with tqdm(total=total, bar_format=form, desc="panoramas") as bar:
        bar.update(total - sum(_work(protocol, arm) for arm, _ in jobs))
        bar.initial = bar.n  # the rate is that of this run

        def work(runner: Runner) -> None:
            while (job := _next(queue)) is not None:
                started = time.monotonic()
                _make(protocol, job, folder, runner, extend)
                with lock:
                    arm, seed = job
                    log.append({"arm": arm.name, "seed": seed, "seconds": round(time.monotonic() - started, 2)})
                    bar.set_postfix_str(f"{arm.name}, {protocol.prompt_of(seed)[:30]}, seed {seed}", refresh=False)
                    bar.update(_work(protocol, arm))

        _side_by_side(work, runners, queue)


def _side_by_side(work: Callable[[Runner], None], runners: Sequence[Runner], queue: SimpleQueue) -> None:
    if len(runners) == 1:
        work(runners[0])
        return
    with ThreadPoolExecutor(len(runners)) as pool:
        futures = [pool.submit(work, runner) for runner in runners]
        try:
            for future in futures:
                future.result()
        finally:
            while _next(queue) is not None:  # the others stop after the picture they are at
                pass


def _next(queue: SimpleQueue) -> Job | None:
    try:
        return queue.get_nowait()
    except Empty:
        return None


def _make(protocol: Protocol, job: Job, folder: Path, runner: Runner, extend: Extend | None) -> None:
    arm, seed = job
    graph = graph_of(protocol, arm, seed)
    if extend is not None:
        extend(graph, arm, seed, runner)
    try:
        data = runner.run(graph)
    except RuntimeError as error:
        raise RuntimeError(f"{arm.name}, '{protocol.prompt_of(seed)}', seed {seed}: {error}") from error
    write_whole(picture(folder, arm, seed), data)


def _work(protocol: Protocol, arm: Arm) -> float:
    """An arm's cost in arbitrary units: windows times steps, guided ones counted more."""
    windows = 1 + max(0, arm.width_px - protocol.window_px) / protocol.stride_px
    steps = float(protocol.steps)
    if arm.guidance is not None:
        widgets = {**GUIDANCE, **protocol.guidance, **arm.guidance}
        steps += GUIDED_STEP * protocol.steps * float(widgets["end_percent"]) / float(widgets["every_n"])
    return windows * steps
