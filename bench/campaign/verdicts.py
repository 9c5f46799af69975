"""What a run came to: a result, a clear error, or one that nobody could act on."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.campaign.cases import Case, Thing, parts
from bench.campaign.ground import INTERRUPTED, REFUSED, Failure, Ran
from bench.campaign.strategies import DEMO, SHARES
from bench.campaign.things import is_finite
from bench.campaign.widgets import inputs_of

PACK_ROOT = Path(__file__).resolve().parents[2]
PACK_NODES = (*SHARES, DEMO)
LEAST = 30
"""Characters of a sentence."""
RULE_AND_REMEDY = re.compile(r"; \S.{9}")
"""What to do about it stands behind the rule and the value."""
ADVICE = re.compile(r"\n.*\b(?:use|take|choose|close|lower|smaller)\b", re.IGNORECASE)
"""After torch's own words, a line of ours."""
HOSTS_OWN = "custom_validation_failed"
"""The host's rule under which it shows what a node's validate_inputs said; under its others it speaks itself."""


class Verdict(str, Enum):
    """What a case came to."""

    RESULT = "result"
    CLEAR = "clear error"
    UNCLEAR = "unclear error"
    HOST = "host's own"


def verdict_of(failure: Failure | None) -> Verdict:
    """See is_clear. The host's own are errors of its nodes that were raised outside of anything of the pack."""
    if failure is None:
        return Verdict.RESULT
    if is_clear(failure):
        return Verdict.CLEAR
    return Verdict.UNCLEAR if failure.node in PACK_NODES or not failure.files or passes_us(failure) else Verdict.HOST


def is_clear(failure: Failure) -> bool:
    """Whether a user can act on it.

    Clear are: what the host refuses before the run in its own words; a ValueError of the pack's own that names an
    input, is a sentence and ends in a remedy, also before the run; lack of memory with advice; and an interrupt. All
    else is not: another exception, and a ValueError of torch or Python.
    """
    if failure.kind == INTERRUPTED:
        return True
    if failure.kind == REFUSED:
        own = failure.message.split(" - ", 1)[-1] if failure.rule == HOSTS_OWN else None
        return own is None or is_sentence(own)
    if "OutOfMemory" in failure.kind:
        return ADVICE.search(failure.message) is not None
    return failure.kind == "ValueError" and is_ours(failure) and is_sentence(failure.message)


def is_sentence(message: str) -> bool:
    """Whether words name an input or what is connected there, its rule and a remedy."""
    return len(message) >= LEAST and names_input(message) and RULE_AND_REMEDY.search(message) is not None


def names_input(message: str) -> bool:
    """Whether an input of one of the pack's nodes is named, as it stands there or as a person says it."""
    return any(re.search(rf"\b{re.escape(name)}\b", message) for name in _names())


@cache
def _names() -> frozenset[str]:
    """Ids of the pack's inputs, also with spaces and in the singular."""
    ids = {each.id for node in PACK_NODES for each in inputs_of(node)}
    spoken = {name.replace("_", " ") for name in ids}
    return frozenset(ids | spoken | {name.removesuffix("s") for name in spoken} | {"box"})


def is_ours(failure: Failure) -> bool:
    """Whether the pack itself raised it."""
    return _in_pack(failure.place)


def passes_us(failure: Failure) -> bool:
    """Whether code of the pack was running when it was raised, so that it could have said something."""
    return any(map(_in_pack, failure.files))


def _in_pack(frame: str) -> bool:
    return any(f"{PACK_ROOT}/{folder}/" in frame for folder in ("nodes", "syncdiffusion_core", "demo"))


def signature(failure: Failure) -> str:
    """The same for failures of one cause: node, exception, and its words without their numbers."""
    words = re.sub(r"[\d.]+", "#", failure.message.splitlines()[0] if failure.message else "")
    return f"{failure.node}: {failure.kind.rsplit('.', 1)[-1]}: {words[:160]}"


def has_nan(case: Case, ran: Ran) -> bool:
    """Whether a result holds NaN or infinity that nothing in its inputs did."""
    if ran.failure is not None or not all(is_finite(part) for part in parts(case.call) if isinstance(part, Thing)):
        return False
    return not all(bool(torch.isfinite(each).all()) for each in tensors_of(ran.outputs) if each.is_floating_point())


def tensors_of(value: Any) -> Iterator[Tensor]:
    """All tensors in what a node gives."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from tensors_of(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from tensors_of(each)
