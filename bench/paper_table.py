"""The tables of the SyncDiffusion paper (Tables 1 to 3) for a checkpoint of yours, or for the demo model.

    python -m bench.paper_table --demo --out bench/results/demo
    python -m bench.paper_table --checkpoint sd2-base.safetensors --out results/sd2 --panoramas 600 \\
        --score-with lpips_vgg.safetensors lpips_alex.safetensors style_vgg19.safetensors --inception DIR --clip DIR

Makes the panoramas that are missing in the folder, scores them, and writes table.md, figures.json, plots and a contact
sheet there. Stop it or kill it at any time: the same command goes on where it was.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import get_type_hints

import torch
from pydantic import TypeAdapter, ValidationError

from bench.arms import Arm, paper_arms, reference_set
from bench.figures import Row, figures, further_columns, paper_columns
from bench.generate import generate
from bench.hosts import Address, Remote, Runner, in_process, prepare_console, servers
from bench.journal import write_whole
from bench.judges import Judges, demo_judges, file_judges
from bench.plots import plot_times, plot_weights
from bench.protocol import DEMO, Protocol
from bench.score import score_all
from bench.settled import settle
from bench.sheet import contact_sheet
from bench.tables import change_table, interval_table, paper_table
from bench.timing import measure, medians, time_table

SHEET_SEEDS = 4
SAID_PROBLEMS = 20
PACKAGES, INCEPTION_PACKAGES = ("torchmetrics", "matplotlib", "pandas"), ("cleanfid",)
"""Of bench/requirements.txt, which nothing imports before it is needed."""


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    model = parser.add_mutually_exclusive_group(required=True)
    model.add_argument("--demo", action="store_true", help="the pack's demo model, its settings and its own judges")
    model.add_argument("--checkpoint", help="a file of ComfyUI's models/checkpoints")
    parser.add_argument("--out", type=Path, required=True, help="results folder; what it holds is gone on with")
    settings = parser.add_argument_group("settings, the paper's (or the demo's) unless given")
    settings.add_argument("--prompts", type=Path, help="a text file, a prompt a line")
    settings.add_argument("--panoramas", type=int, help="for each row, all prompts together")
    settings.add_argument("--references", type=int, help="single images to compare with, all prompts together")
    settings.add_argument(
        "--set",
        nargs="+",
        default=[],
        metavar="NAME=VALUE",
        help="any field of bench/protocol.py, \
such as steps=25 widths_px=[2048,1024] 'guidance={\"end_percent\": 0.2}'",
    )
    settings.add_argument(
        "--arms",
        nargs="+",
        help="make these rows only, by the names of their folders; the table has every row that there is",
    )
    where = parser.add_argument_group("where it runs: in this process, unless given")
    where.add_argument(
        "--url",
        help="a running ComfyUI that has this pack, such as http://127.0.0.1:8188; \
its temporary folder keeps a copy of every picture until it ends",
    )
    where.add_argument("--workers", type=int, default=0, help="so many ComfyUIs started on the processor's cores")
    where.add_argument("--score-only", action="store_true", help="make no picture, score those that are there")
    where.add_argument("--time", type=int, default=0, metavar="N", help="also time each row N times; run nothing else")
    judges = parser.add_argument_group("networks that score (--demo brings its own)")
    judges.add_argument("--score-with", nargs="+", type=Path, default=[], help="LPIPS and style files, safetensors")
    judges.add_argument("--inception", type=Path, help="folder of inception-2015-12-05.pt: GIQA, FID and KID")
    judges.add_argument("--clip", type=Path, help="folder of a CLIP model of transformers: CLIP score")
    judges.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="where they run")
    return parser.parse_args(arguments)


def protocol_of(options: argparse.Namespace) -> Protocol:
    """The settings that the command line asks for. Raises ValueError for one that is none."""
    given = {name: getattr(options, name) for name in ("panoramas", "references") if getattr(options, name) is not None}
    if options.prompts is not None:
        lines = options.prompts.read_text(encoding="utf-8-sig").splitlines()
        given["prompts"] = tuple(line.strip() for line in lines if line.strip())
    given.update(_assignment(text) for text in options.set)
    return replace(DEMO if options.demo else Protocol(options.checkpoint), **given)


def _assignment(text: str) -> tuple[str, object]:
    """NAME=VALUE; what is not JSON is a word. Raises ValueError for what is no setting, or no value for it."""
    name, _, value = text.partition("=")
    paper, types = asdict(Protocol(None)), get_type_hints(Protocol)
    known = [each for each in paper if each != "checkpoint"]
    if name not in known:
        raise ValueError(f"--set: no setting is called '{name}'; there are {', '.join(known)}")
    with contextlib.suppress(json.JSONDecodeError):
        value = json.loads(value)
    try:
        return name, TypeAdapter(types[name]).validate_json(json.dumps(value), strict=True)
    except ValidationError as error:
        raise ValueError(f"--set: {name} is something like {json.dumps(paper[name])}, got {text}") from error


def chosen_arms(protocol: Protocol, names: Sequence[str] | None) -> list[Arm]:
    """The rows by name, all of them unless given. Raises ValueError for a name that is none."""
    arms = paper_arms(protocol)
    known = [arm.name for arm in arms]
    unknown = [name for name in names or () if name not in known]
    if unknown:
        raise ValueError(f"--arms: no row is called {', '.join(unknown)}; there are {', '.join(known)}")
    return [arm for arm in arms if not names or arm.name in names]


def judges_of(options: argparse.Namespace) -> Judges:
    """What the command line asks to score with."""
    if options.demo:
        return demo_judges()
    if not options.score_with:
        raise ValueError("--score-with: name at least one LPIPS file, such as models/perceptual/lpips_vgg.safetensors")
    return file_judges(options.score_with, options.inception, options.clip, options.device)


@contextlib.contextmanager
def runners_of(options: argparse.Namespace) -> Iterator[list[Runner]]:
    """Where the graphs run."""
    if options.url:
        yield [Remote(Address(options.url.rstrip("/")))]
    elif options.workers:
        with servers(options.workers) as started:
            yield started
    else:
        with in_process() as runner:
            yield [runner]


def write_results(
    protocol: Protocol, arms: Sequence[Arm], rows: Sequence[Row], caption_title: str, folder: Path
) -> str:
    """Everything but the pictures themselves; returns the tables' text."""
    seconds, columns = medians(protocol, arms, folder), paper_columns(caption_title)
    every = (*columns, *further_columns(rows))
    parts = [paper_table(rows, columns), interval_table(rows, every)]
    if any(row.change for row in rows):
        parts.append(change_table(rows, every))
    if seconds:
        parts.append(time_table(arms, seconds))
    text = "\n".join(parts)
    write_whole(folder / "table.md", text.encode())
    lines = ",\n".join(json.dumps(plain(row)) for row in rows)
    write_whole(folder / "figures.json", f"[\n{lines}\n]\n".encode())
    plot_weights(rows, columns, folder / "weight.png")
    plot_times(rows, seconds, folder / "time.png")
    sheet = contact_sheet(protocol, arms, folder, SHEET_SEEDS)
    if sheet is not None:
        sheet.save(folder / "contact_sheet.jpg", quality=85)
    return text


