"""The frontier as Markdown and CSV: what each row costs, and what it keeps, against the reference mode."""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.arms import UNGUIDED
from bench.figures import Row
from bench.frontier_arms import MODE
from bench.judges import INTRA_LPIPS
from bench.measures import KINDS, Taken
from bench.shares import Share, shares_of
from bench.tables import head, line

GUIDING = f"{INTRA_LPIPS} (guiding network)"
COHERENCE = {
    GUIDING: "distance, guiding network",
    INTRA_LPIPS: "distance, second network",
    "agree": "label agreement",
    "label_distance": "label distance",
}
SHARED = {"agree": "label agreement", "label_distance": "label distance", INTRA_LPIPS: "second network"}
"""Figures that the targets are about; none of their networks has guided."""
CHANGES = {"kid": "KID", "giqa": "Mean-GIQA"}
"""Quality of crops, shown as the difference to the reference mode's."""
MIB = 2**20
NONE, HEAD = "–", 2
FEWEST = 16
"""Panoramas below which a row's KID, its GIQA and the intervals of its shares are not shown: they would say nothing."""


@dataclass(frozen=True)
class Frontier:
    """All that the table says. rows: figures by arm, changes against the reference mode.

    seconds: by arm, of each time that it was timed. taken: by arm.
    """

    rows: Sequence[Row]
    seconds: Mapping[str, Sequence[float]]
    taken: Mapping[str, Taken]

    def row(self, name: str) -> Row | None:
        """A row by its arm."""
        return next((row for row in self.rows if row.arm.name == name), None)

    def share(self, row: Row, key: str) -> Share | None:
        """Of the reference mode's gain over MultiDiffusion, what a row keeps."""
        base, reference = self.row(UNGUIDED), self.row(MODE)
        if base is None or reference is None or row.arm.name == UNGUIDED:
            return None
        return shares_of(row, base, reference, key)

    def median(self, name: str) -> float | None:
        """Median seconds of an arm."""
        return statistics.median(self.seconds[name]) if name in self.seconds else None

    def time(self, name: str, unit: str) -> float | None:
        """Seconds of an arm over those of another, medians both."""
        return _over(self.median(name), self.median(unit))

    def passes(self, name: str, kind: str, unit: str) -> float | None:
        """Passes forward and backward over those of another arm; kind: model or decoder."""
        own, other = self.taken.get(name), self.taken.get(unit)
        return None if own is None or other is None else _over(getattr(own, kind).total, getattr(other, kind).total)

    def memory(self, name: str, unit: str) -> float | None:
        """The sampler's peak memory over that of another arm; the decode's is the same for all."""
        own, other = self.taken.get(name), self.taken.get(unit)
        return None if own is None or other is None else _over(own.sampling_bytes, other.sampling_bytes)

    def of_reference(self, row: Row, key: str) -> float | None:
        """Mean figure over the reference mode's on the same seeds."""
        reference = self.row(MODE)
        if reference is None:
            return None
        own, other = row.each.get(key, {}), reference.each.get(key, {})
        seeds = own.keys() & other.keys()
        return _over(sum(own[seed] for seed in seeds), sum(other[seed] for seed in seeds)) if seeds else None


def frontier_table(frontier: Frontier) -> str:
    """The table: every figure over the reference mode's of the same run, its gain as the share that a row keeps."""
    costs = ["time, x MultiDiffusion", "time", "model passes", "decoder passes", "sampler's peak memory"]
    kept = [f"gain kept: {title}" for title in SHARED.values()]
    changes = [f"{title} x 1000, difference" for title in CHANGES.values()]
    lines = head(["x reference", "n", *costs, *COHERENCE.values(), *kept, *changes, "variance"])
    for row in frontier.rows:
        name = row.arm.name
        cells = [
            frontier.time(name, UNGUIDED),
            frontier.time(name, MODE),
            frontier.passes(name, "model", MODE),
            frontier.passes(name, "decoder", MODE),
            frontier.memory(name, MODE),
            *(frontier.of_reference(row, key) for key in COHERENCE),
        ]
        shares = [_share(frontier.share(row, key), row.count >= FEWEST) for key in SHARED]
        changed = [_change(row, key) for key in CHANGES]
        variance = _ratio(frontier.of_reference(row, "variance"))
        lines.append(line([row.arm.title, str(row.count), *map(_ratio, cells), *shares, *changed, variance]))
    return "\n".join(lines) + "\n"


