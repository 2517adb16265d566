"""Memory, or a temporary file, for decoded data that worker processes share."""

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

from tasks.common.machine.memory import size_text


class Scratch:
    """Bytes that this process shares with those it starts: in a file in ``folder``, or in memory.

    In memory they do not use ``/dev/shm``, which is small in containers. A file has no name, so it
    disappears with the last process, even a killed one, and is allocated at once, so that a disk
    that fills up later does not matter. OSError says what to do if there is too little space.
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
        """Return what a spawned process gets."""
        return {"size": self.size, "descriptor": reduction.DupFd(self._descriptor)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take over the file in a spawned process."""
        self.size, self._map = state["size"], None
        self._own(state["descriptor"].detach())


def scratch_folder() -> Path | None:
    """Return the folder of temporary files: TMPDIR or the system's; None if none is writable."""
    try:
        return Path(tempfile.gettempdir())
    except FileNotFoundError:
        return None


def free_scratch() -> int:
    """Return how many bytes are free in the folder of temporary files."""
    folder = scratch_folder()
    return 0 if folder is None else shutil.disk_usage(folder).free


def _memory(size: int) -> int:
    """Return the descriptor of a file in memory."""
    if not hasattr(os, "memfd_create"):  # not Linux
        return _file(size, Path(tempfile.gettempdir()))
    descriptor = os.memfd_create("keel-decoded")
    os.ftruncate(descriptor, size)
    return descriptor


def _file(size: int, folder: Path) -> int:
    """Return the descriptor of a file without a name, with all its space allocated."""
    with tempfile.TemporaryFile(dir=folder, prefix="keel-") as file:
        try:
            if hasattr(os, "posix_fallocate"):  # not on macOS
                os.posix_fallocate(file.fileno(), 0, size)
            else:
                os.ftruncate(file.fileno(), size)
        except OSError as error:
            free = shutil.disk_usage(folder).free
            raise OSError(
                f"decoded images need {size_text(size)} in {folder}, and {size_text(free)} are "
                f"free there ({error.strerror}): set TMPDIR to a folder with more, or add "
                "trainer.cache=none to decode them whenever they are needed."
            ) from error
        return os.dup(file.fileno())
