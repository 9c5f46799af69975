"""What a campaign runs: a node with generated inputs, written down so that it can be printed and made again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from bench.graphs import Graph

VALUE, SINK = "SyncDiffusionCampaignValue", "SyncDiffusionCampaignSink"
"""Nodes of ground.py: one gives a made object to a graph, the other keeps what a node gives."""
KEPT = 8
"""Outputs that a sink takes at most."""


@dataclass(frozen=True)
class Thing:
    """An object that travels through a link, by what it is made of (things.py). kind: its socket's type."""

    kind: str
    settings: Mapping[str, object]

    def __repr__(self) -> str:
        return f"{self.kind}({_listed(self.settings)})"


@dataclass(frozen=True)
class Call:
    """A node with its inputs: widgets' values, things, and other nodes of which the output of that number is taken."""

    node: str
    inputs: Mapping[str, object]
    output: int = 0

    def __repr__(self) -> str:
        return f"{self.node}{f'[{self.output}]' if self.output else ''}({_listed(self.inputs)})"


@dataclass(frozen=True)
class Case:
    """node: the one that is tried. call: the graph's last node, which is that one or takes what it gives."""

    node: str
    call: Call

    def __repr__(self) -> str:
        return repr(self.call)


def _listed(settings: Mapping[str, object]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in settings.items())


def parts(value: object) -> Iterator[object]:
    """A call or thing and all that it is made of."""
    yield value
    inner = value.inputs if isinstance(value, Call) else value.settings if isinstance(value, Thing) else {}
    for each in inner.values():
        yield from parts(each)


def graph_of(call: Call, outputs: int) -> tuple[Graph, dict[str, Thing]]:
    """(API-format graph that ends in a sink for so many outputs, its things by the name that their node asks for)."""
    graph: Graph = {}
    things: dict[str, Thing] = {}
    last = _added(call, graph, things)
    graph["sink"] = {"class_type": SINK, "inputs": {f"out{k}": [last, k] for k in range(min(outputs, KEPT))}}
    return graph, things


def _added(part: Call | Thing, graph: Graph, things: dict[str, Thing]) -> str:
    """The id of the node that now stands for this part."""
    if isinstance(part, Thing):
        name = next((name for name, thing in things.items() if thing is part), f"thing{len(things)}")
        things[name] = part
        graph[name] = {"class_type": VALUE, "inputs": {"name": name}}
        return name
    inputs = {name: _input(value, graph, things) for name, value in part.inputs.items()}
    node_id = f"node{len(graph)}"
    graph[node_id] = {"class_type": part.node, "inputs": inputs}
    return node_id


def _input(value: object, graph: Graph, things: dict[str, Thing]) -> object:
    if isinstance(value, Call):
        return [_added(value, graph, things), value.output]
    return [_added(value, graph, things), 0] if isinstance(value, Thing) else value
