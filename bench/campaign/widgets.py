"""Hypothesis strategies for widgets, from what the nodes' own schemas allow."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from comfy_api.latest import io
from hypothesis import strategies as st

import nodes

AFFORDABLE = {"steps": 3, "width": 600, "height": 600, "wrap_margin": 160, "seed": 2**64 - 2}
"""Where a whole range would cost minutes, and what it costs is proportional: the largest that is tried.

The last seed is left out: the host itself adds 1 to it.
"""
PLACES = 4
"""Decimals of a number: what a widget shows, and a few more that a prompt may hold."""
DOWNLOAD = "download"
"""What a choice begins with that the network would be asked for."""


@cache
def inputs_of(node: str) -> tuple[io.Input, ...]:
    """What a node of the pack declares."""
    return tuple(nodes.NODE_CLASS_MAPPINGS[node].define_schema().inputs)


def widget(given: io.Input) -> st.SearchStrategy[Any]:
    """Values of a widget: its limits, its default, steps of it, and others that its limits allow."""
    return _KINDS[given.io_type](given)


def is_widget(given: io.Input) -> bool:
    """Whether a value can be typed in."""
    return given.io_type in _KINDS and not getattr(given, "force_input", False)


def _int(given: io.Int.Input) -> st.SearchStrategy[int]:
    low, high, step = given.min, min(given.max, AFFORDABLE.get(given.id, given.max)), given.step or 1
    steps = (high - low) // step
    return st.one_of(
        st.just(min(given.default, high)),
        st.integers(0, min(steps, 40)).map(lambda k: low + k * step),
        st.integers(0, steps).map(lambda k: low + k * step),
        st.integers(low, high),
        st.sampled_from((low, high)),
    )


def _float(given: io.Float.Input) -> st.SearchStrategy[float]:
    low, high = given.min, given.max
    return st.one_of(
        st.just(given.default),
        st.integers(0, 100).map(lambda k: round(low + (high - low) * k / 100, PLACES)),
        st.floats(low, high).map(lambda value: min(max(round(value, PLACES), low), high)),
        st.sampled_from((low, high)),
    )


def _combo(given: io.Combo.Input) -> st.SearchStrategy[str]:
    options = [each for each in given.options if not str(each).startswith(DOWNLOAD)]
    return st.sampled_from(sorted(options, key=lambda option: option != given.default))


def _string(given: io.String.Input) -> st.SearchStrategy[str]:
    lines = ("a meadow\na lake", "mountains", "(sea:1.2)\n\n\n", "\t", "x" * 3000, "kept", "../kept", "a/b", "CON")
    return st.one_of(st.just(given.default), st.sampled_from(lines), st.text(max_size=40))


_KINDS: dict[str, Callable[[Any], st.SearchStrategy[Any]]] = {
    "INT": _int,
    "FLOAT": _float,
    "COMBO": _combo,
    "BOOLEAN": lambda given: st.booleans(),
    "STRING": _string,
}
