"""What the participants of a survey prefer: `python -m bench.survey.result FILE [FILE ...] [--json]`.

Files are those that the page gives. Who failed a vigilance pair is named and left out, as in the paper; a damaged
file too. Answers to different surveys are not mixed.
"""

import argparse
import json
import statistics
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from scipy.stats import binomtest

from bench.survey.pictures import Refused
from bench.survey.sheet import Sheet, read_sheet


@dataclass(frozen=True)
class Verdict:
    """Which arm is preferred, over all answers of the participants counted.

    preferred: answers for b, the second folder, of ``answers``. share: their part, with the exact (Clopper-Pearson)
    95 % interval low to high. p: exact two-sided binomial test against one half; like the interval it takes answers
    as independent, which those of one participant or on one pair are not quite. spread: sample standard deviation
    (n - 1) of the participants' shares, None for one. first: answers for the picture shown left or on top. seconds:
    median of an answer. pairs: [answers for b, answers] by pair.

    The paper has 66.35 % of 1720 answers by 86 participants, "with a standard deviation of 5.19%", and does not say
    over what; the shares of participants with 20 answers each would differ by some 10.6 % by chance alone.
    """

    survey: str
    names: tuple[str, str]
    participants: int
    left_out: list[str]
    preferred: int
    answers: int
    share: float
    low: float
    high: float
    p: float
    spread: float | None
    first: int
    seconds: float
    pairs: dict[str, tuple[int, int]]


def judge(sheets: list[Sheet], left_out: Iterable[str] = ()) -> Verdict:
    """The verdict on one survey; raises Refused where there is nothing to count."""
    left_out = [*left_out, *map(_failure, (sheet for sheet in sheets if not sheet.passed))]
    counted = [sheet for sheet in sheets if sheet.passed]
    if not counted:
        raise Refused("\n".join([*left_out, "no result is left to count"]))
    answers = [answer for sheet in counted for answer in sheet.asked]
    test = binomtest(sum(answer.chosen == "b" for answer in answers), len(answers))
    interval = test.proportion_ci(0.95, method="exact")
    shares = [sheet.preferred / len(sheet.asked) for sheet in counted]
    chosen = Counter(answer.pair for answer in answers if answer.chosen == "b")
    shown = Counter(answer.pair for answer in answers)
    return Verdict(
        survey=counted[0].survey,
        names=next((sheet.names for sheet in sheets if sheet.names), ("A", "B")),
        participants=len(counted),
        left_out=left_out,
        preferred=test.k,
        answers=test.n,
        share=test.statistic,
        low=float(interval.low),
        high=float(interval.high),
        p=float(test.pvalue),
        spread=statistics.stdev(shares) if len(shares) > 1 else None,
        first=sum(answer.chosen == answer.first for answer in answers),
        seconds=statistics.median(answer.seconds for answer in answers),
        pairs={pair: (chosen[pair], shown[pair]) for pair in sorted(shown)},
    )


def _failure(sheet: Sheet) -> str:
    return f"{sheet.path}: left out, {sheet.right} of {len(sheet.checks)} vigilance pairs right"


def read_all(paths: Iterable[Path]) -> tuple[list[Sheet], list[str]]:
    """(sheets of one survey, a line on each file that is left out); raises Refused for results of several surveys."""
    sheets, left_out, seen = [], [], {}
    for path in paths:
        try:
            sheet = read_sheet(path)
        except Refused as error:
            left_out.append(str(error))
            continue
        key = sheet.survey, sheet.seed, sheet.participant
        if key in seen:
            left_out.append(f"{path}: left out, the participant of {seen[key]} again")
            continue
        seen[key] = path
        sheets.append(sheet)
    _refuse_a_mixture(sheets)
    return sheets, left_out


def _refuse_a_mixture(sheets: list[Sheet]) -> None:
    kinds: dict[object, Sheet] = {}
    for sheet in sheets:
        kinds.setdefault((sheet.survey, sheet.questions), sheet)
    if len(kinds) > 1:
        lines = (f"{sheet.path}: survey {sheet.survey}, {len(sheet.answers)} questions" for sheet in kinds.values())
        raise Refused("\n".join([*lines, "results of different surveys: give those of one survey at a time"]))


def as_text(verdict: Verdict) -> str:
    """The verdict in words."""
    a, b = verdict.names
    spread = "" if verdict.spread is None else f", standard deviation over participants {100 * verdict.spread:.2f} %"
    interval = f"{100 * verdict.low:.1f} to {100 * verdict.high:.1f} %"
    return "\n".join(
        [
            f"survey {verdict.survey}: {_count(verdict.participants, 'participant')} counted,"
            f" {_count(len(verdict.left_out), 'file')} left out",
            f"{b} preferred to {a} in {verdict.preferred} of {verdict.answers} answers:"
            f" {100 * verdict.share:.2f} % (95 % interval {interval}){spread}",
            f"binomial test against 50 %, exact, two-sided: p = {verdict.p:.3g}",
            f"picture on the left or on top chosen in {verdict.first} of {verdict.answers};"
            f" median time of an answer {verdict.seconds:.1f} s",
        ]
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def main(arguments: list[str] | None = None) -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(prog="python -m bench.survey.result", description=__doc__)
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE", help="results of participants")
    parser.add_argument("--json", action="store_true", help="the verdict as JSON, with the counts of each pair")
    options = parser.parse_args(arguments)
    try:
        verdict = judge(*read_all(options.files))
    except Refused as error:
        raise SystemExit(str(error)) from error
    for line in verdict.left_out:
        print(line, file=sys.stderr)
    print(json.dumps(asdict(verdict), indent=1) if options.json else as_text(verdict))


if __name__ == "__main__":
    main()
