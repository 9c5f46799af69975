"""Nodes of other packs that a campaign can stand between its own: samplers, wrappers of them, patches of models."""

from __future__ import annotations

from collections.abc import Mapping

import nodes
from bench.campaign.cases import Call

LINKED = ("SAMPLER", "MODEL")
"""What is handed through: a node that gives one of them, and asks for no other link than one of its kind."""
FOREIGN: dict[str, list[str]] = {kind: [] for kind in LINKED}
"""Such nodes of the packs that were loaded, by what they give."""


def note(before: set[str]) -> dict[str, list[str]]:
    """Put what has come to the host's nodes since into FOREIGN, and return it. before: ids that there were."""
    new = sorted(nodes.NODE_CLASS_MAPPINGS.keys() - before)
    for kind in LINKED:
        FOREIGN[kind] += [name for name in new if _gives(name, kind)]
    return FOREIGN


def around(name: str, kind: str, inner: object) -> Call:
    """The node with its widgets as they come, around what its link of that kind asks for, if it has one."""
    inputs = {}
    for each, spec in _declared(name).items():
        if spec[0] == kind:
            inputs[each] = inner
        elif (value := _default(spec)) is not None:
            inputs[each] = value
    return Call(name, inputs)


def _gives(name: str, kind: str) -> bool:
    if tuple(nodes.NODE_CLASS_MAPPINGS[name].RETURN_TYPES) != (kind,):
        return False
    return all(spec[0] == kind or _default(spec) is not None for spec in _declared(name).values())


def _declared(name: str) -> Mapping[str, tuple]:
    """What a node cannot do without."""
    return nodes.NODE_CLASS_MAPPINGS[name].INPUT_TYPES().get("required", {})


def _default(spec: tuple) -> object:
    """A widget's value as the interface sends it, None for a link."""
    kind, settings = spec[0], spec[1] if len(spec) > 1 else {}
    options = kind if isinstance(kind, list) else settings.get("options", [])
    return settings.get("default", options[0] if options else None)
