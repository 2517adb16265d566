"""What tests of segmentation's data share."""

import numpy as np
import pytest
import tifffile
from PIL import Image


def noise(*shape, dtype=np.uint8, high=256):
    """Return the same random whole numbers at every call."""
    return np.random.default_rng(0).integers(0, high, shape).astype(dtype)


@pytest.fixture
def masks(tmp_path):
    """Write rows of numbers, as PNG if they have 8 bits and else as TIFF."""

    def write(*rows, dtypes=()):
        paths = []
        for number, row in enumerate(rows):
            values = np.array([row], dtypes[number] if dtypes else np.uint8)
            deep = values.dtype != np.uint8
            paths.append(tmp_path / f"{number}.{'tif' if deep else 'png'}")
            (tifffile.imwrite if deep else save_png)(paths[-1], values)
        return paths

    return write


def save_png(path, values):
    Image.fromarray(values).save(path)
