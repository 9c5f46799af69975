"""Generated inputs for every node: `python -m bench.campaign --cases 10000 --out bench/results/campaign`.

Each is run by the host's own validation and executor, and has to be a result or an error that a user can act on. Writes
table.md and campaign.json. Stop it at any time: the same command goes on where it was.

    python -m bench.campaign --case SyncDiffusionPanoramaSampler/3/17     one of them again, with its input
    python -m bench.campaign --packs ../ComfyUI-Some-Pack                 with its samplers and model patches in between
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from bench.hosts import prepare_console, required_host
from bench.journal import Journal, write_whole

if TYPE_CHECKING:
    from bench.campaign.ground import Ground

RESULTS = Path(__file__).resolve().parents[1] / "results" / "campaign"
JOURNAL = "runs.jsonl"


def main(arguments: list[str] | None = None) -> None:
    """See the module's docstring."""
    prepare_console()
    options = _parser().parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="syncdiffusion-campaign-", ignore_cleanup_errors=True) as base:
        here = ground(Path(base), options.packs)
        print(show(options, here) if options.case else campaign(options, here, Path(base)))


def campaign(options: argparse.Namespace, here: Ground, base: Path) -> str:
    """Run what is missing, make small what is unclear, write the table and return it."""
    from bench.campaign import report, running

    journal = Journal(options.out / JOURNAL)
    running.run(running.Plan(options.cases, options.seed, base), here, journal)
    rows = running.rows_of(journal, options.seed)
    found = report.unclear_of(rows, options.seed)
    found = [_with_example(each, here) for each in found[: options.examples]] + found[options.examples :]
    figures = report.figures_of(rows)
    text = report.table(figures, found, f"Seed {options.seed}, `python -m bench.campaign --cases {options.cases}`.")
    write_whole(options.out / "table.md", text.encode())
    write_whole(options.out / "campaign.json", (json.dumps(report.as_json(figures, found), indent=1) + "\n").encode())
    return text


def _with_example(found: object, here: Ground) -> object:
    from bench.campaign.running import shrunk

    case, ran = shrunk(found.place, found.signature, here)
    if ran.failure is None:  # it does not fail by itself: a run before it has changed something
        return replace(found, example=f"{case!r}\n(a result when it is run alone)")
    return replace(found, example=repr(case), message=ran.failure.message, raised_at=ran.failure.place)


def show(options: argparse.Namespace, here: Ground) -> str:
    """One case by its place: what it is and what it comes to."""
    from bench.campaign.blocks import Place, draw_block

    node, block, index = options.case.split("/")
    case = draw_block(Place(options.seed, node, int(block)))[int(index)]
    ran = here.run(case.call)
    return f"{case!r}\n{ran.failure or 'a result'}\n{ran.seconds:.2f} s"


def ground(base: Path, packs: list[Path]) -> Ground:
    """The ComfyUI of this machine in this process; all that it writes goes below base."""
    from bench.in_process import InProcess

    folder = required_host().folder
    sys.path.insert(0, str(folder))
    from comfy.cli_args import args

    args.base_directory = str(base)
    for name in ("custom_nodes", "input", "models", "output", "temp", "user"):
        (base / name).mkdir(parents=True, exist_ok=True)
    scratch = base / "temp" / "bench"
    scratch.mkdir()
    host = InProcess(folder, scratch)
    import nodes
    from bench.campaign.ground import Ground
    from bench.campaign.packs import note

    before = set(nodes.NODE_CLASS_MAPPINGS)
    for pack in packs:
        host.load_pack(pack)
    if packs:
        print("nodes of other packs:", note(before))
    return Ground(host.server)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=10000, help="how many, over all nodes")
    parser.add_argument("--out", type=Path, default=RESULTS, help="results folder")
    parser.add_argument("--seed", type=int, default=0, help="of the generated inputs")
    parser.add_argument("--packs", type=Path, nargs="*", default=[], help="folders of other packs to load")
    parser.add_argument("--examples", type=int, default=60, help="unclear errors that are made smaller")
    parser.add_argument("--case", help="run this one only, NODE/BLOCK/INDEX, and print it")
    return parser


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
