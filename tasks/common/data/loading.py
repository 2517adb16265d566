"""How images are loaded: by how many processes, and whether decoded images are kept."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import cv2

from backbones.errors import UserError
from tasks.common.files.shared_memory import free_scratch, scratch_folder
from tasks.common.machine import memory, threads
from tasks.common.machine.machine import Machine
from tasks.common.machine.memory import size_text
from tasks.common.machine.options import TrainerOptions
from tasks.common.options.decision import Decision
from tasks.common.resume.stop import leave_stopping_to_the_run

_MOST_WORKERS: Final = 8
_MOST_WITH_CACHE: Final = 4  # decoding is half of the work (benchmarks/RESULTS.md)
_SHARE: Final = 4  # a quarter of the free memory, at most
_LONGEST: Final = 107 - len("/pymp-12345678/listener-12345678")  # of a path, for a socket in it
_DISK_SHARE: Final = 2  # half of the free disk, at most: others write there as well


@dataclass(frozen=True, kw_only=True)
class Loading:
    """How a run loads its images."""

    workers: Decision  # the number of processes
    cache: Decision  # where decoded images are kept: ``memory``, ``disk`` or ``none``

    @property
    def processes(self) -> int:
        """How many processes load; 0 if the training process does."""
        return int(self.workers.value)

    @property
    def cached(self) -> bool:
        """Whether images are decoded once only."""
        return self.cache.value != "none"

    @property
    def folder(self) -> Path | None:
        """The folder of the temporary file of decoded images, if there is one."""
        return scratch_folder() if self.cache.value == "disk" else None


def choose_loading(
    options: TrainerOptions, where: Machine, *, size: int, once: Literal["image", "volume"]
) -> Loading:
    """Return how a run loads images that have ``size`` bytes in all, decoded, in each epoch.

    ``once`` is what is decoded for a sample: an image, or a volume of which it is a small part.
    """
    cache = choose_cache(
        options.cache,
        size=size * options.devices,
        free=memory.free_memory(),
        disk=free_scratch(),
        prefers_disk=once == "volume",
    )
    workers = choose_workers(
        options.workers,
        device=where.accelerator.value,
        cores=threads.cores() // options.devices,
        cached=cache.value != "none",
    )
    if workers.value != "0":
        check_sockets(scratch_folder())
    return Loading(workers=workers, cache=cache)


def choose_cache(
    wanted: str, *, size: int, free: int | None, disk: int, prefers_disk: bool
) -> Decision:
    """Return where decoded images are kept; refuse a disk that is wanted and too small.

    ``auto`` takes the memory if they fill at most a quarter of what is free; else, if
    ``prefers_disk``, a temporary file of at most half of the free disk. ``size`` is that of the
    images in all processes, in bytes, as are ``free``, of memory (None: unknown), and ``disk``.
    """
    place = scratch_folder() or "any folder for temporary files"
    if wanted == "disk" and size > disk:
        raise UserError(
            f"trainer.cache=disk needs {size_text(size)} for decoded images, and "
            f"{size_text(disk)} are free in {place}: set TMPDIR to a folder with more, or take "
            "memory, none or auto."
        )
    if wanted != "auto":
        where = f", a temporary file of {size_text(size)} in {place}" if wanted == "disk" else ""
        return Decision(wanted, f"as configured{where}")
    if free is not None and size * _SHARE <= free:
        fits = f"within a quarter of {size_text(free)} free"
        return Decision("memory", f"decoded images are {size_text(size)}, {fits}")
    reason = "this system does not say how much memory is free"
    if free is not None:
        most = f"a quarter of {size_text(free)} free"
        reason = f"decoded images are {size_text(size)}, more than {most}"
    if not prefers_disk:
        return Decision("none", reason)
    if size * _DISK_SHARE <= disk:
        there = f"a temporary file of {size_text(size)} in {place} (TMPDIR), {size_text(disk)} free"
        return Decision("disk", f"{reason}; {there}")
    return Decision(
        "none",
        f"{reason}, and more than half of {size_text(disk)} free in {place}: every file is "
        "decoded whenever it is needed, which is slow for volumes; set TMPDIR to a folder with "
        f"{size_text(size * _DISK_SHARE)} free, or take trainer.cache=disk",
    )


def choose_workers(wanted: int | str, *, device: str, cores: int, cached: bool) -> Decision:
    """Return how many processes load images.

    ``auto`` takes none on a CPU, where loading is 0.4 to 3 % of a training step
    (benchmarks/RESULTS.md); with a GPU all cores but one, at most 8, or 4 if images are ``cached``.
    """
    if wanted != "auto":
        return Decision(str(wanted), "as configured")
    if device == "cpu":
        return Decision("0", "the CPU is busy with training, loading is little")
    most = _MOST_WITH_CACHE if cached else _MOST_WORKERS
    spare = max(0, cores - 1)
    if spare < most:
        return Decision(str(spare), f"all but one of {cores} cores")
    work = "images are decoded once, what is left is augmentation" if cached else "enough to decode"
    return Decision(str(most), f"{work}; {cores} cores")


def check_sockets(folder: Path | None) -> None:
    """Raise UserError if the folder of temporary files has too long a path for workers' sockets.

    Python drops what it cannot send through one, and the training would wait for ever.
    """
    length = len(os.fsencode(folder.absolute())) if folder is not None else 0
    if length > _LONGEST:
        raise UserError(
            f"TMPDIR is {folder}, {length} bytes long, where processes that load put their "
            f"sockets; expected at most {_LONGEST} bytes. Set TMPDIR to a shorter path, or take "
            "trainer.workers=0."
        )


def prepare_worker(_worker: int) -> None:
    """Run OpenCV in one thread in a worker process; it would start one per core in each."""
    cv2.setNumThreads(0)
    leave_stopping_to_the_run()
