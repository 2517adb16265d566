"""Progress of what takes long."""

import time
from collections.abc import Iterable, Iterator
from typing import Final, TypeVar

from tasks.common.report.terminal import print_line

Item = TypeVar("Item")

_SILENT: Final = 5.0  # seconds between two lines


def with_progress(items: Iterable[Item], *, total: int, what: str) -> Iterator[Item]:
    """Yield the items, and print a line such as ``12 of 34 <what>`` every 5 seconds."""
    printed = time.monotonic()
    for number, item in enumerate(items, start=1):
        yield item
        if time.monotonic() - printed > _SILENT and number < total:
            print_line(f"{number} of {total} {what}")
            printed = time.monotonic()
