"""One participant's answers as the page gives them, checked before anything is made of them."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from bench.survey.pictures import Refused

Arm = Literal["a", "b"]


class Answer(BaseModel):
    """first: the arm that was shown left or on top. chosen: an arm too. seconds: for how long it was looked at."""

    model_config = ConfigDict(strict=True)
    question: int
    pair: str
    vigilance: bool
    first: Arm
    chosen: Arm
    seconds: float = Field(ge=0, allow_inf_nan=False)


class Sheet(BaseModel):
    """The answers of one participant. names: of both arms, None in what was copied from the page."""

    model_config = ConfigDict(strict=True)
    format: Literal["panorama-survey-1"]
    survey: str
    seed: int
    participant: int
    names: tuple[str, str] | None = None
    answers: list[Answer]
    path: Path = Path()

    @field_validator("answers")
    @classmethod
    def _whole(cls, answers: list[Answer]) -> list[Answer]:
        if len({answer.question for answer in answers}) < len(answers):
            raise ValueError("every question has to have a number of its own")
        if all(answer.vigilance for answer in answers):
            raise ValueError("there has to be at least one pair beside the vigilance pairs")
        return answers

    @property
    def checks(self) -> list[Answer]:
        """The vigilance pairs; b is right."""
        return [answer for answer in self.answers if answer.vigilance]

    @property
    def asked(self) -> list[Answer]:
        """The pairs that are counted."""
        return [answer for answer in self.answers if not answer.vigilance]

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
        return frozenset((answer.question, answer.pair, answer.vigilance) for answer in self.answers)


def read_sheet(path: Path) -> Sheet:
    """A result file; raises Refused with its path where it is damaged or no result."""
    try:
        return Sheet.model_validate_json(path.read_text(encoding="utf-8-sig")).model_copy(update={"path": path})
    except ValidationError as error:
        first = error.errors()[0]
        why = f"{'.'.join(map(str, first['loc'])) or 'the file'}: {first['msg']}"
        raise Refused(f"{path}: {why}; give the file as it was downloaded") from error
    except (OSError, ValueError) as error:
        raise Refused(f"{path}: {error}; give the file as it was downloaded") from error
