"""Measures systems in turn in one process, and the memory of each in a process of its own."""

import gc
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
    warm_up: bool = True  # whether a first round does not count

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
    left: float  # seconds that the rest takes, without the memory, if it goes on like that
    done: bool  # whether everything is measured, the memory too
    measured: dict[str, Measured]  # what counts so far; a system appears with its first such round


class UnequalResultsError(RuntimeError):
    """The systems of a comparison do not do the same, so that their times mean nothing."""


def measure(
    comparison: Comparison, *, repeats: int, threads: int, minutes: float = math.inf
) -> Iterator[Progress]:
    """Measure the systems in turn, ``repeats`` times, usually after once that does not count.

    Yields after every step, so that what was measured is not lost when the caller stops. No round
    begins, after the first one that counts, that would not end within ``minutes``. The peak memory
    comes last, and is left out if the time is over by then. Results that the comparison's check
    refuses are an UnequalResultsError.
    """
    steps: dict[str, Step] = {}
    results: dict[str, object] = {}
    seconds: dict[str, list[float]] = {name: [] for name in comparison.systems}
    started, count, skipped = time.monotonic(), len(comparison.systems), int(comparison.warm_up)
    turns = (repeats + skipped) * count
    for turn in range(turns):
        done, name = turn // count, list(comparison.systems)[turn % count]
        spent = time.monotonic() - started
        if turn % count == 0 and done > skipped and spent * (done + 1) / done > 60 * minutes:
            break
        if name not in steps:
            steps[name] = comparison.systems[name]()
        taken, results[name] = _timed(steps[name])
        seconds[name].append(taken)
        spent = time.monotonic() - started
        rest = spent / (turn + 1) * (turns - turn - 1)
        left = max(0.0, min(rest, 60 * minutes - spent))
        counted = {n: s[skipped:] for n, s in seconds.items()}
        measured = {n: _measured(steps[n], s) for n, s in counted.items() if s}
        at = done + 1 - skipped
        step = Progress(
            round=at, name=name, seconds=taken, left=left, done=False, measured=measured
        )
        yield step
    _check(comparison, results)
    steps.clear()  # a GPU's memory is for the systems that are measured now
    if comparison.memory:
        measured = _with_memory(comparison, measured, threads, until=started + 60 * minutes)
    yield replace(step, left=0, done=True, measured=measured)


def _with_memory(
    comparison: Comparison, measured: Mapping[str, Measured], threads: int, *, until: float
) -> dict[str, Measured]:
    """Return what was measured with the peak memory, as far as there is time."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    found = dict(measured)
    for name, make in comparison.systems.items():
        if time.monotonic() < until:
            found[name] = replace(found[name], memory=_peak(make, threads))
    return found


def _check(comparison: Comparison, results: Mapping[str, object]) -> None:
    if comparison.check is not None:
        try:
            comparison.check(*results.values())
        except RuntimeError as error:
            raise UnequalResultsError(str(error)) from error


def _measured(step: Step, seconds: list[float]) -> Measured:
    note = getattr(step, "note", "")
    text = note(statistics.median(seconds)) if callable(note) else note
    return Measured(seconds=seconds, parameters=_parameters(step), note=text)


def _timed(step: Step) -> tuple[float, object]:
    getattr(step, "prepare", lambda: None)()
    _wait()
    started = time.perf_counter()
    result = step()
    _wait()
    return time.perf_counter() - started, result


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


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
