"""What tests of segmentation's data share."""

import numpy as np
import pytest
import tifffile
from PIL import Image


def refuses(message):
    """Expect an error that a user can mend, with a message that has this pattern."""
    return pytest.raises(ValueError, match=message)


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
