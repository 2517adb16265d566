"""Measures systems in turn in one process, and the memory of each in a process of its own."""

import math
import multiprocessing
import signal
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import torch

from tasks.common.machine.memory import own_peak
from tasks.common.machine.threads import prepare_cpu

Step = Callable[[], object]
"""Does once what is measured. May have the attributes ``prepare`` (called before, not measured),
``network`` (its parameters are counted) and ``note`` (a cell of the table, or a function that makes
one of the median seconds)."""

Make = Callable[[], Step]  # builds a system; a partial of a module's function, to be pickled

MEBI: Final = 2**20


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Systems that do the same."""

    title: str  # what they do
    systems: Mapping[str, Make]  # how each is built, by name
    # by name, the system that another is compared with; the first system by default
    base: Mapping[str, str] = field(default_factory=dict)
    check: Callable[..., None] | None = None  # raises unless the last results are equal
    memory: bool = True  # whether to measure the peak memory

    def base_of(self, name: str) -> str:
        """Return the system that one is compared with."""
        return self.base[name] if name in self.base else next(iter(self.systems))


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What one system took."""

    seconds: list[float] = field(default_factory=list)  # of each repeat
    parameters: int | None = None  # of its network; None if there is none
    memory: float | None = None  # peak in MiB above that before; None: not measured
    note: str = ""  # what the system says of itself

    @property
    def median(self) -> float:
        """Median of the seconds."""
        return statistics.median(self.seconds)


def device() -> torch.device:
    """Return the GPU if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a measurement is."""

    round: int  # the one that does not count is 0
    name: str  # of the system measured last
    seconds: float  # that it took
    left: float  # seconds that the rest takes, if it goes on like that
    measured: dict[str, Measured]  # what counts so far; a system appears with its first such round


def measure(
    comparison: Comparison, *, repeats: int, threads: int, minutes: float = math.inf
) -> Iterator[Progress]:
    """Measure the systems in turn, ``repeats`` times after once that does not count.

    Yields after every step, so that what was measured is not lost when the caller stops. No round
    begins, after the first one that counts, that would not end within ``minutes``. The peak memory
    comes last.
    """
    steps: dict[str, Step] = {}
    results: dict[str, object] = {}
    seconds: dict[str, list[float]] = {name: [] for name in comparison.systems}
    started, count = time.monotonic(), len(comparison.systems)
    for turn in range((repeats + 1) * count):
        at, name = turn // count, list(comparison.systems)[turn % count]
        spent = time.monotonic() - started
        if turn % count == 0 and at > 1 and spent * (at + 1) / at > 60 * minutes:
            break
        if name not in steps:
            steps[name] = comparison.systems[name]()
        taken, results[name] = _timed(steps[name])
        seconds[name].append(taken)
        spent = time.monotonic() - started
        left = min(spent / (turn + 1) * ((repeats + 1) * count - turn - 1), 60 * minutes)
        measured = {n: _measured(steps[n], s[1:]) for n, s in seconds.items() if s[1:]}
        yield Progress(round=at, name=name, seconds=taken, left=left, measured=measured)
    if comparison.check is not None:
        comparison.check(*results.values())
    for name, make in comparison.systems.items() if comparison.memory else ():
        measured[name] = replace(measured[name], memory=_peak(make, threads))
    yield Progress(round=at, name=name, seconds=taken, left=0, measured=measured)


def _measured(step: Step, seconds: list[float]) -> Measured:
    note = getattr(step, "note", "")
    text = note(statistics.median(seconds)) if callable(note) else note
    return Measured(seconds=seconds, parameters=_parameters(step), note=text)


def _timed(step: Step) -> tuple[float, object]:
    getattr(step, "prepare", lambda: None)()
    started = time.perf_counter()
    result = step()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started, result


def _parameters(step: Step) -> int | None:
    network = getattr(step, "network", None)
    return sum(p.numel() for p in network.parameters()) if network is not None else None


def _peak(make: Make, threads: int) -> float:
    """Return the peak memory in MiB of two steps, in a process of their own."""
    ignored = (signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that waits
    with multiprocessing.get_context("spawn").Pool(1, signal.signal, ignored) as pool:
        return pool.apply(_peak_here, (make, threads))


def _peak_here(make: Make, threads: int) -> float:
    prepare_cpu(threads)
    cuda, reset = torch.cuda.is_available(), Path("/proc/self/clear_refs")
    before = 0.0 if cuda else own_peak() / MEBI
    step = make()
    if cuda:  # what building took for a moment does not count
        torch.cuda.reset_peak_memory_stats()
    if reset.exists():
        reset.write_text("5")
    for _ in range(2):
        step()
    return (torch.cuda.max_memory_allocated() / MEBI if cuda else own_peak() / MEBI) - before
