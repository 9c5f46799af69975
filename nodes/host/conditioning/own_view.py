"""Conditioning that belongs to some views only: each view has prompts of its own.

A mark on an entry of CONDITIONING, which stock nodes pass on, names the views; an entry without one is for all of them.
"""

from collections.abc import Iterable

MARK = "syncdiffusion_views"
"""Of a condition: the numbers of the views that it belongs to, counted from 0 (people count them from 1)."""


def belongs(cond: dict, view: int) -> bool:
    """Whether a view is asked for this condition."""
    return MARK not in cond or view in cond[MARK]


def views_named(conds: Iterable[dict]) -> set[int]:
    """The views that any of these conditions names; none where every condition is for all."""
    return {view for cond in conds for view in cond.get(MARK, ())}
