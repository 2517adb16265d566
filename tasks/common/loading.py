"""How images get to the network: by how many processes, and decoded how often."""

from dataclasses import dataclass
from typing import Final

import cv2

from backbones.choose import choose
from tasks.common import machine
from tasks.common.machine import Decision
from tasks.common.stop import leave_stopping_to_the_run
from tasks.common.trainer import Machine, TrainerOptions

CACHES: Final = ("auto", "memory", "none")
"""What ``trainer.cache`` takes."""

_MOST_WORKERS: Final = 8
_MOST_WITH_CACHE: Final = 4  # decoding is half of the work (benchmarks/RESULTS.md)
_SHARE: Final = 4  # a quarter of the free memory, at most
_SHARED_SHARE: Final = 2  # half of what processes can share; workers send their batches there


@dataclass(frozen=True, kw_only=True)
class Loading:
    """How a run loads its images.

    Attributes:
        workers: How many processes load, and why.
        cache: Whether decoded images stay in memory, ``memory`` or ``none``, and why.
    """

    workers: Decision
    cache: Decision

    @property
    def processes(self) -> int:
        """How many processes load; 0 for the training process itself."""
        return int(self.workers.value)

    @property
    def cached(self) -> bool:
        """Whether decoded images stay in memory."""
        return self.cache.value == "memory"


def choose_loading(
    options: TrainerOptions, where: Machine, *, size: int, shared: int | None = None
) -> Loading:
    """Return how a run loads its images.

    Args:
        options: What the user wants.
        where: The device.
        size: Bytes of all images that are read in each epoch, decoded.
        shared: Bytes that processes can share, if the images are to lie there.

    Raises:
        ValueError: As `choose_cache`.
    """
    free = machine.free_memory()
    cache = choose_cache(options.cache, size=size * options.devices, free=free, shared=shared)
    workers = choose_workers(
        options.workers,
        device=where.accelerator.value,
        cores=machine.cores() // options.devices,
        cached=cache.value == "memory",
    )
    return Loading(workers=workers, cache=cache)


def choose_cache(
    wanted: str, *, size: int, free: int | None, shared: int | None = None
) -> Decision:
    """Return whether decoded images stay in memory: if they fill a quarter of it at most.

    And half at most of what processes can share, where they lie in that.

    Args:
        wanted: One of `CACHES`.
        size: Bytes of the images in all processes.
        free: Bytes of memory; None if unknown.
        shared: Bytes that processes can share; None if that has no limit.

    Raises:
        ValueError: If ``wanted`` is unknown, or ``memory`` and more than processes can share.
    """
    choose(dict.fromkeys(CACHES), wanted, what="trainer.cache")
    if wanted == "memory" and shared is not None and size > shared:
        raise ValueError(
            f"trainer.cache=memory needs {_gigabytes(size)} of shared memory for decoded images, "
            f"and {_gigabytes(shared)} are free in /dev/shm: enlarge it (docker run --shm-size), "
            "or take auto or none."
        )
    if wanted != "auto":
        return Decision(value=wanted, reason="as told")
    if free is None:
        return Decision(value="none", reason="this system does not say how much memory is free")
    if shared is not None and size * _SHARED_SHARE > shared:
        return Decision(
            value="none",
            reason=f"decoded images are {_gigabytes(size)}, more than half of "
            f"{_gigabytes(shared)} free in /dev/shm",
        )
    fits = size * _SHARE <= free
    return Decision(
        value="memory" if fits else "none",
        reason=f"decoded images are {_gigabytes(size)}, {'' if fits else 'more than '}"
        f"{'within ' if fits else ''}a quarter of {_gigabytes(free)} free",
    )


def choose_workers(wanted: int | str, *, device: str, cores: int, cached: bool) -> Decision:
    """Return how many processes load images.

    On a CPU none: there loading is 0.4 to 3 % of a training step (benchmarks/RESULTS.md), and the
    cores are busy with the rest. Beside a GPU all cores but one, at most 8, or 4 that only augment.

    Args:
        wanted: ``auto`` or a number.
        device: ``cuda`` or ``cpu``.
        cores: Of this process.
        cached: Whether images are decoded once only.
    """
    if wanted != "auto":
        return Decision(value=str(wanted), reason="as told")
    if device == "cpu":
        return Decision(value="0", reason="the CPU is busy with training, loading is little")
    most = _MOST_WITH_CACHE if cached else _MOST_WORKERS
    spare = max(0, cores - 1)
    if spare < most:
        return Decision(value=str(spare), reason=f"all but one of {cores} cores")
    work = "images are decoded once, what is left is augmentation" if cached else "enough to decode"
    return Decision(value=str(most), reason=f"{work}; {cores} cores")


def prepare_worker(_worker: int) -> None:
    """Keep OpenCV's threads out of a process that loads: there are as many of them as cores."""
    cv2.setNumThreads(0)
    leave_stopping_to_the_run()


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.2g} GB"
