"""Room for decoded data that worker processes share, and that goes with the last of them."""

import mmap
import os
import shutil
import tempfile
from multiprocessing import reduction
from pathlib import Path
from typing import Any
from weakref import finalize

import numpy as np
from numpy.typing import NDArray


class Scratch:
    """Bytes in memory, or in a file, that every process sees which this one starts.

    The memory is not that of ``/dev/shm``, which is small in containers. The file has no name, or
    loses it at once, and its room is taken at the start: so a disk that fills up later does no
    harm, and a process that is killed leaves nothing behind.

    Args:
        size: In bytes.
        folder: Where the file lies; None for memory.

    Raises:
        OSError: If the room is not there; it says what to do.
    """

    def __init__(self, size: int, *, folder: Path | None) -> None:
        self.size = max(1, size)
        self._map: mmap.mmap | None = None
        self._own(_memory(self.size) if folder is None else _file(self.size, folder))

    def bytes(self, start: int, end: int) -> NDArray[np.uint8]:
        """Return the bytes from ``start`` to ``end``, which can be written to."""
        if self._map is None:
            self._map = mmap.mmap(self._descriptor, self.size)
        return np.frombuffer(self._map, np.uint8)[start:end]

    def _own(self, descriptor: int) -> None:
        self._descriptor = descriptor
        finalize(self, os.close, descriptor)

    def __getstate__(self) -> dict[str, Any]:
        """Return what a process is sent that does not inherit the file."""
        return {"size": self.size, "descriptor": reduction.DupFd(self._descriptor)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take over the file."""
        self.size, self._map = state["size"], None
        self._own(state["descriptor"].detach())


def scratch_folder() -> Path | None:
    """Return where scratch files go: TMPDIR, if it can be written to, or the system's folder."""
    try:
        return Path(tempfile.gettempdir())
    except FileNotFoundError:  # none can be written to
        return None


def free_scratch() -> int:
    """Return how many bytes are free there."""
    folder = scratch_folder()
    return 0 if folder is None else shutil.disk_usage(folder).free


def _memory(size: int) -> int:
    """Return the descriptor of a file that lies in memory only."""
    if not hasattr(os, "memfd_create"):  # not Linux
        return _file(size, Path(tempfile.gettempdir()))
    descriptor = os.memfd_create("keel-decoded")
    os.ftruncate(descriptor, size)
    return descriptor


def _file(size: int, folder: Path) -> int:
    """Return the descriptor of a file without a name, all of whose room is taken."""
    with tempfile.TemporaryFile(dir=folder, prefix="keel-") as file:
        try:
            _take(file.fileno(), size)
        except OSError as error:
            free = shutil.disk_usage(folder).free
            raise OSError(
                f"decoded images need {size / 1e9:.3g} GB in {folder}, and {free / 1e9:.3g} GB are "
                f"free there ({error.strerror}): set TMPDIR to a folder with more, or add "
                "trainer.cache=none to decode them whenever they are needed."
            ) from error
        return os.dup(file.fileno())


def _take(descriptor: int, size: int) -> None:
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
    else:
        os.ftruncate(descriptor, size)
