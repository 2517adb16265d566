"""Flat images that are damaged, and those that become gray or RGB."""

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from tasks.common.images.flat import read_flat

PICTURE = np.random.default_rng(0).integers(0, 256, (40, 60, 3)).astype(np.uint8)


def save(path, picture, kind, **options):
    Image.fromarray(picture).save(path, kind, **options)
    return path


@pytest.mark.parametrize("channels", [None, 1, 3])
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "TIFF"])
def test_a_truncated_file_is_refused_with_its_name(tmp_path, kind, channels):
    path = save(tmp_path / "a.x", PICTURE, kind)
    content = path.read_bytes()
    for kept in (0, 30, len(content) // 2, len(content) - 12):
        path.write_bytes(content[:kept])
        with pytest.raises(ValueError, match=r"a\.x cannot be decoded"):
            read_flat(path, channels=channels)


@pytest.mark.parametrize("channels", [None, 1, 3])
def test_a_png_damaged_in_its_middle_is_refused(tmp_path, channels):
    path = save(tmp_path / "a.png", PICTURE, "PNG")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.png .*the check sum of its IDAT is wrong"):
        read_flat(path, channels=channels)


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "P", "1", "CMYK"])
@pytest.mark.parametrize("channels", [1, 3])
def test_everything_becomes_gray_or_rgb_as_pillow_makes_it(tmp_path, mode, channels):
    kind = "TIFF" if mode == "CMYK" else "PNG"
    smooth = np.add.outer(np.arange(40), np.arange(60)).astype(np.uint8)
    colours = np.stack([smooth, smooth[::-1], 255 - smooth], axis=-1)
    picture = Image.fromarray(colours).convert("RGBA" if mode == "LA" else "RGB").convert(mode)
    picture.save(tmp_path / "a.x", kind)
    (page,) = read_flat(tmp_path / "a.x", channels=channels).pages
    expected = np.asarray(picture.convert("RGB").convert("RGB" if channels == 3 else "L"))
    assert page.shape == expected.shape
    assert np.abs(page.astype(int) - expected).max() <= 1  # of rounding


@pytest.mark.parametrize("channels", [None, 3])
def test_colours_of_16_bits_stay_so_in_png(tmp_path, channels):
    deep = PICTURE.astype(np.uint16) * 257
    cv2.imwrite(str(tmp_path / "a.png"), deep[..., ::-1])
    np.testing.assert_array_equal(read_flat(tmp_path / "a.png", channels=channels).pages[0], deep)


def test_what_is_neither_gray_nor_rgb_is_refused(tmp_path):
    five = np.zeros((4, 4, 5), np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", five, photometric="minisblack", planarconfig="contig")
    with pytest.raises(ValueError, match=r"a\.tif .*it has 5 channels, which are neither"):
        read_flat(tmp_path / "a.tif", channels=3)


def test_another_kind_of_file_is_refused(tmp_path):
    (tmp_path / "a.png").write_text("no image")
    for channels in (None, 3):
        with pytest.raises(ValueError, match=r"a\.png cannot be decoded"):
            read_flat(tmp_path / "a.png", channels=channels)