def cost_table(frontier: Frontier) -> str:
    """The same costs as they were measured, and over MultiDiffusion's."""
    kinds = ("model passes, windows", "decoder", "light decoder")
    title = [part for kind in kinds for part in (kind, "backward")]
    lines = head(
        [
            "",
            "seconds",
            *title,
            "sampler's peak MiB",
            "whole run's",
            "model, x MultiDiffusion",
            "decoder, x MultiDiffusion",
            "sampler's memory, x MultiDiffusion",
        ]
    )
    for row in frontier.rows:
        name = row.arm.name
        seconds, taken = frontier.seconds.get(name), frontier.taken.get(name)
        if seconds is None and taken is None:
            continue
        cells = [_seconds(seconds), *(_taken(taken) if taken else [NONE] * 8)]
        ratios = [*(frontier.passes(name, kind, UNGUIDED) for kind in ("model", "decoder"))]
        lines.append(line([row.arm.title, *cells, *map(_ratio, [*ratios, frontier.memory(name, UNGUIDED)])]))
    return "\n".join(lines) + "\n"


def bound_table(frontier: Frontier, names: Sequence[str]) -> str:
    """Of the main rows: the share that is kept at least, by the one-sided 95 % bound."""
    lines = head(["gain kept at least (one-sided 95 %)", "n", *SHARED.values(), "time, x MultiDiffusion"])
    for row in (frontier.row(name) for name in names):
        shares = [frontier.share(row, key) for key in SHARED] if row else []
        if not any(shares) or row.arm.name == MODE:
            continue
        cells = [NONE if share is None else f"{share.least:.1%}" for share in shares]
        seeds = max(share.seeds for share in shares if share)
        lines.append(line([row.arm.title, str(seeds), *cells, _ratio(frontier.time(row.arm.name, UNGUIDED))]))
    return "\n".join(lines) + "\n" if len(lines) > HEAD else ""


def frontier_csv(frontier: Frontier) -> str:
    """Every figure of every row, a row a line: costs, means with their intervals, shares with theirs."""
    records = [_record(frontier, row) for row in frontier.rows]
    names = dict.fromkeys(name for record in records for name in record)
    file = io.StringIO()
    writer = csv.DictWriter(file, list(names), lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return file.getvalue()


def _record(frontier: Frontier, row: Row) -> dict[str, object]:
    name = row.arm.name
    record: dict[str, object] = {"arm": name, "title": row.arm.title, "panoramas": row.count}
    record["seconds"] = _number(frontier.median(name))
    if each := frontier.seconds.get(name):
        record["seconds low"], record["seconds high"], record["times"] = min(each), max(each), len(each)
    record["time_over_multidiffusion"], record["time_over_reference"] = (
        _number(frontier.time(name, unit)) for unit in (UNGUIDED, MODE)
    )
    if taken := frontier.taken.get(name):
        for kind in KINDS:
            passes = getattr(taken, kind)
            record[f"{kind}_forward"], record[f"{kind}_backward"] = passes.forward, passes.backward
        record["sampling_bytes"], record["peak_bytes"] = taken.sampling_bytes, taken.peak_bytes
    for key, triple in row.interval.items():
        record.update(_spread(key, triple))
    for key, triple in row.change.items():
        record.update(_spread(f"{key} - reference", triple))
    for key in SHARED:
        if share := frontier.share(row, key):
            record.update(_spread(f"{key} kept", (share.value, share.low, share.high)))
            record[f"{key} kept at least"] = _number(share.least)
    return record


def _spread(key: str, triple: tuple[float, float, float]) -> dict[str, object]:
    return dict(zip((key, f"{key} low", f"{key} high"), map(_number, triple), strict=True))


def _number(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.6g}")


def _over(own: float | None, other: float | None) -> float | None:
    return None if own is None or not other else own / other


def _ratio(value: float | None) -> str:
    return NONE if value is None else f"{value:.2f}"


def _seconds(each: Sequence[float] | None) -> str:
    """The median, and where there are several the range."""
    if not each:
        return NONE
    middle = f"{statistics.median(each):.2f}"
    return middle if len(each) == 1 else f"{middle} ({min(each):.2f} to {max(each):.2f})"


def _share(share: Share | None, with_interval: bool) -> str:
    if share is None:
        return NONE
    return f"{share.value:.0%} ({f'{share.low:.0%} to {share.high:.0%}' if with_interval else NONE})"


def _change(row: Row, key: str) -> str:
    if key not in row.change or row.count < FEWEST:
        return NONE
    return "{:+.0f} ({:+.0f} to {:+.0f})".format(*(1000 * value for value in row.change[key]))


def _taken(taken: Taken) -> list[str]:
    passes = [
        f"{part:.0f}" for each in (taken.model, taken.decoder, taken.light) for part in (each.forward, each.backward)
    ]
    return [*passes, *(f"{peak / MIB:.0f}" for peak in (taken.sampling_bytes, taken.peak_bytes))]
