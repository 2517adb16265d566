"""Images that are decoded once, for all processes that load."""

from collections.abc import Callable, Sequence
from ctypes import c_uint8
from itertools import accumulate
from math import prod
from multiprocessing import Lock
from multiprocessing.sharedctypes import RawArray

import numpy as np
from numpy.typing import NDArray


class DecodedImages:
    """Keeps every image after it was first asked for, in memory that worker processes share.

    So an image is decoded once in a run, whichever worker asks for it, and kept once, however many
    there are. All of the memory is taken at the start.

    Args:
        shapes: Of each image, by index.
    """

    def __init__(self, shapes: Sequence[tuple[int, ...]]) -> None:
        self._shapes = list(shapes)
        self._starts = list(accumulate((prod(shape) for shape in shapes), initial=0))
        self._bytes = RawArray(c_uint8, self._starts[-1])
        self._filled = RawArray(c_uint8, len(shapes))
        self._lock = Lock()

    def get(self, index: int, read: Callable[[], NDArray[np.uint8]]) -> NDArray[np.uint8]:
        """Return a copy of an image.

        Args:
            index: Of the image.
            read: Decodes it. Two workers may do so at once, and write the same.
        """
        start, end = self._starts[index : index + 2]
        memory = np.frombuffer(memoryview(self._bytes), np.uint8)
        place = memory[start:end].reshape(self._shapes[index])
        # The lock is for the order of writes: whoever sees the mark sees the whole image.
        with self._lock:
            is_filled = bool(self._filled[index])
        if not is_filled:
            place[...] = read()
            with self._lock:
                self._filled[index] = 1
        return place.copy()
