"""A campaign's figures as Markdown and JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from bench.campaign.blocks import Place
from bench.campaign.strategies import SHARES
from bench.campaign.verdicts import Verdict
from bench.tables import head, line

HEADINGS = (
    "node",
    "cases",
    "results",
    "clear errors",
    "host's own",
    "unclear errors",
    "NaN",
    "changed bits",
    "left behind",
    "s",
)

HOSTS_OWN = "Host's own: raised by a node of ComfyUI before anything of this pack was asked."


@dataclass(frozen=True)
class Found:
    """An unclear error: how often, one place where it stands, and a small case that gives it."""

    signature: str
    count: int
    place: Place
    example: str = ""
    message: str = ""
    raised_at: str = ""


@dataclass(frozen=True)
class Figures:
    """Of one node."""

    node: str
    cases: int
    results: int
    clear: int
    host: int
    unclear: int
    nan: int
    changed: int
    left: int
    seconds: float

    def cells(self) -> list[str]:
        """Of its row."""
        numbers = (self.cases, self.results, self.clear, self.host, self.unclear, self.nan, self.changed, self.left)
        return [self.node, *(f"{number:,}" for number in numbers), f"{self.seconds:,.0f}"]


def figures_of(rows: Sequence[Mapping]) -> list[Figures]:
    """Node by node, the sum of all last."""
    each = [_figures(node, [row for row in rows if row["node"] == node]) for node in SHARES]
    each = [figures for figures in each if figures.cases]
    return [*each, _figures("all", rows)]


def _figures(node: str, rows: Sequence[Mapping]) -> Figures:
    def total(name: str) -> int:
        return sum(row[name] for row in rows)

    return Figures(
        node,
        total("cases"),
        *(total(verdict.value) for verdict in (Verdict.RESULT, Verdict.CLEAR, Verdict.HOST, Verdict.UNCLEAR)),
        nan=sum(len(row["nan"]) for row in rows),
        changed=sum("bits" in row["changed"] for row in rows),
        left=sum(bool(row["changed"].keys() - {"bits"}) for row in rows),
        seconds=total("seconds"),
    )


def unclear_of(rows: Sequence[Mapping], seed: int) -> list[Found]:
    """The distinct unclear errors, the most frequent first."""
    found: dict[str, list[Place]] = {}
    for row in rows:
        for signature, indices in row["unclear"].items():
            places = [Place(seed, row["node"], row["block"], index) for index in indices]
            found.setdefault(signature, []).extend(places)
    listed = [Found(signature, len(places), places[0]) for signature, places in found.items()]
    return sorted(listed, key=lambda each: -each.count)


def table(figures: Sequence[Figures], found: Sequence[Found], words: str) -> str:
    """Markdown: the figures, then every unclear error with its small case."""
    lines = [words, "", *head(HEADINGS), *(line(each.cells()) for each in figures)]
    lines += ["", HOSTS_OWN]
    lines += ["", f"Unclear errors: {sum(each.count for each in found)}, of {len(found)} kinds."]
    for each in found:
        lines += ["", f"**{each.count} x** {each.signature} ({each.place})"]
        if each.example:
            lines += ["", "```", each.example, each.message[:600], each.raised_at, "```"]
    return "\n".join(lines) + "\n"


def as_json(figures: Sequence[Figures], found: Sequence[Found]) -> dict:
    """The same for programs."""
    return {
        "nodes": [asdict(each) for each in figures],
        "unclear": [{**asdict(each), "place": str(each.place)} for each in found],
    }
