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
XMP = '<rdf:RDF xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="{}"/>'


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


def test_xmp_counts_where_exif_has_none():
    notes = PngInfo()
    notes.add_itxt("XML:com.adobe.xmp", XMP.format(6))
    content = BytesIO()
    Image.fromarray(PICTURE).save(content, "PNG", pnginfo=notes)

    assert orientation_of(content.getvalue()) == 6


@pytest.mark.parametrize("way", [0, 9])
def test_what_is_no_orientation_is_upright(way):
    content = BytesIO()
    Image.fromarray(PICTURE).save(content, "JPEG", exif=noted(way))

    assert orientation_of(content.getvalue()) == 1


def test_damaged_exif_is_upright():
    content = BytesIO()
    Image.fromarray(PICTURE).save(content, "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")

    assert orientation_of(content.getvalue()) == 1


def test_a_misspelt_policy_is_refused():
    with pytest.raises(ValueError, match="unknown exif 'aply'; did you mean 'apply'"):
        check_exif("aply")
