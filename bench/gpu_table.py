"""The GPU check's report as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bench.gpu_time import Result
from bench.tables import head, line

FAILED = "failed"


def report(facts: Mapping[str, str], results: Sequence[Result]) -> str:
    """The machine, and a table for each section."""
    lines = ["# The pack on a GPU", "", *head(list(facts)), line(list(facts.values())), ""]
    lines += ["Networks of real size with random weights (`python -m bench.gpu`): costs and bits, no pictures.", ""]
    for result in results:
        lines += [f"## {result.title}", "", f"{result.note} ({result.seconds:.0f} s)", "", *table(result.rows), ""]
    return "\n".join(lines)


def table(rows: Sequence[Mapping[str, object]]) -> list[str]:
    """Rows with the columns that any of them has, what failed last."""
    columns = list(dict.fromkeys(key for row in rows for key in row if key != FAILED))
    columns += [FAILED] * any(FAILED in row for row in rows)
    return [*head(columns), *(line([cell(row.get(column)) for column in columns]) for row in rows)] if rows else []


def cell(value: object) -> str:
    """A value as people read it; nothing in it ends a table's cell."""
    if value is None:
        return "–"
    text = f"{value:.3g}" if isinstance(value, float) else str(value)
    return text.replace("|", "/").replace("\n", " ")
