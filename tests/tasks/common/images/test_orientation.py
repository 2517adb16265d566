"""Orientations of EXIF, against Pillow's `exif_transpose`."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngInfo

from tasks.common.images.flat import read_flat
from tasks.common.images.orientation import (
    RotatedError,
    as_stored,
    check_exif,
    orientation_of,
    oriented,
)

PICTURE = np.random.default_rng(0).integers(0, 256, (4, 6, 3)).astype(np.uint8)
XMP = PngInfo()
XMP.add_itxt(
    "XML:com.adobe.xmp",
    '<rdf:RDF xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/>',
)


def noted(way):
    notes = Image.Exif()
    notes[274] = way
    return notes


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("way", range(1, 9))
def test_every_orientation_is_what_pillow_makes_of_it(tmp_path, kind, way):
    path = tmp_path / "a"
    kept = {"lossless": True} if kind == "WEBP" else {}
    Image.fromarray(PICTURE).save(path, kind, exif=noted(way), **kept)
    found = read_flat(path)
    (pixels,) = oriented(found.pages, found.orientation, exif="apply", path=path)
    with Image.open(path) as picture:
        np.testing.assert_array_equal(pixels, np.asarray(ImageOps.exif_transpose(picture)))
    np.testing.assert_array_equal(as_stored(pixels, way), PICTURE)
    (ignored,) = oriented(found.pages, found.orientation, exif="ignore", path=path)
    np.testing.assert_array_equal(ignored, PICTURE)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_a_turned_file_is_refused_by_name_with_what_to_choose(tmp_path, kind):
    path = tmp_path / "a.x"
    Image.fromarray(PICTURE).save(path, kind, exif=noted(3))
    found = read_flat(path)
    with pytest.raises(RotatedError, match=r"a\.x is rotated by its EXIF orientation, 3,.*CVAT"):
        oriented(found.pages, found.orientation, exif="refuse", path=path)


@pytest.mark.parametrize(
    ("kind", "options", "way"),
    [
        ("PNG", {"pnginfo": XMP}, 6),  # without EXIF
        ("JPEG", {"exif": noted(0)}, 1),  # no orientation has this number
        ("JPEG", {"exif": noted(9)}, 1),
        ("JPEG", {"exif": b"Exif\0\0II*\0\xff\xff\xff\xff"}, 1),  # damaged
    ],
)
def test_an_orientation_may_be_in_xmp_and_what_is_none_is_upright(kind, options, way):
    content = BytesIO()
    Image.fromarray(PICTURE).save(content, kind, **options)
    assert orientation_of(content.getvalue()) == way


def test_a_misspelt_policy_is_refused():
    with pytest.raises(ValueError, match="unknown exif 'aply'; did you mean 'apply'"):
        check_exif("aply")
