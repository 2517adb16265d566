"""The look at every image file before a run, against what the run then reads."""

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps

from tasks.detection.data.check import check_images, choose_reading, images_facts, scan
from tasks.detection.data.dataset import DetectionDataset
from tasks.detection.data.images import Reading, read_image
from tasks.detection.options import DetectorOptions
from tests.backbones.errors import refuses
from tests.tasks.detection.conftest import HEIGHT, WIDTH, noise, picture
from tests.tasks.detection.data.test_dataset import split_of

NARROW = {"b.png": (300, 2)}


def rotated_files(save, *ways):
    """Write images of (WIDTH, HEIGHT) stored pixels, each with an EXIF orientation."""
    paths = []
    for number, way in enumerate(ways):
        exif = Image.Exif()
        exif[0x0112] = way
        paths.append(save(f"{number}.png", picture(), exif=exif))
    return paths


@pytest.mark.parametrize("in_channels", [1, 3])
@pytest.mark.parametrize("way", [3, 6])
def test_the_exif_orientation_is_applied_ignored_or_refused(save, way, in_channels):
    (path,) = rotated_files(save, way)
    stored = read_image(path, in_channels=in_channels, reading=Reading(exif="ignore"))
    upright = read_image(path, in_channels=in_channels, reading=Reading(exif="apply"))
    with Image.open(path) as image:
        mode = "RGB" if in_channels == 3 else "L"
        np.testing.assert_allclose(stored, np.asarray(image.convert(mode)), atol=1)
        shown = np.asarray(ImageOps.exif_transpose(image).convert(mode))
    np.testing.assert_allclose(upright, shown, atol=1)
    with refuses(rf"0\.png is rotated by its EXIF orientation, {way}"):
        read_image(path)


def test_rotated_files_stop_a_run_or_are_counted(save):
    upright = {"0.png": (HEIGHT, WIDTH)}  # annotated as it is shown
    paths = rotated_files(save, 6, 3, 1)
    split = split_of(paths, sizes=upright)
    for policy in ("error", "skip"):
        with refuses(
            r"2 of 3 images are rotated by their EXIF orientation: '0\.png \(6\)', .*sizes of 2 "
            r"fit the upright image, of 1 the stored pixels\. Give data\.exif=apply"
        ):
            check_images(split, policy=policy)
    kept = check_images(split, policy="error", reading=Reading(exif="apply"))
    assert DetectionDataset(kept)[0][0].shape == (3, WIDTH, HEIGHT)
    with refuses(r"0\.png is 48x32 .* orientation is 6: see data\.exif"):
        check_images(split, policy="error", reading=Reading(exif="ignore"))
    said = images_facts(scan(split.images).values(), Reading(exif="apply"), seconds=0)
    assert "2 are rotated by their EXIF orientation: they are turned upright" in said


def deep_split(folder, rows, kinds):
    """Write TIFF files of two pixels each, and return their split."""
    paths = [folder / f"{name}.tif" for name in rows]
    for path, row, kind in zip(paths, rows.values(), kinds, strict=True):
        tifffile.imwrite(path, np.array([row], kind))
    return split_of(paths, sizes={path.name: (2, 1) for path in paths}, regions=[])


def test_one_rule_for_the_depth_of_all_images(tmp_path):
    rows = {"a": (0, 900), "b": (0, 4000), "c": (0, 255), "d": (-5, 255)}
    kinds = (np.uint16, np.uint16, np.uint8, np.int16)
    split = deep_split(tmp_path, rows, kinds)
    facts = scan(split.images)
    reading = choose_reading(facts.values(), exif="refuse")
    assert reading == Reading(range=(0, 4095))  # 12 bits in 16
    said = images_facts(facts.values(), reading, seconds=0)
    assert "2 of uint16, 1 of int16: 0 to 4095 becomes 0 to 255; 1 of 8 bits stay" in said
    with refuses(r"1 of 4 images .*d\.tif has numbers of type int16, -5 to"):
        check_images(split, facts, policy="error", reading=reading)
    kept = check_images(split, facts, policy="skip", reading=reading)
    pixels = [DetectionDataset(kept)[n][0][0].tolist() for n in range(3)]
    assert pixels == [[[0, 56]], [[0, 249]], [[0, 255]]]
    told = choose_reading(facts.values(), exif="refuse", range_=(-5, 255))
    assert told == Reading(range=(-5, 255), clipped=True)
    assert len(check_images(split, facts, policy="error", reading=told).images) == 4


