"""A word now and then about what takes long."""

import time
from collections.abc import Iterable, Iterator
from typing import Final, TypeVar

from tasks.common.report.terminal import print_line

Item = TypeVar("Item")

_SILENT: Final = 5.0  # seconds between two lines


def with_progress(items: Iterable[Item], *, total: int, what: str) -> Iterator[Item]:
    """Yield the items; print how many there were every few seconds, but not at the end.

    Args:
        items: As they become ready.
        total: How many there will be.
        what: The rest of the line after ``12 of 34``.
    """
    said = time.monotonic()
    for number, item in enumerate(items, start=1):
        yield item
        if time.monotonic() - said > _SILENT and number < total:
            print_line(f"{number} of {total} {what}")
            said = time.monotonic()