def plain(row: Row) -> dict:
    """A row as JSON has it."""
    each = {key: {seed: float(f"{value:.5g}") for seed, value in values.items()} for key, values in row.each.items()}
    return {**asdict(row), "arm": row.arm.name, "each": each}


def run(options: argparse.Namespace) -> str:
    """Make, score and write; the table's text. Raises ValueError and RuntimeError with a sentence for a person."""
    protocol, judges = protocol_of(options), judges_of(options)
    wanted = chosen_arms(protocol, options.arms)
    settle(protocol, paper_arms(protocol), options.out)
    if not options.score_only:
        with runners_of(options) as runners:
            generate(protocol, [reference_set(protocol), *wanted], options.out, runners)
            if options.time:
                measure(protocol, wanted, options.out, runners[0], options.time)
    arms = [arm for arm in paper_arms(protocol) if (options.out / "pictures" / arm.name).is_dir()]
    scores, problems = score_all(protocol, arms, options.out, judges)
    say_problems(problems)
    rows = figures(protocol, arms, scores, judges.standardise)
    if not rows:
        raise ValueError(f"{options.out} holds no picture that can be scored")
    return write_results(protocol, arms, rows, judges.caption_title, options.out)


def say_problems(problems: Sequence[str]) -> None:
    """What could not be scored."""
    for problem in problems[:SAID_PROBLEMS]:
        print(f"left out: {problem}", file=sys.stderr)
    if len(problems) > SAID_PROBLEMS:
        print(f"left out: {len(problems) - SAID_PROBLEMS} more", file=sys.stderr)


def check_packages(inception: bool = False) -> None:
    """Before days of work rather than behind them."""
    needed = (*PACKAGES, *(INCEPTION_PACKAGES if inception else ()))
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        raise RuntimeError(f"{', '.join(missing)} missing: python -m pip install -r bench/requirements.txt")


def main(arguments: Sequence[str] | None = None) -> None:
    """See the module's docstring."""
    prepare_console()
    try:
        options = parse(arguments)
        check_packages(bool(options.inception))
        print(run(options))
    except KeyboardInterrupt:
        raise SystemExit("Stopped; the same command goes on from here.") from None
    except (ValueError, RuntimeError, OSError) as error:
        raise SystemExit(f"{error}") from error


if __name__ == "__main__":
    main()