def test_the_range_that_is_advised_is_that_of_all_images(tmp_path):
    rows = {"a": (0.25, 1), "b": (-2, 0.5), "c": (0, np.nan)}
    split = deep_split(tmp_path, rows, [np.float32] * 3)
    text = r"b.tif has numbers of type float32, -2 to 0\.5; .*; give .*data\.range=\[-2,1\]"
    with refuses(text) as error:
        check_images(split, policy="error")
    assert str(error.value).count("data.range") == 1
    told = Reading(range=(-2, 1), clipped=True)
    with refuses(r"c\.tif has numbers that are NaN") as error:
        check_images(split, policy="error", reading=told)
    assert "data.range" not in str(error.value)


@pytest.mark.parametrize("dtype", ["float32", "uint32", "uint8"])
@pytest.mark.parametrize("compression", ["lzma", "zstd", None])
def test_what_passes_the_check_is_read_by_the_run(tmp_path, dtype, compression):
    pixels = noise()[..., 0].astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", pixels, compression=compression)
    split = split_of([tmp_path / "a.tif"])
    facts = scan(split.images)
    range_ = (0, 255) if dtype == "float32" else ()
    reading = choose_reading(facts.values(), exif="refuse", range_=range_)
    kept = check_images(split, facts, policy="error", reading=reading)
    np.testing.assert_array_equal(DetectionDataset(kept)[0][0][0], noise()[..., 0])


def test_images_too_narrow_for_the_detector_are_named_or_skipped(save):
    split = split_of([save("a.png", picture()), save("b.png", picture(300, 2))], sizes=NARROW)
    options = DetectorOptions(min_size=64, max_size=96)
    with refuses(
        r"1 of 2 images cannot be used: b\.png is 300x2 pixels, too narrow to be resized to at "
        r"most 96 \(model\.max_size\); expected a shorter side of at least 4\. Repair or remove"
    ):
        check_images(split, policy="error", options=options)
    kept = check_images(split, policy="skip", options=options)
    assert [record.path.name for record in kept.images] == ["a.png"]
    assert len(check_images(split, policy="error").images) == 2


def test_images_that_fail_are_named_or_skipped_in_images_and_truth(save, tmp_path):
    good = [save(f"good{n}.png", picture()) for n in range(3)]
    small = [save(f"small{n}.png", picture(8, 8)) for n in range(4)]
    missing = [tmp_path / f"good{n}.png" for n in (3, 4, 5)]
    damaged = split_of([good[0], *small, good[1], *missing, good[2]])
    with refuses(
        r"instances.json: 7 of 10 images cannot be used: small0.png is 8x8 .*small3.png .*"
        r"good3.png does not exist; and 2 more\. Image 'good3.png' does not exist below "
        r"'.*'\. '.*' holds 'good0.png', .* \(nearest: 'good.\.png'\)\. Repair"
    ):
        check_images(damaged, policy="error")
    kept = check_images(damaged, policy="skip")
    assert [record.path.name for record in kept.images] == ["good0.png", "good1.png", "good2.png"]
    ids = [record.image_id for record in kept.images]
    assert [entry["id"] for entry in kept.truth["images"]] == ids
    assert [entry["image_id"] for entry in kept.truth["annotations"]] == ids
    assert [entry["id"] for entry in kept.truth["annotations"]] == [1, 2, 3]
    assert kept.cleaned == {"images skipped": 7, "on an image that was skipped": 7}
    assert kept.classes == damaged.classes
    assert len(damaged.truth["images"]) == 10
    with refuses("1 of 1 images cannot be used"):
        check_images(split_of([tmp_path / "a.png"]), policy="skip")
    with refuses("policy is 'ignore'; expected 'error' or 'skip'"):
        check_images(damaged, policy="ignore")
