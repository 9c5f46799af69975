"""Rows of figures as Markdown: the paper's layout, and intervals."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from bench.intervals import Triple

if TYPE_CHECKING:  # its packages are not on every machine that writes a table
    from bench.figures import Column, Row


def paper_table(rows: Sequence[Row], columns: Sequence[Column]) -> str:
    """Tables 2 and 3: mean ± standard deviation over prompts; a heading stands on a line of its own."""
    columns = _present(columns, rows, "by_prompt")
    lines, section = [], ""
    for row in rows:
        if row.arm.section != section:
            section = row.arm.section
            lines.append([f"**{section}**", *[""] * (len(columns) + 1)])
        cells = [_mean_sd(row.by_prompt.get(column.key), column) for column in columns]
        lines.append([row.arm.title, str(row.count), *cells])
    return markdown(["", "n", *(column.heading for column in columns)], lines)


def interval_table(rows: Sequence[Row], columns: Sequence[Column]) -> str:
    """Mean and 95 % interval over panoramas; what is of a set of them (KID) is of all prompts together."""
    columns = _present(columns, rows, "interval")
    cells = ([_triple(row.interval.get(column.key), column) for column in columns] for row in rows)
    lines = ([_full_title(row), str(row.count), *each] for row, each in zip(rows, cells, strict=True))
    return markdown(["", "n", *(column.heading for column in columns)], lines)


def change_table(rows: Sequence[Row], columns: Sequence[Column], baseline: str = "MultiDiffusion") -> str:
    """Difference to the baseline on the same seeds and size, with its 95 % interval."""
    changed = [row for row in rows if row.change]
    columns = _present(columns, changed, "change")
    cells = ([_triple(row.change.get(column.key), column, signed=True) for column in columns] for row in changed)
    lines = ([_full_title(row), *each] for row, each in zip(changed, cells, strict=True))
    return markdown([f"against {baseline}", *(column.heading for column in columns)], lines)


def _present(columns: Sequence[Column], rows: Sequence[Row], part: str) -> list[Column]:
    """The columns that some row has."""
    return [column for column in columns if any(column.key in getattr(row, part) for row in rows)]


def _full_title(row: Row) -> str:
    return f"{row.arm.title} ({row.arm.section})" if row.arm.section.startswith("Panorama size") else row.arm.title


def markdown(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table, and the end of its last line."""
    return "\n".join([*head(headings), *map(line, rows)]) + "\n"


def head(cells: Sequence[str]) -> list[str]:
    """The first two lines of a table."""
    return [line(cells), "|---" * len(cells) + "|"]


def line(cells: Sequence[str]) -> str:
    """A line of a table."""
    return "| " + " | ".join(cells) + " |"


def _mean_sd(value: tuple[float, float | None] | None, column: Column) -> str:
    if value is None:
        return "–"
    mean, deviation = value
    text = f"{mean * column.scale:.{column.digits}f}"
    return text if deviation is None else f"{text} ± {deviation * column.scale:.{column.digits}f}"


def _triple(value: Triple | None, column: Column, signed: bool = False) -> str:
    if value is None:
        return "–"
    mean, low, high = (v * column.scale for v in value)
    sign = "+" if signed else ""
    return f"{mean:{sign}.{column.digits}f} ({low:{sign}.{column.digits}f} to {high:{sign}.{column.digits}f})"
