"""Which files changed the numbers that were saved in them, by what they hold."""

from io import BytesIO

import numpy as np
import pytest
import tifffile
from PIL import Image

from tasks.common.images.flat import read_flat

NUMBERS = np.kron(np.eye(4, dtype=np.uint8), np.full((16, 16), 3, np.uint8))
RGB = np.stack([NUMBERS] * 3, axis=-1)
NOTES = Image.Exif()
NOTES[0x0131] = "software"


def saved(kind, **options):
    target = BytesIO()
    Image.fromarray(NUMBERS).save(target, kind, **options)
    return target.getvalue()


def tiff(compression, pixels=NUMBERS, *, tile=None, bigtiff=False, byteorder="<", **codec):
    target = BytesIO()
    layout = {"tile": tile, "bigtiff": bigtiff, "byteorder": byteorder}
    tifffile.imwrite(target, pixels, compression=compression, compressionargs=codec, **layout)
    return target.getvalue()


@pytest.mark.parametrize("name", ["a.tif", "a.png", "a.jpg"])
@pytest.mark.parametrize(
    ("expected", "content"),
    [
        ("a JPEG", lambda: saved("JPEG")),
        ("a lossy WebP", lambda: saved("WEBP")),
        ("a lossy WebP", lambda: saved("WEBP", exif=NOTES)),
        ("a JPEG within TIFF", lambda: tiff("jpeg")),
        ("a JPEG within TIFF", lambda: tiff("jpeg", tile=(16, 16), bigtiff=True, byteorder=">")),
        ("a lossy WebP within TIFF", lambda: tiff("webp", RGB, lossless=False)),
        ("a lossy JPEG 2000 within TIFF", lambda: tiff("jpeg2000", level=40)),
        ("a lossy JPEG 2000 within TIFF", lambda: tiff(33005, level=40, codecformat="j2k")),
        ("", lambda: saved("PNG")),
        ("", lambda: saved("BMP")),
        ("", lambda: saved("WEBP", lossless=True)),
        ("", lambda: tiff(None, np.full((8, 8, 3), (255, 216, 255), np.uint8))),
        ("", lambda: tiff("zlib")),
        ("", lambda: tiff("jpeg2000")),
        ("", lambda: tiff("png")),
        ("", lambda: tiff("webp", RGB, lossless=True)),
        ("", lambda: tiff("jpegxl")),
    ],
)
def test_a_lossy_compression_is_named(tmp_path, expected, content, name):
    (tmp_path / name).write_bytes(content())
    assert read_flat(tmp_path / name, stored=True).lossy == expected
