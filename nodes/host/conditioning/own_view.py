"""Conditions that belong to some of the views."""

MARK = "syncdiffusion_views"
"""Of a condition: the numbers of the views that it belongs to; all where there is none. Stock nodes pass it on."""


def belongs(cond: dict, view: int) -> bool:
    """Whether a condition is a view's, by its number."""
    return MARK not in cond or view in cond[MARK]
