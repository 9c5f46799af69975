"""A region in front of what is there: CONDITIONING whose weights sum at every place and time to what they did before.

The host takes the mean of all conditions that are active at a place and a step, by their weights. What a region takes
of its place is therefore taken from what is behind it, and given back while the region is not active.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import comfy.utils
import torch
from torch import Tensor

from ....syncdiffusion_core.regions import behind
from .bootstrapping import NOTHING

Weight = float | Tensor
"""[B, H, W], or one number for everywhere."""
Span = tuple[float, float]
"""Shares of the schedule, from its start."""

SLACK = 1e-5
"""How far a region goes on beyond either end of its range, as a share of the schedule.

The host's ranges hold both of their ends, so that two which meet are both active there: they meet beside the round
numbers that steps fall on. They do not leave a gap either, for noise levels are round only to some digits.
"""
ENDS = ("start_percent", "end_percent")


@dataclass(frozen=True, eq=False)
class _Layer:
    """An entry of CONDITIONING. mask: scaled to the canvas, 1 for none. counts: whether its weight is known here."""

    entry: list
    span: Span
    mask: Weight
    counts: bool

    @property
    def weight(self) -> Weight:
        """What the host gives it, at any place."""
        options = self.entry[1]
        return self.mask * (options.get("mask_strength", 1.0) * options.get("strength", 1.0))

    def active(self, span: Span) -> bool:
        """Whether it is in all of a span between two ends of ranges."""
        return self.span[0] <= span[0] and span[1] <= self.span[1]


def in_front(conditioning: list, region: list, place: Tensor, strength: float) -> tuple[list, list]:
    """What is there behind a region [B, H, W], and the region's own entries, with masks and ranges.

    The region's entries share what is taken from the others: as much as their own masks cover, wherever and whenever
    they are active. Default entries fill what others leave by themselves; areas are in cells of the canvas, which are
    not known here: they are not counted. Raises ValueError for masks in batches of other counts.
    """
    back = [_layer(entry, "conditioning", place) for entry in conditioning]
    front = [_widened(_layer(entry, "region", place)) for entry in region]
    spans = _spans([*back, *front])
    crowds = [_sum(layer.weight for layer in front if layer.active(span)) for span in spans]
    wholes = [_whole(back, span) for span in spans]
    left = [behind(1.0, _times(place, _at_most_1(crowd)), strength) if _any(crowd) else 1.0 for crowd in crowds]
    taken = [_times(place, 1 / _at_least_1(crowd)) for crowd in crowds]
    ours = [_times(part, whole / _top(whole)) for part, whole in zip(taken, wholes, strict=True)]
    strengths = [strength * _top(whole) for whole in wholes]
    as_before = [1.0] * len(spans)
    return (
        [piece for layer in back for piece in _pieces(layer, spans, left, as_before, 1.0, place)],
        [piece for layer in front for piece in _pieces(layer, spans, ours, strengths, place, place)],
    )


def _layer(entry: list, name: str, place: Tensor) -> _Layer:
    options = entry[1]
    mask = options.get("mask")
    if mask is not None:
        mask = scaled(mask.reshape(-1, *mask.shape[-2:]).to(place), place.shape[-2:])
        if len(mask) != len(place) and 1 not in (len(mask), len(place)):
            raise ValueError(
                f"{name}: its masks are a batch of {len(mask)} and the region is one of {len(place)}; give one mask, "
                "or as many on either side"
            )
    return _Layer(entry, _span(options), 1.0 if mask is None else mask, options.get("area") is None)


def _span(options: dict) -> Span:
    """When the host has an entry active; encodings that a schedule of hooks made have a range of their own."""
    start, end = options.get("start_percent", 0.0), options.get("end_percent", 1.0)
    if "clip_start_percent" in options:
        return max(start, options["clip_start_percent"]), min(end, options["clip_end_percent"])
    return start, end


def _widened(layer: _Layer) -> _Layer:
    """By the slack at ends within the schedule; a range that ends before it starts stays one."""
    start, end = layer.span
    if start > end:
        return layer
    span = (start - SLACK if start > 0 else start, end + SLACK if end < 1 else end)
    return _Layer(_during(layer.entry, layer.span, span), span, layer.mask, layer.counts)


def _spans(layers: Sequence[_Layer]) -> list[Span]:
    """The schedule cut at all ends of ranges."""
    inside = {end for layer in layers for end in layer.span if 0 < end < 1}
    ends = [0.0, *sorted(inside), 1.0]
    return list(zip(ends[:-1], ends[1:], strict=True))


def _whole(layers: Sequence[_Layer], span: Span) -> Weight:
    """What the layers weigh together in a span, 1 where there is none."""
    active = [layer for layer in layers if layer.active(span)]
    total = _sum(layer.weight for layer in active if layer.counts and "default" not in layer.entry[1])
    if any("default" in layer.entry[1] for layer in active):
        return _at_least_1(total)
    return torch.where(total > NOTHING, total, 1.0) if isinstance(total, Tensor) else total or 1.0


def _pieces(
    layer: _Layer,
    spans: Sequence[Span],
    factors: Sequence[Weight],
    strengths: Sequence[float],
    idle: Weight,
    like: Tensor,
) -> list[list]:
    """The entry with a factor on its mask and one on its strength for each span; spans alike are one piece.

    idle: the factor of an entry that is active in no span: at one level of noise at most.
    """
    if "default" in layer.entry[1]:
        return [layer.entry]
    runs: list[list] = []
    for span, factor, strength in zip(spans, factors, strengths, strict=True):
        if not layer.active(span):
            continue
        if runs and runs[-1][2] == strength and _equal(runs[-1][1], factor):
            runs[-1][0] = (runs[-1][0][0], span[1])
        else:
            runs.append([span, factor, strength])
    return [
        _masked(_during(layer.entry, layer.span, span), _times(layer.mask, factor), strength, like)
        for span, factor, strength in runs or [[layer.span, idle, 1.0]]
    ]


def _during(entry: list, own: Span, span: Span) -> list:
    """The entry in another range than its own.

    It is written twice: the first, which all nodes read, is replaced where a later one sets a range for everything, and
    the second then still keeps the pieces of one entry apart.
    """
    if own == span:
        return entry
    ranges = {f"{kind}{end}": at for kind in ("", "clip_") for end, at in zip(ENDS, span, strict=True)}
    return [entry[0], {**entry[1], **ranges}]


def _masked(entry: list, mask: Weight, strength: float, like: Tensor) -> list:
    tensor, options = entry
    settings = {} if options.get("mask") is not None else {"set_area_to_bounds": False}
    settings["mask_strength"] = strength * options.get("mask_strength", 1.0)
    full = mask if isinstance(mask, Tensor) else torch.full_like(like[:1], mask)
    return [tensor, {**options, **settings, "mask": full}]


def scaled(mask: Tensor, size: tuple[int, int]) -> Tensor:
    """[B, h, w] -> [B, H, W] as the host scales a condition's mask to the canvas."""
    return comfy.utils.common_upscale(mask[:, None], size[1], size[0], "bilinear", "none")[:, 0]


def _sum(weights: object) -> Weight:
    return sum(weights, 0.0)


def _times(one: Weight, other: Weight) -> Weight:
    """Their product, without a copy where one is 1: masks of large canvases take a gigabyte."""
    if not isinstance(other, Tensor) and other == 1:
        return one
    return other if not isinstance(one, Tensor) and one == 1 else one * other


def _at_least_1(weight: Weight) -> Weight:
    return weight.clamp(min=1) if isinstance(weight, Tensor) else max(weight, 1.0)


def _at_most_1(weight: Weight) -> Weight:
    return weight.clamp(max=1) if isinstance(weight, Tensor) else min(weight, 1.0)


def _top(weight: Weight) -> float:
    return float(weight.max()) if isinstance(weight, Tensor) else weight


def _any(weight: Weight) -> bool:
    return isinstance(weight, Tensor) or weight > 0


def _equal(one: Weight, other: Weight) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return one is other or torch.equal(one, other)
    return not isinstance(one, Tensor) and not isinstance(other, Tensor) and one == other
