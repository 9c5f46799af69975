"""A survey page from two result folders: `python -m bench.survey A B --out survey.html`.

Pictures are paired by their path below the folders without the suffix. What cannot be used is named and left out.
Send the page to participants as it is: it needs no server. Each of them downloads a result, which
`python -m bench.survey.result` reads. Order and sides are shuffled anew for each participant; the number behind the
address, as in survey.html#7, makes them those of participant 7.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random

from bench.journal import write_whole
from bench.survey.page import page
from bench.survey.pictures import Pairs, Refused
from bench.survey.questions import draw, read_prompts, survey_id
from bench.survey.vigilance import from_folder, from_panoramas

LARGEST = 2**32 - 1


def main(arguments: list[str] | None = None) -> None:
    """See the module's docstring."""
    options = _parser().parse_args(arguments)
    try:
        print(make(options))
    except (Refused, OSError) as error:
        raise SystemExit(str(error)) from error


def make(options: argparse.Namespace) -> str:
    """Writes the page and returns a line about it."""
    names = _names(options)
    prompts = read_prompts(options.prompts)
    pairs = Pairs(options.a, options.b, complain)
    parts = from_folder(options.vigilance, complain) if options.vigilance else from_panoramas(pairs)
    random = Random(options.seed)
    questions = draw(pairs, options.questions, options.vigilance_pairs, parts, random, complain, prompts)
    text = page(questions, names, options.seed, options.lossless)
    write_whole(options.out, text.encode())
    asked = sum(not question.vigilance for question in questions)
    counts = f"{asked} questions, {len(questions) - asked} vigilance pairs, {len(text) / 1e6:.1f} MB"
    return f"{options.out}: {counts}, survey {survey_id(questions)}"


def complain(line: str) -> None:
    """On stderr, as every complaint of this command."""
    print(line, file=sys.stderr)


def _names(options: argparse.Namespace) -> tuple[str, str]:
    first, second = options.names or (options.a.resolve().name, options.b.resolve().name)
    if first == second:
        raise Refused(f"--names: both are {first!r}: give two different ones, --names FIRST SECOND")
    return first, second


def _from(minimum: int) -> Callable[[str], int]:
    """The type of an option that is a whole number, at most what the page's generator takes."""

    def number(text: str) -> int:
        if not text.strip().isdecimal() or not minimum <= int(text) <= LARGEST:
            raise argparse.ArgumentTypeError(f"has to be a whole number from {minimum} to {LARGEST}, got {text}")
        return int(text)

    return number


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.survey", description=__doc__)
    parser.add_argument("a", type=Path, metavar="A", help="folder of pictures, the baseline's")
    parser.add_argument("b", type=Path, metavar="B", help="folder of pictures, those of the method in question")
    parser.add_argument("--out", type=Path, default=Path("survey.html"), help="the page (default: survey.html)")
    parser.add_argument(
        "--names", nargs=2, metavar=("A", "B"), help="in results, never shown on the page (default: folders')"
    )
    parser.add_argument("--questions", type=_from(1), default=20, metavar="N", help="how many (default: 20)")
    parser.add_argument("--vigilance", type=Path, metavar="FOLDER", help="single-window pictures for vigilance pairs")
    parser.add_argument("--vigilance-pairs", type=_from(0), default=5, metavar="N", help="how many (default: 5)")
    parser.add_argument("--seed", type=_from(0), default=0, help="of what is drawn and shuffled (default: 0)")
    parser.add_argument(
        "--prompts", type=Path, metavar="FILE", help="JSON object: prompt by pair or folder, to be shown"
    )
    parser.add_argument("--lossless", action="store_true", help="PNG in the page: 4 to 8 times larger than JPEG at 95")
    return parser


if __name__ == "__main__":
    main()
