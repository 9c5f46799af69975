"""Whether a host has what a graph asks for: it drops inputs that its nodes do not have without a word."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from bench.graphs import Graph

Declared = Mapping[str, Mapping[str, tuple]]
"""Inputs of a node as the host tells them: "required" and "optional", each a specification by name."""


def lacking(graph: Graph, declared: Callable[[str], Declared | None]) -> str | None:
    """What of the graph a host lacks, in words; None where it has all. declared: by class, None for no such node."""
    for node in graph.values():
        name, inputs = node["class_type"], declared(node["class_type"])
        if inputs is None:
            return f"no node {name}"
        if (lack := _lacking_input(node["inputs"], inputs)) is not None:
            return f"{name} {lack}"
    return None


def _lacking_input(given: Mapping[str, object], inputs: Declared) -> str | None:
    required, optional = inputs.get("required", {}), inputs.get("optional", {})
    if missing := required.keys() - given.keys():
        return f"wants '{min(missing)}'"
    for name, value in given.items():
        if name not in required and name not in optional:
            return f"has no input '{name}'"
        options = _options({**required, **optional}[name])
        if options is not None and not isinstance(value, list) and value not in options:
            return f"has no {name} '{value}'"
    return None


def _options(spec: tuple) -> list | None:
    """The values that an input may take, None for any."""
    kind, settings = spec[0], spec[1] if len(spec) > 1 else {}
    if isinstance(kind, list):
        return kind
    return settings.get("options") if kind == "COMBO" else None
