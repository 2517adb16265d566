"""What a run prints: facts before it, lines during it, scores after it."""

import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final, TypeVar

from rich.console import Console
from rich.panel import Panel
from rich.table import Table

Item = TypeVar("Item")

_SILENT: Final = 5.0  # seconds between two lines of progress
_QUIET: Final = ContextVar("quiet", default=False)


@contextmanager
def quiet(*, on: bool = True) -> Iterator[None]:
    """Print nothing in a block, if ``on``, but lines that are printed with ``always``."""
    before = _QUIET.set(on)
    try:
        yield
    finally:
        _QUIET.reset(before)


def is_quiet() -> bool:
    """Return whether this is in a block of `quiet`."""
    return _QUIET.get()


def print_facts(title: str, facts: Mapping[str, str]) -> None:
    """Print a box with a line per fact."""
    if is_quiet():
        return
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, fact in facts.items():
        table.add_row(name, fact)
    _console().print(Panel(table, title=title, title_align="left", expand=False))


def print_line(text: str, *, always: bool = False) -> None:
    """Print a line, however long; ``always``: warnings, and what a run has come to."""
    if always or not is_quiet():
        _console().print(text, soft_wrap=True)


def duration(seconds: float) -> str:
    """Return a time for people, rounded.

    >>> duration(42.4), duration(150), duration(11_000)
    ('42 s', '2 min 30 s', '3 h 03 min')
    """
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"
    return f"{minutes // 60} h {minutes % 60:02} min"


def with_progress(items: Iterable[Item], *, total: int, what: str) -> Iterator[Item]:
    """Yield the items, and print a line such as ``12 of 34 <what>`` every 5 seconds."""
    printed = time.monotonic()
    for number, item in enumerate(items, start=1):
        yield item
        if time.monotonic() - printed > _SILENT and number < total:
            print_line(f"{number} of {total} {what}")
            printed = time.monotonic()


def print_scores(
    title: str, columns: Sequence[str], rows: Mapping[str, Sequence[float | int | str]]
) -> None:
    """Print a table with the rows' names in its first column; NaN is printed as a dash.

    Columns for which the terminal is too narrow are printed as a table below: no number is cut.
    """
    if is_quiet():
        return
    console = _console()
    cells = [[_cell(value) for value in values] for values in rows.values()]
    lengths = [
        max(map(len, [*heading.split(), *(row[i] for row in cells)]))
        for i, heading in enumerate(columns)
    ]
    room = console.width - max(map(len, " ".join(rows).split()), default=0) - len("┃  ┃")
    for part in _fitting(lengths, room):
        table = Table(title=title if 0 in part else None, title_justify="left")
        table.add_column("", overflow="fold")
        for i in part:
            table.add_column(columns[i], justify="right", min_width=lengths[i])
        for name, row in zip(rows, cells, strict=True):
            table.add_row(name, *(row[i] for i in part))
        console.print(table)


def _fitting(lengths: Sequence[int], room: int) -> list[list[int]]:
    """Return the columns, by number, of as many tables as are needed."""
    tables: list[list[int]] = [[]]
    left = room
    for i, length in enumerate(lengths):
        needed = length + len("  ┃")
        if tables[-1] and needed > left:
            tables.append([])
            left = room
        tables[-1].append(i)
        left -= needed
    return tables


def _console() -> Console:
    """Return a console that prints ``[x]`` and ``:x:`` as they are."""
    return Console(highlight=False, markup=False, emoji=False)


def _cell(value: float | str) -> str:
    if isinstance(value, float):
        return "-" if math.isnan(value) else f"{value:.3f}"
    return str(value)
