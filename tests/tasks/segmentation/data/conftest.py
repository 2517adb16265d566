"""What tests of segmentation's data share."""

import numpy as np
import pytest

from tests.tasks.segmentation.conftest import save


def noise(*shape, dtype=np.uint8, high=256, seed=0):
    """Return the same random whole numbers at every call."""
    return np.random.default_rng(seed).integers(0, high, shape).astype(dtype)


@pytest.fixture
def masks(tmp_path):
    """Write rows of numbers in few bits, or in other types: as PNG in 8 bits, else as TIFF."""

    def write(*rows, dtypes=()):
        types = dtypes or [np.result_type(*map(np.min_scalar_type, row)) for row in rows]
        arrays = [np.array([row], t) for row, t in zip(rows, types, strict=True)]
        suffixes = ["png" if array.dtype == np.uint8 else "tif" for array in arrays]
        return [
            save(tmp_path / f"{n}.{suffix}", array)
            for n, (array, suffix) in enumerate(zip(arrays, suffixes, strict=True))
        ]

    return write
