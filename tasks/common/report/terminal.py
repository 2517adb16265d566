"""What a run prints: facts before it, lines during it, scores after it."""

import math
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.panel import Panel
from rich.table import Table


def print_facts(title: str, facts: Mapping[str, str]) -> None:
    """Print a box with a line per fact."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, fact in facts.items():
        table.add_row(name, fact)
    _console().print(Panel(table, title=title, title_align="left", expand=False))


def print_line(text: str) -> None:
    """Print a line, however long."""
    _console().print(text, soft_wrap=True)


def print_scores(
    title: str, columns: Sequence[str], rows: Mapping[str, Sequence[float | int | str]]
) -> None:
    """Print a table with the rows' names in its first column; NaN is printed as a dash."""
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for column in columns:
        table.add_column(column, justify="right")
    for name, values in rows.items():
        table.add_row(name, *map(_cell, values))
    _console().print(table)


def _console() -> Console:
    """Return a console that prints ``[x]`` and ``:x:`` as they are."""
    return Console(highlight=False, markup=False, emoji=False)


def _cell(value: float | str) -> str:
    if isinstance(value, float):
        return "-" if math.isnan(value) else f"{value:.3f}"
    return str(value)
