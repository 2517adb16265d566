"""Images that are decoded once, for all processes that load."""

from collections.abc import Callable, Sequence
from itertools import accumulate
from math import prod
from multiprocessing import Lock
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tasks.common.files.scratch import Scratch


class DecodedImages:
    """Keeps every image after it was first decoded, in memory that all worker processes share.

    Args:
        shapes: Of each image, by index.
        folder: Where a scratch file for them lies; None keeps them in memory.

    Raises:
        OSError: If there is not enough room in ``folder``.
    """

    def __init__(self, shapes: Sequence[tuple[int, ...]], *, folder: Path | None = None) -> None:
        self._shapes = list(shapes)
        # Before the images there is a byte for each, 1 once it is there.
        sizes = (prod(shape) for shape in shapes)
        self._starts = list(accumulate(sizes, initial=len(self._shapes)))
        self._scratch = Scratch(self._starts[-1], folder=folder)
        self._lock = Lock()

    def get(self, index: int, read: Callable[[], NDArray[np.uint8]]) -> NDArray[np.uint8]:
        """Return a copy of an image, decoded by ``read`` if no process has done so yet."""
        start, end = self._starts[index : index + 2]
        place = self._scratch.bytes(start, end).reshape(self._shapes[index])
        mark = self._scratch.bytes(index, index + 1)
        # The lock is for the order of writes: whoever sees the mark sees the whole image.
        with self._lock:
            is_filled = bool(mark[0])
        if not is_filled:
            place[...] = read()
            with self._lock:
                mark[0] = 1
        return place.copy()
