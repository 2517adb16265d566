"""Items that are computed in batches of a kind, and come out in their order."""

from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

_AHEAD: Final = 4  # batches' worth of items that wait for others of their kind, at most


@dataclass(eq=False)
class _Waiting(Generic[Item, Result]):
    item: Item
    key: Hashable
    results: list[Result]  # one, once it is there


class _Queue(Generic[Item, Result]):
    """Items in order, until their results are there."""

    def __init__(self, compute: Callable[[Sequence[Item]], Sequence[Result]], *, size: int) -> None:
        self._compute, self._size = compute, size
        self._waiting: deque[_Waiting[Item, Result]] = deque()
        self._groups: dict[Hashable, list[_Waiting[Item, Result]]] = {}

    def add(self, item: Item, key: Hashable) -> None:
        """Append an item; compute the group that it completes, and the first's if many wait."""
        entry: _Waiting[Item, Result] = _Waiting(item, key, [])
        self._waiting.append(entry)
        if key is None:
            self._finish([entry])
            return
        group = self._groups.setdefault(key, [])
        group.append(entry)
        if len(group) == self._size:
            self._finish(self._groups.pop(key))
        first = self._waiting[0]
        if len(self._waiting) >= _AHEAD * self._size and not first.results:
            self._finish(self._groups.pop(first.key))

    def ready(self) -> Iterator[tuple[Item, Result]]:
        """Yield the first items, as long as their results are there."""
        while self._waiting and self._waiting[0].results:
            first = self._waiting.popleft()
            yield first.item, first.results[0]

    def rest(self) -> Iterator[tuple[Item, Result]]:
        """Yield all items, computed where they are not yet."""
        while self._waiting:
            first = self._waiting[0]
            if not first.results:
                self._finish(self._groups.pop(first.key))
            yield from self.ready()

    def _finish(self, group: Sequence[_Waiting[Item, Result]]) -> None:
        results = self._compute([entry.item for entry in group])
        for entry, result in zip(group, results, strict=True):
            entry.results.append(result)


def in_batches(
    items: Iterable[Item],
    *,
    size: int,
    key: Callable[[Item], Hashable],
    compute: Callable[[Sequence[Item]], Sequence[Result]],
) -> Iterator[tuple[Item, Result]]:
    """Yield each item, in order, with what ``compute`` makes of it.

    Items of equal keys are computed together, ``size`` of them or fewer; one whose key is None is
    computed alone, at once. No more than 4 * ``size`` items wait for others, so that memory is
    bounded whatever their order.
    """
    queue = _Queue(compute, size=size)
    for item in items:
        queue.add(item, key(item))
        yield from queue.ready()
    yield from queue.rest()
