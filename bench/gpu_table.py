"""The GPU check's report as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bench.gpu_time import Result
from bench.tables import markdown

FAILED = "failed"


def report(facts: Mapping[str, str], results: Sequence[Result]) -> str:
    """The machine, and a table for each section."""
    said = "Networks of real size with random weights (`python -m bench.gpu`): costs and bits, no pictures."
    parts = [f"# The pack on a GPU\n\n{markdown(list(facts), [list(facts.values())])}\n{said}\n"]
    for result in results:
        parts.append(f"## {result.title}\n\n{result.note} ({result.seconds:.0f} s)\n\n{table(result.rows)}")
    return "\n".join(parts)


def table(rows: Sequence[Mapping[str, object]]) -> str:
    """Rows with the columns that any of them has, what failed last."""
    columns = list(dict.fromkeys(key for row in rows for key in row if key != FAILED))
    columns += [FAILED] * any(FAILED in row for row in rows)
    return markdown(columns, ([cell(row.get(column)) for column in columns] for row in rows)) if rows else ""


def cell(value: object) -> str:
    """A value as people read it; nothing in it ends a table's cell."""
    if value is None:
        return "–"
    text = f"{value:.3g}" if isinstance(value, float) else str(value)
    return text.replace("|", "/").replace("\n", " ")
