"""Measures systems in turn in one process, and the memory of each in a process of its own."""

import multiprocessing
import resource
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import torch

from tasks.common.machine.memory import own_memory
from tasks.common.machine.threads import prepare_cpu

Step = Callable[[], object]
"""Does once what is measured. May have the attributes ``prepare`` (called before, not measured),
``network`` (its parameters are counted) and ``note`` (a cell of the table)."""

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


def measure(comparison: Comparison, *, repeats: int, threads: int) -> dict[str, Measured]:
    """Return what each system took in ``repeats`` rounds, after one that does not count."""
    steps = {name: make() for name, make in comparison.systems.items()}
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    results: dict[str, object] = {}
    for _ in range(repeats + 1):
        for name, step in steps.items():
            taken, results[name] = _timed(step)
            seconds[name].append(taken)
    if comparison.check is not None:
        comparison.check(*results.values())
    return {
        name: Measured(
            seconds=seconds[name][1:],
            parameters=_parameters(step),
            memory=_peak(comparison.systems[name], threads) if comparison.memory else None,
            note=getattr(step, "note", ""),
        )
        for name, step in steps.items()
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
    cuda, reset = torch.cuda.is_available(), Path("/proc/self/clear_refs")
    before = 0.0 if cuda else _resident()
    step = make()
    if cuda:  # what building took for a moment does not count
        torch.cuda.reset_peak_memory_stats()
    if reset.exists():
        reset.write_text("5")
    for _ in range(2):
        step()
    return (torch.cuda.max_memory_allocated() / MEBI if cuda else _resident()) - before


def _resident() -> float:
    """Return the most memory that this process has had, in MiB."""
    if Path("/proc/self/status").exists():  # getrusage includes the parent process's peak there
        return own_memory()[1] / MEBI
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MEBI  # macOS counts bytes
