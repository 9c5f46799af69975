"""Panoramas of the demo graph in a real ComfyUI, over HTTP; every finished picture is kept at once."""

import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue

from bench.arms import Arm, prompt_of

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "scripts"))  # the two commands know how to find, start and ask a host

from _client import Client  # noqa: E402
from _host import find_host  # noqa: E402
from _progress import Bar  # noqa: E402
from _server import Server, running  # noqa: E402

GRAPH = ROOT / "scripts" / "demo_graph.json"


def picture(folder: Path, arm: Arm, seed: int) -> Path:
    """Where an arm's panorama of a seed is kept."""
    return folder / "pictures" / arm.name / f"{seed}.png"


Extend = Callable[[dict, Arm, int, Path], None]
"""extend(graph, arm, seed, input_folder) adds nodes to a graph, and their files to the server's input folder."""


def generate(
    arms: Iterable[Arm], folder: Path, workers: int, graph_changes: dict | None = None, extend: Extend | None = None
) -> None:
    """Make what is not there yet, in ``workers`` ComfyUI processes that share the processor's cores.

    Killed at any point and started again, it goes on with the next picture that is missing.
    """
    jobs = [(arm, seed) for arm in arms for seed in arm.seeds if not picture(folder, arm, seed).exists()]
    jobs.sort(key=lambda job: (-len(job[0].seeds), job[1]))  # long arms first, then seed by seed over the others
    queue: SimpleQueue = SimpleQueue()
    for job in jobs:
        queue.put(job)
    host = find_host()
    if host is None:
        raise SystemExit("no ComfyUI was found; set COMFYUI_PATH to a checkout of it")
    os.environ["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // workers))
    progress = Bar()

    def done() -> None:
        progress("panoramas", sum(picture(folder, arm, seed).exists() for arm, seed in jobs), len(jobs))

    def work() -> None:
        with running(host, Path(sys.executable), ["--cpu"]) as server:
            _drain(queue, server, folder, partial(graph_of, changes=graph_changes, extend=extend), done)

    with ThreadPoolExecutor(workers) as pool:
        for future in [pool.submit(work) for _ in range(min(workers, len(jobs)))]:
            future.result()


def _drain(
    queue: SimpleQueue, server: Server, folder: Path, make_graph: Callable[..., dict], report: Callable[[], None]
) -> None:
    client = Client(server)
    while True:
        try:
            arm, seed = queue.get_nowait()
        except Empty:
            return
        started = time.monotonic()
        outputs = client.run(make_graph(arm, seed, inputs=server.base / "input"))
        image = outputs[f"{arm.method}_picture"]["images"][0]
        _keep(server.output / image["subfolder"] / image["filename"], picture(folder, arm, seed))
        _log(folder, {"arm": arm.name, "seed": seed, "seconds": round(time.monotonic() - started, 2)})
        report()


def graph_of(
    arm: Arm, seed: int, inputs: Path, changes: dict[str, dict] | None = None, extend: Extend | None = None
) -> dict:
    """The demo graph cut down to one sampler and its picture; inputs: the host's input folder, for `extend`."""
    graph = json.loads(GRAPH.read_text(encoding="utf-8"))
    kept = ("model", "perceptual", "prompt", "negative", "canvas", "windows", "guidance")
    own = [arm.method, f"{arm.method}_image", f"{arm.method}_picture"]
    graph = {name: graph[name] for name in (*kept, *own)}
    graph["prompt"]["inputs"]["text"] = prompt_of(seed)
    graph[arm.method]["inputs"]["seed"] = seed
    graph["guidance"]["inputs"].update(arm.guidance or {})
    for name, widgets in (changes or {}).items():
        if name in graph:
            graph[name]["inputs"].update(widgets)
    if extend is not None:
        extend(graph, arm, seed, inputs)
    return graph


def _keep(source: Path, target: Path) -> None:
    """Whole or not at all: a copy beside the target, then a rename."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_suffix(".part")
    shutil.copyfile(source, part)
    os.replace(part, target)
    source.unlink()


def _log(folder: Path, row: dict) -> None:
    with (folder / "runs.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")
