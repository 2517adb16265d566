"""Where the time of a run goes: exactly one part is counted at any moment, so the parts add up."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

_SHOWN: Final = 0.05  # seconds; what is printed with one digit


class Part(StrEnum):
    """A part of a run's time, in the order of the table; docs/training.md explains each."""

    IMPORTS = "imports"
    SETUP = "set-up"
    CACHE = "feature cache"
    LOADING = "loading"
    STEPS = "training steps"
    VALIDATION = "validation"
    SCORING = "scoring"
    CHECKPOINTS = "checkpoints"
    TEST = "test"
    PICTURES = "pictures and curves"
    REST = "rest"


@dataclass(frozen=True, kw_only=True)
class Times:
    """The seconds of each part, in whole milliseconds, and how many images were trained on."""

    seconds: Mapping[Part, float]
    images: int

    @property
    def total(self) -> float:
        """The sum of the parts."""
        return round(sum(self.seconds.values()), 3)

    @property
    def rate(self) -> float | None:
        """Images a second of training: in steps and in waiting for batches; None without any."""
        spent = self.seconds[Part.LOADING] + self.seconds[Part.STEPS]
        return self.images / spent if self.images and spent else None

    def record(self) -> dict[str, Any]:
        """Return what ``metrics.json`` has of them; docs/training.md explains the keys."""
        return {
            "seconds": self.total,
            "seconds by part": dict(self.seconds),
            "images trained on": self.images,
            "images a second": None if self.rate is None else round(self.rate, 2),
        }

    def rows(self) -> dict[str, tuple[str, str]]:
        """Return seconds and share of each part above 0.05 s, to print; the sum comes last."""
        rows = {
            str(part): (f"{seconds:.1f}", f"{seconds / self.total:.0%}")
            for part, seconds in self.seconds.items()
            if seconds > _SHOWN
        }
        return {**rows, "in all": (f"{self.total:.1f}", "100%")}


class Clock:
    """Adds up the seconds of a run by part, from ``started`` on (by default from now on).

    A part is counted while it is the innermost one that was entered. Below those entered runs the
    part of `begin`, at first `Part.IMPORTS`. ``now`` returns seconds, those of ``started``.
    """

    def __init__(
        self, *, started: float | None = None, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._now = now
        self._since = now() if started is None else started
        self._seconds = dict.fromkeys(Part, 0.0)
        self._running = [Part.IMPORTS]

    def begin(self, part: Part) -> None:
        """Count ``part`` from now on wherever no part is entered."""
        self._count()
        self._running[0] = part

    def enter(self, part: Part) -> int:
        """Count ``part`` until it is left, or another is entered; return what `leave` takes."""
        self._count()
        self._running.append(part)
        return len(self._running) - 1

    def leave(self, depth: int) -> None:
        """Go on with the part that ran before, whatever was entered since and not left."""
        self._count()
        del self._running[depth:]

    @contextmanager
    def during(self, part: Part) -> Iterator[None]:
        """Count ``part`` in a block, errors included."""
        depth = self.enter(part)
        try:
            yield
        finally:
            self.leave(depth)

    def times(self, *, images: int) -> Times:
        """Return the seconds so far; ``images`` is how many were trained on."""
        self._count()
        seconds = {part: round(seconds, 3) for part, seconds in self._seconds.items()}
        return Times(seconds=seconds, images=images)

    def _count(self) -> None:
        now = self._now()
        self._seconds[self._running[-1]] += now - self._since
        self._since = now
