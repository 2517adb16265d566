"""Systems measured in turn in one process, and the memory of each in a process of its own."""

import multiprocessing
import re
import resource
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import torch

from tasks.common.machine.threads import prepare_cpu

Step = Callable[[], object]
"""Does what is measured, once; a ``prepare`` that it has is called before, and not measured."""

Make = Callable[[], Step]
"""Builds a system; a `functools.partial` of a module's function, so that a process can get it."""

_MEBI: Final = 2**20


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Systems that do the same.

    Attributes:
        title: What they do.
        systems: How each is built, by name.
        base: Which system each is compared with, by name.
        agree: Raises unless the systems' last results, in their order, are equal.
        memory: Whether the peak memory is of interest.
    """

    title: str
    systems: Mapping[str, Make]
    base: Mapping[str, str]
    agree: Callable[..., None] | None = None
    memory: bool = True


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What one system took.

    Attributes:
        seconds: Of each repeat.
        parameters: Of its network; None where there is none.
        memory: Peak in MiB above the process before the system was built; None if not measured.
    """

    seconds: list[float] = field(default_factory=list)
    parameters: int | None = None
    memory: float | None = None

    @property
    def median(self) -> float:
        """Median of the seconds."""
        return statistics.median(self.seconds)


def measure(comparison: Comparison, *, repeats: int, threads: int) -> dict[str, Measured]:
    """Return what each system took: one round that does not count, then ``repeats`` rounds.

    Args:
        comparison: The systems.
        repeats: Rounds, in each of which every system has its turn.
        threads: For torch's operators in the processes that measure memory.
    """
    steps = {name: make() for name, make in comparison.systems.items()}
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    results: dict[str, object] = {}
    for _ in range(repeats + 1):
        for name, step in steps.items():
            taken, results[name] = _timed(step)
            seconds[name].append(taken)
    if comparison.agree is not None:
        comparison.agree(*results.values())
    return {
        name: Measured(
            seconds=values[1:],
            parameters=_parameters(steps[name]),
            memory=_peak(comparison.systems[name], threads) if comparison.memory else None,
        )
        for name, values in seconds.items()
    }


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
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_peak_here, (make, threads))


def _peak_here(make: Make, threads: int) -> float:
    prepare_cpu(threads)
    cuda = torch.cuda.is_available()
    before = 0.0 if cuda else _resident()
    step = make()
    _forget_peak()
    for _ in range(2):
        step()
    return (torch.cuda.max_memory_allocated() / _MEBI if cuda else _resident()) - before


def _forget_peak() -> None:
    """Count the peak anew, without what building took for a moment; on Linux and CUDA."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    reset = Path("/proc/self/clear_refs")
    if reset.exists():
        reset.write_text("5")


def _resident() -> float:
    """Return the most memory that this process has had, in MiB."""
    status = Path("/proc/self/status")
    if status.exists():  # of this program; what getrusage says a process inherits on Linux
        found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text())
        return int(found[1]) / 1024 if found else 0.0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / _MEBI  # macOS counts bytes
