import math

import numpy as np
import pytest
import tifffile

from tasks.common.report.advice import without_training
from tasks.detection.data.images import Reading, range_advice, read_image
from tests.backbones.errors import refuses
from tests.tasks.detection.conftest import HEIGHT, WIDTH, noise, picture


@pytest.mark.parametrize(
    ("name", "options", "tolerance"),
    [
        ("a.png", {}, 0),
        ("a.tiff", {}, 0),
        ("a.jpg", {"quality": 98, "subsampling": 0}, 12),
        ("a.webp", {"lossless": True}, 0),
    ],
)
def test_colours_come_in_the_order_red_green_blue(save, name, options, tolerance):
    pixels = read_image(save(name, picture(), **options))
    assert pixels.shape == (HEIGHT, WIDTH, 3)
    assert np.abs(pixels.astype(int) - picture()).max() <= tolerance


def test_one_channel_is_the_luma_of_a_colour_file(save):
    pixels = read_image(save("a.png", noise()), in_channels=1)
    luma = noise() @ np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
    assert pixels.shape == (HEIGHT, WIDTH)
    assert np.abs(pixels - luma).max() <= 1
    gray = read_image(save("a.png", noise()[..., 0]))
    np.testing.assert_array_equal(gray, np.stack([noise()[..., 0]] * 3, axis=-1))


@pytest.mark.parametrize("in_channels", [1, 3])
@pytest.mark.parametrize(
    ("dtype", "bits"),
    [("uint16", 10), ("uint16", 16), ("int16", 12), ("uint32", 14), ("int32", 16)],
)
def test_the_bits_in_use_become_8(tmp_path, dtype, bits, in_channels):
    top = 2**bits - 1
    deep = np.linspace(0, top, HEIGHT * WIDTH).reshape(HEIGHT, WIDTH).astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", deep)
    reading = Reading(range=(0, top))
    pixels = read_image(tmp_path / "a.tif", in_channels=in_channels, reading=reading)
    assert pixels.dtype == np.uint8
    first = pixels.reshape(HEIGHT, WIDTH, -1)[..., 0]
    np.testing.assert_allclose(first, deep / top * 255, atol=0.51)


@pytest.mark.parametrize(
    ("ends", "expected"),
    [
        ([(0.42, 0.9)], "0,1"),
        ([(107.0, 255.0)], "0,255"),
        ([(3.0, 900.0), (0.0, 3000.0)], "0,4095"),
        ([(-1000.0, 3000.0)], "-1000,3000"),
        ([(0.5, 900.0)], "0.5,900"),
    ],
)
def test_the_range_that_is_advised_fits_more_than_one_image(ends, expected):
    assert range_advice(ends).endswith(f"data.range=[{expected}]")


def test_numbers_of_more_than_8_bits_are_refused_without_a_range(tmp_path):
    for dtype, values in {"int16": (-500, 3000), "float32": (0, 1), "uint16": (0, 4095)}.items():
        tifffile.imwrite(tmp_path / "a.tif", np.array([values] * 2, dtype))
        low, high = values
        with refuses(rf"a\.tif has numbers of type {dtype}, {low} to {high}; .*data.range="):
            read_image(tmp_path / "a.tif")
        with without_training(), refuses(r"on 8 bits; .*such as --range"):
            read_image(tmp_path / "a.tif")


def test_numbers_outside_of_the_range_are_refused_or_cut_off(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.array([[-500, 0, 250, 1000]], np.int16))
    with refuses(r"-500 to 1000, outside of 0 to 500; give what is to .*=\[-500,1000\]"):
        read_image(tmp_path / "a.tif", reading=Reading(range=(0, 500)))
    clipped = Reading(range=(0, 500), clipped=True)
    cut = read_image(tmp_path / "a.tif", in_channels=1, reading=clipped)
    assert cut.tolist() == [[0, 0, 128, 255]]
    tifffile.imwrite(tmp_path / "a.tif", np.array([[0, np.nan]], np.float32))
    with refuses(r"a\.tif has numbers that are NaN or infinite"):
        read_image(tmp_path / "a.tif", reading=clipped)


def test_several_pages_are_refused(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((5, 4, 4), np.uint8), photometric="minisblack")
    with refuses(r"a\.tif has 5 pages; expected the one that the boxes"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize(
    "given", [(5, 5), (1, 0), (0,), (0, 1, 2), (0, math.inf), (math.nan, 1), 255, "01", ("a", "b")]
)
def test_a_range_has_two_ends(given):
    with refuses(r"data.range takes the lowest .* got .+"):
        Reading(range=given)
