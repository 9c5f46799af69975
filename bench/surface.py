"""Whether a host has what a graph asks for: it drops inputs that its nodes do not have without a word."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from bench.graphs import Graph

Declared = Mapping[str, object]
"""Inputs of a node by name, each with the values that it may take (a list), or None for any."""


def lacking(graph: Graph, declared: Callable[[str], Declared | None]) -> str | None:
    """What of the graph a host lacks, in words; None where it has all. declared: by class, None for no such node."""
    for node in graph.values():
        inputs = declared(node["class_type"])
        if inputs is None:
            return f"no node {node['class_type']}"
        for name, value in node["inputs"].items():
            if name not in inputs:
                return f"{node['class_type']} has no input '{name}'"
            if inputs[name] is not None and not isinstance(value, list) and value not in inputs[name]:
                return f"{node['class_type']} has no {name} '{value}'"
    return None


def declared_inputs(info: Mapping[str, Mapping[str, tuple]]) -> Declared:
    """Of what a node says about its inputs (INPUT_TYPES, or /object_info's "input")."""
    specs = {name: spec for part in ("required", "optional") for name, spec in info.get(part, {}).items()}
    return {name: _options(spec) for name, spec in specs.items()}


def _options(spec: tuple) -> list | None:
    kind, settings = spec[0], spec[1] if len(spec) > 1 else {}
    if isinstance(kind, list):
        return kind
    return settings.get("options") if kind == "COMBO" else None
