"""What image libraries raise for a damaged file, as one error that names it."""

import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import cv2
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from PIL import Image as Pillow

_DAMAGE: Final = (
    *(OSError, SyntaxError, ValueError, EOFError, zlib.error, struct.error, cv2.error),
    *(ImageFileError, HeaderDataError, Pillow.DecompressionBombError),
)


@contextmanager
def decoding(path: Path) -> Iterator[None]:
    """Raise ValueError with the name of a file that a library cannot decode."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Pillow.DecompressionBombWarning)
            yield
    except _DAMAGE as error:
        raise ValueError(
            f"{path} cannot be decoded ({error}); restore the file or remove the case."
        ) from error
