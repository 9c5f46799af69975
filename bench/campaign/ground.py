"""A host in this process in which cases run by its own validation and executor; import it where the host is loaded."""

from __future__ import annotations

import asyncio
import contextlib
import io
import logging
import signal
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import comfy.model_management
import execution

import nodes
from bench.campaign.cases import KEPT, SINK, VALUE, Call, graph_of
from bench.campaign.things import World
from bench.graphs import Graph

REFUSED = "refused"
"""The type of an error that the host told before it ran anything."""
INTERRUPTED = "interrupted"
LIMIT_S = 60.0
"""For one case, all of which are small: some hundred times what they take."""


@dataclass(frozen=True)
class Failure:
    """What a user would be told. kind: the exception's class, REFUSED or INTERRUPTED. node: the class that raised.

    place: file and line of the frame that raised, empty where nothing ran. rule: the host's name for a refusal.
    files: of all frames between the node and that one.
    """

    node: str
    kind: str
    message: str
    place: str = ""
    rule: str = ""
    files: tuple[str, ...] = ()


@dataclass(frozen=True)
class Ran:
    """What one graph did: what its last node gave, or how it failed, and the seconds that it took."""

    outputs: tuple[Any, ...]
    failure: Failure | None
    seconds: float


@dataclass
class Ground:
    """Runs calls. server: the host's server object that nodes talk to."""

    server: Any
    world: World = field(default_factory=World)

    def __post_init__(self) -> None:
        self._made: dict[str, Any] = {}
        self._kept: tuple[Any, ...] = ()
        nodes.NODE_CLASS_MAPPINGS.update({VALUE: _value_node(self), SINK: _sink_node(self)})

    def run(self, call: Call) -> Ran:
        """By validation and executor, with nothing cached from another run."""
        outputs = len(nodes.NODE_CLASS_MAPPINGS[call.node].RETURN_TYPES)
        graph, things = graph_of(call, outputs)
        self._made = {name: self.world.make(thing) for name, thing in things.items()}
        self._kept, started = (), time.monotonic()
        try:
            with silence(), limited():
                failure = self._executed(graph)
            return Ran(self._kept, failure, time.monotonic() - started)
        finally:
            self._made, self._kept = {}, ()
            forget_dead()

    def _executed(self, graph: Graph) -> Failure | None:
        valid, error, wanted, node_errors = asyncio.run(execution.validate_prompt("campaign", graph, None))
        if not valid or node_errors:
            return _refusal(graph, error, node_errors)
        executor = execution.PromptExecutor(
            self.server, execution.CacheType.CLASSIC, {"lru": 0, "ram": 0.0, "ram_inactive": 0.0}
        )
        executor.execute(graph, uuid.uuid4().hex, {"extra_pnginfo": {}}, wanted)
        return next((_failure(*message) for message in executor.status_messages if message[0] in _FAILED), None)


_FAILED = ("execution_error", "execution_interrupted")


def forget_dead() -> None:
    """Drop the host's entries of clones that ended with their graph while their model goes on, as it does here.

    The host collects garbage at every run as long as there is one.
    """
    loaded = comfy.model_management.current_loaded_models
    loaded[:] = [entry for entry in loaded if not entry.is_dead()]


def _failure(kind: str, data: Mapping[str, Any]) -> Failure:
    if kind == "execution_interrupted":
        return Failure(data["node_type"], INTERRUPTED, "")
    files = tuple(frame.strip().splitlines()[0] for frame in data["traceback"])
    place = files[-1] if files else ""
    return Failure(data["node_type"], data["exception_type"], data["exception_message"].strip(), place, files=files)


def _refusal(graph: Graph, error: Mapping[str, Any] | None, node_errors: Mapping[str, Any]) -> Failure:
    for node_id, found in node_errors.items():
        for each in found["errors"]:
            words = f"{each['message']}: {each['details']}"
            return Failure(graph[node_id]["class_type"], REFUSED, words, rule=each["type"])
    return Failure("", REFUSED, str(error), rule=str((error or {}).get("type", "")))


@contextmanager
def silence() -> Iterator[None]:
    """The host logs each failure with its whole traceback, which is the outcome here, and draws progress bars."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.disable(before)


class TooSlow(Exception):
    """A small case that takes longer than anybody waits."""


@contextmanager
def limited() -> Iterator[None]:
    """Raises TooSlow in the block after LIMIT_S; where the system has no such alarm, nothing."""

    def stop(*_: object) -> None:
        raise TooSlow(f"not done after {LIMIT_S:.0f} s")

    if not hasattr(signal, "setitimer"):
        yield
        return
    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, LIMIT_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _value_node(ground: Ground) -> type:
    class Value:
        """The object that a case calls by this name."""

        RETURN_TYPES = ("*",)
        FUNCTION = "value"
        CATEGORY = "bench"

        @classmethod
        def INPUT_TYPES(cls) -> dict:
            return {"required": {"name": ("STRING", {})}}

        def value(self, name: str) -> tuple:
            return (ground._made[name],)

    return Value


def _sink_node(ground: Ground) -> type:
    class Sink:
        """Keeps what it is given until the run is over."""

        RETURN_TYPES = ()
        FUNCTION = "take"
        CATEGORY = "bench"
        OUTPUT_NODE = True

        @classmethod
        def INPUT_TYPES(cls) -> dict:
            return {"required": {}, "optional": {f"out{k}": ("*",) for k in range(KEPT)}}

        def take(self, **given: Any) -> dict:
            ground._kept = tuple(given[name] for name in sorted(given))
            return {"ui": {}}

    return Sink
