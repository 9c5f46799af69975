"""One participant's answers as the page gives them, checked before anything is made of them."""

import json
import math
from dataclasses import dataclass
from pathlib import Path

from bench.survey.pictures import Refused

FORMAT = "panorama-survey-1"
ARMS = ("a", "b")


@dataclass(frozen=True)
class Answer:
    """first: the arm that was shown left or on top. chosen: an arm too. seconds: for how long it was looked at."""

    pair: str
    vigilance: bool
    first: str
    chosen: str
    seconds: float

    def __post_init__(self) -> None:
        _check(type(self.pair) is str, "pair", "a text", self.pair)
        _check(type(self.vigilance) is bool, "vigilance", "true or false", self.vigilance)
        _check(self.first in ARMS, "first", "a or b", self.first)
        _check(self.chosen in ARMS, "chosen", "a or b", self.chosen)
        number = type(self.seconds) in (int, float) and math.isfinite(self.seconds) and self.seconds >= 0
        _check(number, "seconds", "a number, 0 or more", self.seconds)


@dataclass(frozen=True)
class Sheet:
    """The answers of one participant, by question. names: of both arms, None in what was copied from the page."""

    path: Path
    survey: str
    seed: int
    participant: int
    names: tuple[str, str] | None
    answers: dict[int, Answer]

    @property
    def checks(self) -> list[Answer]:
        """The vigilance pairs; b is right."""
        return [answer for answer in self.answers.values() if answer.vigilance]

    @property
    def asked(self) -> list[Answer]:
        """The pairs that are counted."""
        return [answer for answer in self.answers.values() if not answer.vigilance]

    @property
    def right(self) -> int:
        """Vigilance pairs answered right."""
        return sum(answer.chosen == "b" for answer in self.checks)

    @property
    def passed(self) -> bool:
        """Whether all vigilance pairs are right; true where there are none."""
        return self.right == len(self.checks)

    @property
    def preferred(self) -> int:
        """Pairs in which b was chosen."""
        return sum(answer.chosen == "b" for answer in self.asked)

    @property
    def questions(self) -> frozenset[tuple[int, str, bool]]:
        """What was asked: the same in all results of one page."""
        return frozenset((k, answer.pair, answer.vigilance) for k, answer in self.answers.items())


def read_sheet(path: Path) -> Sheet:
    """A result file; raises Refused with its path where it is damaged or no result."""
    try:
        return _sheet(path, json.loads(path.read_text(encoding="utf-8-sig")))
    except KeyError as error:
        raise Refused(f"{path}: {error.args[0]} is missing; give the file as it was downloaded") from error
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise Refused(f"{path}: {error}; give the file as it was downloaded") from error


def _sheet(path: Path, data: dict) -> Sheet:
    _check(
        isinstance(data, dict) and data.get("format") == FORMAT, "the file", f"a result of format {FORMAT}", "another"
    )
    _check(type(data["survey"]) is str, "survey", "a text", data["survey"])
    for field in ("seed", "participant"):
        _check(type(data[field]) is int, field, "a whole number", data[field])
    names = data.get("names")
    two = type(names) is list and len(names) == 2 and all(type(name) is str for name in names)
    _check(names is None or two, "names", "two texts", names)
    answers = {}
    for row in data["answers"]:
        question = row["question"]
        _check(type(question) is int and question not in answers, "question", "a number of its own", question)
        answers[question] = Answer(*(row[field] for field in ("pair", "vigilance", "first", "chosen", "seconds")))
    _check(any(not answer.vigilance for answer in answers.values()), "answers", "at least one pair", len(answers))
    return Sheet(path, data["survey"], data["seed"], data["participant"], tuple(names) if names else None, answers)


def _check(holds: bool, what: str, rule: str, got: object) -> None:
    if not holds:
        raise ValueError(f"{what} has to be {rule}, got {got!r}")
