"""What a survey asks: pairs drawn at random from two result folders, and vigilance pairs."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from random import Random

from PIL import Image

from bench.survey.pictures import Complain, Pair, Pairs, Refused, digest
from bench.survey.vigilance import Parts, montage


@dataclass(frozen=True)
class Question:
    """Two RGB pictures of one size. In a vigilance pair a is the montage, so that b is the right answer."""

    pair: str
    a: Image.Image
    b: Image.Image
    vigilance: bool = False
    prompt: str = ""


def draw(
    pairs: Pairs, count: int, vigilance: int, parts: Parts, random: Random, complain: Complain, prompts: dict[str, str]
) -> list[Question]:
    """``count`` questions and ``vigilance`` vigilance pairs, fewer of the former where there are fewer pairs.

    A vigilance pair shows a picture of the second folder, one that is not asked about where there is one.
    """
    names = random.sample(pairs.names, len(pairs.names))
    asked = list(islice(_readable(pairs, names), count))
    if not asked:
        raise Refused("no pair is left: see the pictures named above")
    if len(asked) < count:
        complain(f"{count} questions asked for, {len(asked)} pairs can be used: the page asks {len(asked)}")
    known = {pair.name for pair in asked}
    spare = [name for name in names if name not in known] + [pair.name for pair in asked]
    rows = _rows(_readable(pairs, spare), vigilance, parts, random)
    return [Question(pair.name, pair.a, pair.b, False, prompt_of(pair.name, prompts)) for pair in asked] + [
        Question(pair.name, row, pair.b, True, prompt_of(pair.name, prompts)) for pair, row in rows
    ]


def _rows(shown: Iterator[Pair], count: int, parts: Parts, random: Random) -> list[tuple[Pair, Image.Image]]:
    """``count`` panoramas with a montage each; again from the first where fewer can have one."""
    rows, failure = [], None
    while len(rows) < count and (pair := next(shown, None)):
        try:
            rows.append((pair, montage(pair.size, parts(pair, random))))
        except Refused as error:
            failure = error
    if not rows and failure:
        raise failure
    again = [(pair, montage(pair.size, parts(pair, random))) for pair, _ in islice(cycle(rows), count - len(rows))]
    return rows + again


def _readable(pairs: Pairs, names: list[str]) -> Iterator[Pair]:
    for name in names:
        pair = pairs.read(name)
        if pair is not None:
            yield pair


def read_prompts(path: Path | None) -> dict[str, str]:
    """Prompts by the name of a pair or of a folder: a JSON object of texts; none without a file."""
    if path is None:
        return {}
    rule = 'give a JSON object such as {"forest": "a forest in the fog", "city/12": "a city at night"}'
    try:
        prompts = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise Refused(f"--prompts {path}: {error}; {rule}") from error
    if not isinstance(prompts, dict) or not all(isinstance(text, str) for text in prompts.values()):
        raise Refused(f"--prompts {path}: not an object of texts; {rule}")
    return prompts


def prompt_of(name: str, prompts: dict[str, str]) -> str:
    """A pair's own prompt, or that of the nearest folder above it, or none."""
    while name not in prompts and "/" in name:
        name = name.rpartition("/")[0]
    return prompts.get(name, "")


def survey_id(questions: list[Question]) -> str:
    """Which pictures are asked about, in 16 hexadecimal digits; the order does not matter, what is a and b does."""
    lines = sorted(f"{digest(question.a)} {digest(question.b)} {question.vigilance}" for question in questions)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]
