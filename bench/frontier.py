"""The frontier of coherence and cost: every saving alone, and the presets, against the reference mode.

    python -m bench.frontier --time 3
    python -m bench.frontier --seeds 16 --only w0 reference_mode balanced fast
    python -m bench.frontier --forget balanced fast
    python -m bench.frontier --profile balanced
    python -m bench.frontier --shapes

Makes the panoramas that are missing (of the demo model), counts what each row takes, scores them, and writes table.md,
figures.csv, frontier.png and a contact sheet. Stop it or kill it at any time: the same command goes on where it was.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from bench.arms import UNGUIDED, Arm, reference_set
from bench.figures import figures, further_columns, paper_columns
from bench.frontier_arms import HELD_OUT, MAIN, MODE, NEEDS_CUDA, TILED_DIFFUSION, frontier_arms
from bench.frontier_tables import Frontier, bound_table, cost_table, frontier_csv, frontier_table
from bench.generate import generate
from bench.graphs import graph_of
from bench.hosts import in_process, prepare_console, servers
from bench.in_process import InProcess
from bench.journal import Journal, write_whole
from bench.judges import demo_judges
from bench.measures import count, taken_by_arm
from bench.meter import says_how
from bench.paper_table import check_packages, plain, say_problems
from bench.plots import plot_frontier
from bench.profiles import write_profile
from bench.protocol import FRONTIER, Protocol
from bench.score import score_all
from bench.settled import settle, settle_seeds
from bench.shapes import measure_shapes
from bench.sheet import contact_sheet
from bench.surface import lacking
from bench.tables import change_table, interval_table
from bench.timing import measure, timed
from bench.wrong_spectra import upload_pictures

RESULTS = Path(__file__).resolve().parent / "results" / "frontier"
OVER_REFERENCE = """## Against the reference mode

Every figure over the reference mode's on the same seeds, and the share that a row keeps of what the reference gains
over MultiDiffusion, with its 95 % interval (paired bootstrap). Label agreement: the share of windows at the time of day
that most windows show. Label distance: how far two windows' times of day lie apart by the judge's classes, 0 for alike.
The second network, which is the judge's, has guided nothing."""
AT_LEAST = "## What the presets keep at least"
COSTS = """## What a panorama takes

Seconds are medians, with their range where a row was timed several times; passes count windows, of the model with and
without the prompt one each. Memory: the sampler's peak, until the panorama is decoded, and that of the whole run:
{how}."""
FIGURES = """## The figures themselves

Mean and 95 % interval over panoramas. KID of fewer than some dozens of panoramas says little."""
DIFFERENCES = """## Differences to the reference mode, on the same seeds"""
JOURNALS = ("timing.jsonl", "measures.jsonl", "scores.jsonl")
SHEET_SEEDS = 10  # two of each prompt


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=RESULTS, help="results folder; what it holds is gone on with")
    parser.add_argument("--only", nargs="+", metavar="ARM", help="make these rows only; the table has all there are")
    parser.add_argument("--forget", nargs="+", metavar="ARM", help="only drop what is kept of these rows, all of it")
    parser.add_argument("--seeds", type=int, default=64, help="of the main rows; the others take at most 16 of them")
    parser.add_argument("--first-seed", type=int, default=HELD_OUT, help="another one to tune on, with another --out")
    parser.add_argument("--references", type=int, default=FRONTIER.references, help="single images to compare with")
    parser.add_argument("--workers", type=int, default=0, help="so many ComfyUIs started to make the panoramas")
    parser.add_argument("--tiled-diffusion", type=Path, metavar="PATH", help="a checkout of ComfyUI-TiledDiffusion")
    parser.add_argument("--time", type=int, default=0, metavar="N", help="also time each row N times; run nothing else")
    parser.add_argument("--score-only", action="store_true", help="make no picture, score those that are there")
    parser.add_argument("--profile", metavar="ARM", help="only profile one row's panorama, into profile_ARM.txt")
    parser.add_argument("--shapes", nargs="*", metavar="NAME", help="only measure sd15, sdxl and flux shapes, on CUDA")
    return parser.parse_args(arguments)


def chosen(arms: Sequence[Arm], names: Sequence[str] | None) -> list[Arm]:
    """The rows by name, all unless given. Raises ValueError for a name that is none."""
    known = [arm.name for arm in arms]
    if unknown := [name for name in names or () if name not in known]:
        raise ValueError(f"no row is called {', '.join(unknown)}; there are {', '.join(known)}")
    return [arm for arm in arms if not names or arm.name in names]


def forget(arms: Sequence[Arm], folder: Path) -> str:
    """Drop the rows' times, counts, scores and pictures: for presets whose meaning has changed, which no graph shows.

    Pictures go last: a kill meanwhile leaves none of their figures behind. Says what was dropped.
    """
    said = []
    for arm in arms:
        lines = (Journal(folder / name).drop(lambda row, arm=arm: row["arm"] == arm.name) for name in JOURNALS)
        dropped = [f"{count} of {name}" for name, count in zip(JOURNALS, lines, strict=True) if count]
        pictures = folder / "pictures" / arm.name
        if pictures.is_dir():
            dropped.append(f"{len(list(pictures.glob('*.png')))} pictures")
            shutil.rmtree(pictures)
        said.append(f"{arm.name}: {', '.join(dropped) or 'nothing was kept'}")
    return "\n".join(said)


