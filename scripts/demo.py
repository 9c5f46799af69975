"""Two panoramas of one seed with one command: `python scripts/demo.py`.

Plain MultiDiffusion, and SyncDiffusion beside it, made by the pack's own small model. Makes an environment where
this Python lacks something, finds or fetches ComfyUI, starts it with the pack in a temporary folder, runs the
graph through its HTTP API, and leaves the pictures and their coherence figures in the output folder. Where no
ComfyUI can be had the same runs through the core alone.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from _environment import PACK_ROOT, WITHOUT_HOST, ensure, read_requirements, require_python, use
from _host import Host, HostError, find_or_fetch_host
from _progress import StepFailed, loud, prepare_console, say, stage, tail
from _server import Server, end_on_signals, has_accelerator, running

METHODS = {"multidiffusion": "MultiDiffusion", "syncdiffusion": "SyncDiffusion"}
FIGURES = {"intra_distance": "intra distance", "seconds": "seconds"}


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description="Makes a MultiDiffusion and a SyncDiffusion panorama of the same seed, and measures both.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--prompt", default="mountains", help="words of the demo model; leave the time of day out")
    parser.add_argument("--seed", type=int, default=1, help="seed of the noise")
    parser.add_argument("--steps", type=int, default=50, help="denoising steps")
    parser.add_argument("--out", type=Path, default=Path("demo_output"), help="folder for pictures and figures")
    parser.add_argument("--without-host", action="store_true", help="leave ComfyUI aside and run the core alone")
    return parser.parse_args(arguments)


def build_graph(prompt: str, seed: int, steps: int) -> dict[str, dict[str, Any]]:
    """The demo's API-format graph with these settings."""
    graph = json.loads(Path(__file__).with_name("demo_graph.json").read_text(encoding="utf-8"))
    graph["prompt"]["inputs"]["text"] = prompt
    for method in METHODS:
        graph[method]["inputs"].update(seed=seed, steps=steps)
    return graph


def run_in_host(host: Host, python: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Figures of the two panoramas, made in a ComfyUI started for it; their pictures go to args.out."""
    use(python)
    from _client import Client
    from _follower import Follower

    graph = build_graph(args.prompt, args.seed, args.steps)
    options = [] if has_accelerator(python) else ["--cpu"]
    say(f"--> starting ComfyUI {host.version} {' '.join(options)}")
    with running(host, python, options) as server:
        client = Client(server)
        if lacking := client.missing_nodes(graph):
            raise StepFailed(f"The pack did not load: no {', '.join(lacking)}.\n{tail(server.log)}")
        follower = Follower(graph)
        with stage("making two panoramas"):
            outputs = client.run(graph, follower)
        return collect(outputs, follower.seconds, server, args.out)


def collect(outputs: dict, seconds: dict[str, float], server: Server, out: Path) -> dict[str, Any]:
    """Copies the pictures to out; the figures of each method."""
    figures = {}
    for method in METHODS:
        figures[method] = {
            "picture": _copy(outputs[f"{method}_picture"], server, out / f"{method}.png"),
            "heat_map": _copy(outputs[f"{method}_heat_map"], server, out / f"{method}_heat_map.png"),
            "intra_distance": float(outputs[f"{method}_intra_distance"]["text"][0]),
            "seam": float(outputs[f"{method}_seam"]["text"][0]),
            "seconds": round(seconds[method], 2),
        }
    figures["syncdiffusion"]["trace"] = outputs["syncdiffusion_trace"]["text"][0].splitlines()
    return figures


def _copy(output: dict, server: Server, target: Path) -> str:
    image = output["images"][0]
    shutil.copyfile(server.output / image["subfolder"] / image["filename"], target)
    return target.name


def report(figures: dict[str, Any], args: argparse.Namespace, host: Host) -> None:
    """Writes figures.json and shows the table."""
    facts = {"prompt": args.prompt, "seed": args.seed, "steps": args.steps, "comfyui": host.version}
    path = args.out / "figures.json"
    path.write_text(json.dumps({**facts, **figures}, indent=2) + "\n", encoding="utf-8")
    say(f"\n{'':16}" + "".join(f"{title:>16}" for title in METHODS.values()))
    for key, title in FIGURES.items():
        say(f"{title:16}" + "".join(f"{figures[method][key]:16.3f}" for method in METHODS))
    say("(intra distance: mean perceptual distance between windows that do not overlap; lower is more coherent)")
    say(f"\nPictures and figures: {args.out.resolve()}")


def run_alone(python: Path, args: argparse.Namespace) -> None:
    """The same two panoramas through the core alone, which writes its figures itself."""
    loud("Running without ComfyUI: the same panoramas through the pack's core alone.")
    words = ["--steps", str(args.steps), "--seed", str(args.seed), "--prompt", args.prompt]
    command = [str(python), "-m", "demo.headless", *words, "--out", str(args.out.resolve())]
    if subprocess.call(command, cwd=PACK_ROOT, stdin=subprocess.DEVNULL) != 0:
        raise StepFailed("The run through the core failed; its message is above.")


def main(arguments: list[str]) -> int:
    """Runs the demo; see the module's docstring."""
    args = parse(arguments)
    prepare_console()
    require_python()
    end_on_signals()
    try:
        host = None if args.without_host else find_or_fetch_host()
        base = read_requirements(host.requirements) if host else list(WITHOUT_HOST)
        python = ensure(base, read_requirements(PACK_ROOT / "requirements.txt"))
        args.out.mkdir(parents=True, exist_ok=True)
        if host:
            report(run_in_host(host, python, args), args, host)
        else:
            run_alone(python, args)
    except (HostError, StepFailed) as error:
        raise SystemExit(str(error)) from error
    except KeyboardInterrupt:
        say("\nStopped.")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
