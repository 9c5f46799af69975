"""The frontier as Markdown and CSV: what each row costs, and what it keeps, against the reference mode."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from typing import TYPE_CHECKING

from bench.arms import UNGUIDED
from bench.figures import Row
from bench.frontier_arms import MODE
from bench.judges import INTRA_LPIPS
from bench.measures import KINDS, Taken
from bench.shares import Share, shares_of
from bench.tables import markdown

if TYPE_CHECKING:
    import pandas as pd  # checked for before days of work, and imported behind them

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
PASSES = ("model", "decoder")
MIB = 2**20
NONE = "–"
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

    def over(self, unit: str) -> pd.DataFrame:
        """Costs of each arm over those of another; NaN where one of the two was not measured, or the other's is 0.

        time: medians. model, decoder: passes forward and backward. memory: the sampler's peak; the decode's is the
        same for all.
        """
        import pandas as pd

        costs = {
            "time": {name: statistics.median(each) for name, each in self.seconds.items()},
            **{kind: {name: getattr(each, kind).total for name, each in self.taken.items()} for kind in PASSES},
            "memory": {name: each.sampling_bytes for name, each in self.taken.items()},
        }
        names = dict.fromkeys([*self.seconds, *self.taken, unit, *(row.arm.name for row in self.rows)])
        frame = pd.DataFrame(costs, list(names), dtype=float)
        return frame / frame.loc[unit].replace(0, float("nan"))

    def of_reference(self, row: Row, key: str) -> float | None:
        """Mean figure over the reference mode's on the same seeds."""
        reference = self.row(MODE)
        if reference is None:
            return None
        own, other = row.each.get(key, {}), reference.each.get(key, {})
        seeds = own.keys() & other.keys()
        whole = sum(other[seed] for seed in seeds)
        return sum(own[seed] for seed in seeds) / whole if whole else None


def frontier_table(frontier: Frontier) -> str:
    """The table: every figure over the reference mode's of the same run, its gain as the share that a row keeps."""
    costs = ["time, x MultiDiffusion", "time", "model passes", "decoder passes", "sampler's peak memory"]
    kept = [f"gain kept: {title}" for title in SHARED.values()]
    changes = [f"{title} x 1000, difference" for title in CHANGES.values()]
    times, over, lines = frontier.over(UNGUIDED)["time"], frontier.over(MODE), []
    for row in frontier.rows:
        name, enough = row.arm.name, row.count >= FEWEST
        cells = [times[name], *over.loc[name], *(frontier.of_reference(row, key) for key in COHERENCE)]
        shares = [_share(frontier.share(row, key), enough) for key in SHARED]
        changed = [_change(row, key) for key in CHANGES]
        variance = _ratio(frontier.of_reference(row, "variance"))
        lines.append([row.arm.title, str(row.count), *map(_ratio, cells), *shares, *changed, variance])
    return markdown(["x reference", "n", *costs, *COHERENCE.values(), *kept, *changes, "variance"], lines)


def cost_table(frontier: Frontier) -> str:
    """The same costs as they were measured, and over MultiDiffusion's."""
    kinds = ("model passes, windows", "decoder", "light decoder")
    passes = [part for kind in kinds for part in (kind, "backward")]
    ratios = [f"{title}, x MultiDiffusion" for title in ("model", "decoder", "sampler's memory")]
    over, lines = frontier.over(UNGUIDED).drop(columns="time"), []
    for row in frontier.rows:
        name = row.arm.name
        seconds, taken = frontier.seconds.get(name), frontier.taken.get(name)
        if seconds or taken:
            cells = [_seconds(seconds), *(_taken(taken) if taken else [NONE] * 8)]
            lines.append([row.arm.title, *cells, *map(_ratio, over.loc[name])])
    return markdown(["", "seconds", *passes, "sampler's peak MiB", "whole run's", *ratios], lines)


def bound_table(frontier: Frontier, names: Sequence[str]) -> str:
    """Of the main rows: the share that is kept at least, by the one-sided 95 % bound."""
    times, lines = frontier.over(UNGUIDED)["time"], []
    for row in (frontier.row(name) for name in names):
        shares = [frontier.share(row, key) for key in SHARED] if row else []
        if not any(shares) or row.arm.name == MODE:
            continue
        cells = [NONE if share is None else f"{share.least:.1%}" for share in shares]
        seeds = max(share.seeds for share in shares if share)
        lines.append([row.arm.title, str(seeds), *cells, _ratio(times[row.arm.name])])
    headings = ["gain kept at least (one-sided 95 %)", "n", *SHARED.values(), "time, x MultiDiffusion"]
    return markdown(headings, lines) if lines else ""


def frontier_csv(frontier: Frontier) -> str:
    """Every figure of every row, a row a line: costs, means with their intervals, shares with theirs."""
    import pandas as pd

    records = [_record(frontier, row) for row in frontier.rows]
    return pd.DataFrame(records, dtype=object).to_csv(index=False, lineterminator="\n")


def _record(frontier: Frontier, row: Row) -> dict[str, object]:
    name = row.arm.name
    record: dict[str, object] = {"arm": name, "title": row.arm.title, "panoramas": row.count}
    each = frontier.seconds.get(name)
    record["seconds"] = _number(statistics.median(each)) if each else None
    if each:
        record["seconds low"], record["seconds high"], record["times"] = min(each), max(each), len(each)
    for title, unit in (("multidiffusion", UNGUIDED), ("reference", MODE)):
        record[f"time_over_{title}"] = _number(frontier.over(unit).at[name, "time"])
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


def _number(value: float) -> float:
    return float(f"{value:.6g}")


def _ratio(value: float | None) -> str:
    return NONE if value is None or isnan(value) else f"{value:.2f}"


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
