"""Conditions that belong to some of the views: each view has prompts of its own.

A mark on an entry of CONDITIONING, which stock nodes pass on, names the views; an entry without one is for all.
"""

MARK = "syncdiffusion_views"
"""Of a condition: the numbers of the views that it belongs to, counted from 0 (people count them from 1)."""


def belongs(cond: dict, view: int) -> bool:
    """Whether a condition is a view's, by its number."""
    return MARK not in cond or view in cond[MARK]
