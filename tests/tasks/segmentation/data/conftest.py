"""What tests of segmentation's data share."""

import numpy as np
import pytest

from tests.tasks.segmentation.conftest import save


def noise(*shape, dtype=np.uint8, high=256):
    """Return the same random whole numbers at every call."""
    return np.random.default_rng(0).integers(0, high, shape).astype(dtype)


@pytest.fixture
def masks(tmp_path):
    """Write rows of numbers, as PNG if they have 8 bits and else as TIFF."""

    def write(*rows, dtypes=()):
        types = dtypes or [np.uint8] * len(rows)
        arrays = [np.array([row], t) for row, t in zip(rows, types, strict=True)]
        suffixes = ["png" if array.dtype == np.uint8 else "tif" for array in arrays]
        return [
            save(tmp_path / f"{n}.{suffix}", array)
            for n, (array, suffix) in enumerate(zip(arrays, suffixes, strict=True))
        ]

    return write