def able(protocol: Protocol, arms: Sequence[Arm], runner: InProcess) -> list[Arm]:
    """The rows that the host and the pack have what for; says which are skipped, and why."""
    there = []
    for arm in arms:
        lack = lacking(graph_of(protocol, arm, arm.seeds[0]), runner.declared)
        if arm.name in NEEDS_CUDA and not torch.cuda.is_available():
            lack = "it needs CUDA"
        if lack is None:
            there.append(arm)
        else:
            print(f"skipped: {arm.name}, {lack}", file=sys.stderr)
    return there


def make(protocol: Protocol, arms: Sequence[Arm], options: argparse.Namespace) -> None:
    """Panoramas, counts and times. TiledDiffusion comes last: to import it changes the host for all other rows."""
    with in_process() as own:
        upload_pictures(own)
        ours = able(protocol, [arm for arm in arms if arm.name != TILED_DIFFUSION], own)
        with servers(options.workers) if options.workers else contextlib.nullcontext([own]) as runners:
            for runner in runners if options.workers else ():
                upload_pictures(runner)
            generate(protocol, [reference_set(protocol), *ours], options.out, runners)
        _measure(protocol, ours, options, own)
        if theirs := [arm for arm in arms if arm.name == TILED_DIFFUSION]:
            own.load_pack(options.tiled_diffusion)
            theirs = able(protocol, theirs, own)
            generate(protocol, theirs, options.out, [own])
            _measure(protocol, theirs, options, own)


def _measure(protocol: Protocol, arms: Sequence[Arm], options: argparse.Namespace, runner: InProcess) -> None:
    count(protocol, arms, options.out, runner)
    if options.time:
        measure(protocol, arms, options.out, runner, options.time)


def write_results(protocol: Protocol, arms: Sequence[Arm], frontier: Frontier, folder: Path, caption: str) -> str:
    """Everything but the pictures themselves; returns the tables' text."""
    columns = (*paper_columns(caption), *further_columns(frontier.rows))
    tables = {
        OVER_REFERENCE: frontier_table(frontier),
        AT_LEAST: bound_table(frontier, MAIN),
        COSTS.format(how=says_how()): cost_table(frontier),
        FIGURES: interval_table(frontier.rows, columns),
        DIFFERENCES: change_table(frontier.rows, columns, "the reference mode"),
    }
    text = "\n".join(f"{title}\n\n{table}" for title, table in tables.items() if table)
    write_whole(folder / "table.md", text.encode())
    write_whole(folder / "figures.csv", frontier_csv(frontier).encode())
    each = ",\n".join(json.dumps({key: plain(row)[key] for key in ("arm", "each")}) for row in frontier.rows)
    write_whole(folder / "seeds.json", f"[\n{each}\n]\n".encode())
    plot_frontier(frontier, MAIN, folder / "frontier.png")
    sheet = contact_sheet(protocol, [arm for arm in arms if arm.name in MAIN], folder, SHEET_SEEDS, protocol.window_px)
    if sheet is not None:
        sheet.save(folder / "contact_sheet.jpg", quality=90)
    return text


def run(options: argparse.Namespace) -> str:
    """Make, count, score and write; the tables' text. Raises ValueError and RuntimeError with a sentence."""
    if options.seeds < 1:
        raise ValueError(f"--seeds: at least 1, got {options.seeds}")
    protocol, judges = replace(FRONTIER, references=options.references), demo_judges()
    arms = frontier_arms(protocol, range(options.first_seed, options.first_seed + options.seeds))
    wanted = chosen(arms, options.only)
    if options.tiled_diffusion is None and any(arm.name == TILED_DIFFUSION for arm in wanted):
        wanted = [arm for arm in wanted if arm.name != TILED_DIFFUSION]
        print(f"skipped: {TILED_DIFFUSION}, give its checkout by --tiled-diffusion PATH", file=sys.stderr)
    settle_seeds(options.first_seed, options.out)
    settle(protocol, arms, options.out)
    if not options.score_only:
        make(protocol, wanted, options)
    arms = [arm for arm in arms if (options.out / "pictures" / arm.name).is_dir()]
    scores, problems = score_all(protocol, arms, options.out, judges)
    say_problems(problems)
    rows = figures(protocol, arms, scores, judges.standardise, against=MODE)
    if not rows:
        raise ValueError(f"{options.out} holds no picture that can be scored")
    frontier = Frontier(rows, timed(protocol, arms, options.out), taken_by_arm(protocol, arms, options.out))
    if UNGUIDED not in frontier.seconds:
        print("no times, so no picture of them: run with --time N", file=sys.stderr)
    return write_results(protocol, arms, frontier, options.out, judges.caption_title)


def profiled(options: argparse.Namespace) -> str:
    """The profile of one row, as text."""
    [arm] = chosen(frontier_arms(FRONTIER, range(1)), [options.profile])
    with in_process() as runner:
        upload_pictures(runner)
        if options.tiled_diffusion is not None:
            runner.load_pack(options.tiled_diffusion)
        if not able(FRONTIER, [arm], runner):
            raise ValueError(f"--profile: {arm.name} cannot run here")
        return write_profile(FRONTIER, arm, options.out, runner)


def main(arguments: Sequence[str] | None = None) -> None:
    """See the module's docstring."""
    prepare_console()
    try:
        options = parse(arguments)
        if options.shapes is not None:
            print(measure_shapes(options.out, options.shapes))
        elif options.profile:
            print(profiled(options))
        elif options.forget:
            print(forget(chosen(frontier_arms(FRONTIER, range(1)), options.forget), options.out))
        else:
            check_packages()
            print(run(options))
    except KeyboardInterrupt:
        raise SystemExit("Stopped; the same command goes on from here.") from None
    except (ValueError, RuntimeError, OSError) as error:
        raise SystemExit(f"{error}") from error


if __name__ == "__main__":
    main()
