"""Intensities, neighbouring slices and patch sizes, against cases computed by hand."""

from pathlib import Path

import numpy as np
import pytest

from tasks.segmentation.data.input import (
    Preprocessing,
    choose_normalisation,
    choose_patch,
    choose_patches,
    scaling_of,
)
from tasks.segmentation.options import InputOptions
from tests.tasks.segmentation.conftest import refuses


def image(*channels, dtype=np.int16):
    """An image (C, D, H, W) of one row per channel."""
    return np.array(channels, dtype)[:, None, None]


def scaled(pixels, **options):
    return scaling_of(pixels, InputOptions(**options), source=Path("a.png"))(pixels)[:, 0, 0]


@pytest.mark.parametrize(
    ("row", "dtype", "expected"),
    [
        ([0, 51, 255], np.uint8, [0, 0.2, 1]),
        ([0, 65535], np.uint16, [0, 1]),
        ([0, 0.25, 1], np.float32, [0, 0.25, 1]),
    ],
)
def test_the_range_of_the_file_becomes_zero_to_one(row, dtype, expected):
    values = scaled(image(row, dtype=dtype), normalisation="imagenet")
    assert values[0] == pytest.approx(expected)


@pytest.mark.parametrize("pixels", [[-1, 0], [0, 255]])
def test_a_range_that_is_not_known_is_refused(pixels):
    with refuses(r"^a\.png has values from .* use zscore, percentile or window\.$"):
        scaled(image(pixels), normalisation="imagenet")


def test_a_window_is_cut_off_at_both_ends():
    values = scaled(image([-1000, -160, 40, 240, 3000]), normalisation="window", window=(-160, 240))
    assert values.tolist() == [[0, 0, 0.5, 1, 1]]


def test_percentiles_are_of_each_channel():
    ramp = np.arange(1001)
    values = scaled(image(ramp, ramp * 2 + 7), normalisation="percentile")
    assert values[0] == pytest.approx(((ramp - 5) / 990).clip(0, 1), abs=1e-5)
    assert values[1] == pytest.approx(values[0], abs=1e-5)


def test_zscore_is_of_each_channel_and_the_whole_case():
    volume = np.random.default_rng(0).normal(50, 7, (2, 3, 8, 8)).astype(np.float32)
    volume[1] *= 100
    scaling = scaling_of(volume, InputOptions(normalisation="zscore"), source=Path())
    out = scaling(volume)
    assert out.mean(axis=(1, 2, 3)) == pytest.approx([0, 0], abs=1e-4)
    assert out.std(axis=(1, 2, 3)) == pytest.approx([1, 1], abs=1e-4)
    assert scaling(volume[:, :1, 2:4]) == pytest.approx(out[:, :1, 2:4])


def test_an_image_that_is_nearly_of_one_value_stays_finite():
    pixels = np.full((1, 1, 100, 100), 255, np.uint8)
    pixels[0, 0, 0, :9] = 3
    out = scaling_of(pixels, InputOptions(normalisation="percentile"), source=Path())(pixels)
    assert set(np.unique(out)) == {0}


@pytest.mark.parametrize("normalisation", ["zscore", "percentile"])
def test_a_constant_channel_becomes_zero(normalisation):
    assert scaled(image([9, 9, 9]), normalisation=normalisation).tolist() == [[0, 0, 0]]


def test_a_slice_stands_between_its_neighbours_channel_by_channel():
    volume = np.zeros((2, 3, 1, 1), np.uint8)
    volume[0, :, 0, 0], volume[1, :, 0, 0] = (10, 20, 30), (110, 120, 130)
    scaling = scaling_of(volume, InputOptions(normalisation="imagenet"), source=Path())

    def seen(index):
        preprocessing = Preprocessing(mean=(0.0,) * 6, std=(1 / 255,) * 6, neighbours=1)
        plane = preprocessing(volume, index, scaling=scaling)
        return plane[:, 0, 0].round().astype(int).tolist()

    assert seen(1) == [10, 110, 20, 120, 30, 130]
    assert seen(0) == [10, 110, 10, 110, 20, 120]
    assert seen(2) == [20, 120, 30, 130, 30, 130]


def test_mean_and_std_of_the_weights_come_last():
    pixels = image([0, 255], [0, 255], dtype=np.uint8)
    scaling = scaling_of(pixels, InputOptions(normalisation="imagenet"), source=Path())
    preprocessing = Preprocessing(mean=(0.5, 0.2), std=(0.5, 0.1), neighbours=0)
    out = preprocessing(pixels, 0, scaling=scaling)
    assert out[:, 0].tolist() == [pytest.approx([-1, 1]), pytest.approx([-2, 8])]


@pytest.mark.parametrize(
    ("wanted", "dtypes", "value", "reason"),
    [
        ("auto", ["uint8"], "imagenet", "images of 8 bits"),
        ("auto", ["uint8", "uint16"], "zscore", "images of uint16, uint8"),
        ("window", ["int16"], "window", "as configured"),
    ],
)
def test_the_normalisation_follows_from_the_files(wanted, dtypes, value, reason):
    options = InputOptions(normalisation=wanted, window=(0, 1))
    decision = choose_normalisation(options, dtypes)
    assert (decision.value, decision.reason) == (value, reason)


@pytest.mark.parametrize(
    ("sizes", "multiple", "smallest", "patch"),
    [
        ([(120, 120), (112, 116), (300, 300)], 32, 32, (128, 128)),
        ([(512, 512)], 32, 32, (256, 256)),
        ([(129, 64)], 32, 32, (160, 64)),
        ([(20, 20)], 32, 32, (32, 32)),
        ([(20, 20)], 32, 64, (64, 64)),
        ([(99, 99)], 4, 4, (100, 100)),
        ([(300, 300)], 8, 8, (256, 256)),
        ([(300, 300)], 14, 14, (252, 252)),
        ([(70, 70)], 16, 16, (80, 80)),
    ],
)
def test_a_patch_is_as_large_as_the_median_image(sizes, multiple, smallest, patch):
    """Its sides are multiples of the stride of the backbone."""
    found, _ = choose_patch(InputOptions(), sizes, multiple=multiple, smallest=smallest)
    assert found == patch


@pytest.mark.parametrize(
    ("patch", "smallest", "message"),
    [
        ((100, 128), 32, r"input.patch takes multiples of 32, .* got \[100, 128\]"),
        ((32, 128), 64, r"input.patch takes sides from 64 with this norm, got \[32, 128\].*group"),
    ],
)
def test_a_patch_that_the_network_cannot_take_is_refused(patch, smallest, message):
    with refuses(message):
        choose_patch(InputOptions(patch=patch), [(99, 99)], multiple=32, smallest=smallest)


def test_few_slices_make_no_short_epoch():
    assert choose_patches(InputOptions(), slices=16) == 208  # 13 of each
    assert choose_patches(InputOptions(), slices=210) == 210
    assert choose_patches(InputOptions(patches=7), slices=210) == 7
