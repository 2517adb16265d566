"""How far a long command is: a bar on a terminal, lines elsewhere."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from tasks.common.files.text import printable

_SILENT: Final = 5.0  # seconds between two plain lines of progress


@dataclass(frozen=True, kw_only=True)
class Step:
    """What has just been done: a line about it if there is anything to say, and how far that is."""

    text: str = ""
    done: int = 0
    total: int = 0  # 0 if the step is none of those that are counted


Show = Callable[[Step], None]


@contextmanager
def progress(what: str, console: Console | None = None) -> Iterator[Show]:
    """Give a function that shows steps; ``what`` is counted, such as "images".

    On a terminal the lines stand above a bar with the speed and the time that is left. Elsewhere a
    line begins with its number, ``12 of 340``, and steps without a line get one every 5 seconds.
    """
    where = console or Console(highlight=False, markup=False, emoji=False)
    with (_bar if where.is_terminal else _lines)(what, where) as show:
        yield show


@contextmanager
def _bar(what: str, console: Console) -> Iterator[Show]:
    columns = (
        TextColumn("{task.completed} of {task.total} {task.description}"),
        BarColumn(),
        _Speed(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = None  # the clock starts with the first step

        def show(step: Step) -> None:
            nonlocal task
            if step.text:
                bar.console.print(printable(step.text), soft_wrap=True)
            if step.total and task is None:
                task = bar.add_task(what, total=step.total)
            if step.total and task is not None:
                bar.update(task, completed=step.done, total=step.total)

        yield show


class _Speed(ProgressColumn):
    def render(self, task: Task) -> Text:
        """Return the speed of late."""
        return Text(f"{task.speed:.1f} {task.description}/s" if task.speed else "")


@contextmanager
def _lines(what: str, console: Console) -> Iterator[Show]:
    printed = time.monotonic()

    def show(step: Step) -> None:
        nonlocal printed
        counted = f"{step.done} of {step.total} " if step.total else ""
        if step.text or (counted and time.monotonic() - printed > _SILENT):
            console.print(f"{counted}{printable(step.text) or what}", soft_wrap=True)
            printed = time.monotonic()

    yield show
