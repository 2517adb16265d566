"""Gray files among coloured ones, as cameras and annotation tools leave them."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from tasks.segmentation.data.case_properties import image_notes
from tasks.segmentation.data.cases import class_table
from tasks.segmentation.data.channels import common_channels, fitted, is_coloured
from tasks.segmentation.data.check import check_cases, shared_channels
from tasks.segmentation.data.formats.files import read_image
from tasks.segmentation.data.store import load_case
from tasks.segmentation.options import InputOptions
from tests.tasks.segmentation.conftest import refuses, save, set_of

TABLE = class_table({0: "background", 1: "cell"})


def levels(name, *channels):
    return np.random.default_rng(list(name.encode())).integers(0, 256, (8, 8, *channels), np.uint8)


def gray(name):
    return Image.fromarray(levels(name))


def colour(name):
    return Image.fromarray(levels(name, 3))


def gray_as_rgb(name):
    return gray(name).convert("RGB")


def palette(name):
    """Gray in truth: a GIF-like palette of grays."""
    image = Image.fromarray(levels(name), "P")
    image.putpalette([v for v in range(256) for _ in range(3)])
    return image


@pytest.fixture
def cases(tmp_path):
    def write(suffix=".png", **images):
        files = {}
        for name, image in images.items():
            path = tmp_path / f"{name}{suffix}"
            if isinstance(image, Image.Image):
                image.save(path)
            else:
                two = {"extrasamples": [0], "photometric": "minisblack"}
                save(path, image, **(two if image.shape[2:] == (2,) else {}))
            files[name] = (path,), (save(tmp_path / f"{name}_m.png", levels(name) // 128),)
        return set_of(files, TABLE)

    return write


def read(case_set):
    """The notes, and the channels and pixels of every case as a run sees them."""
    looked = check_cases(case_set, policy="error")
    channels = shared_channels(looked)
    told = replace(case_set, channels=channels)
    options = InputOptions(normalisation="imagenet")
    loaded = {case.name: load_case(case, told, options).image for case in case_set.cases}
    assert {image.shape[0] for image in loaded.values()} == {facts.channels for facts in looked}
    return image_notes(looked), channels, {name: image[:, 0] for name, image in loaded.items()}


def test_gray_among_rgb_becomes_rgb_and_is_counted(cases):
    said, channels, seen = read(cases(a=colour("a"), b=gray("b"), c=colour("c"), d=gray("d")))
    assert channels == 3
    assert said == ["2 of 4 images are gray, such as b: read as RGB, as 2 are in colour, such as a"]
    np.testing.assert_array_equal(seen["b"], np.stack([levels("b")] * 3))
    np.testing.assert_array_equal(seen["a"], levels("a", 3).transpose(2, 0, 1))


@pytest.mark.parametrize("plain", [gray_as_rgb, palette])
def test_rgb_files_that_are_gray_in_truth_become_gray(cases, plain):
    notes, channels, seen = read(cases(a=gray("a"), b=plain("b"), c=gray("c")))
    assert channels == 1
    assert notes == [
        "1 of 3 images are RGB with equal channels, such as b: read as gray, as the others are"
    ]
    np.testing.assert_array_equal(seen["b"], levels("b")[None])


@pytest.mark.parametrize(("kind", "channels"), [(gray, 1), (colour, 3), (gray_as_rgb, 3)])
def test_files_of_one_kind_stay_as_they_are(cases, kind, channels):
    notes, found, _ = read(cases(a=kind("a"), b=kind("b")))
    assert (notes, found) == ([], channels)


def test_alpha_palettes_and_two_levels_are_read_beside_others(cases):
    """Pillow's own conversion to RGB is the oracle."""
    drawn = Image.fromarray(levels("p") % 3, "P")
    drawn.putpalette([9, 8, 7, 0, 0, 0, 200, 100, 50])
    images = {
        "a": colour("a"),
        "b": Image.merge("LA", (gray("b"), gray("alpha"))),
        "c": Image.merge("RGBA", (*colour("c").split(), gray("alpha"))),
        "d": drawn,
        "e": Image.fromarray(levels("e") > 128),
    }
    notes, channels, seen = read(cases(**images))
    assert channels == 3
    assert notes[0].startswith("2 of 5 images are gray, such as b")
    for name, image in images.items():
        np.testing.assert_array_equal(seen[name], np.array(image.convert("RGB")).transpose(2, 0, 1))


def test_sixteen_bits_keep_their_depth(cases):
    deep = levels("b").astype(np.uint16) * 257
    _, channels, seen = read(cases(suffix=".tif", a=levels("a", 3).astype(np.uint16), b=deep))
    assert channels == 3
    assert seen["b"].dtype == np.uint16
    np.testing.assert_array_equal(seen["b"], np.stack([deep] * 3))


def test_a_stack_of_gray_pages_becomes_rgb(tmp_path):
    pages = np.stack([levels("x"), levels("y")])
    path = save(tmp_path / "a.tif", pages, photometric="minisblack")
    image, _ = read_image([path], axis=-1)
    assert is_coloured(image, [path]) is False
    assert fitted(image, [path], channels=3).shape == (3, 2, 8, 8)


def test_the_same_picture_in_gray_and_in_rgb_is_a_double(cases):
    same = gray("a")
    looked = check_cases(cases(a=same, b=same.convert("RGB"), c=colour("c")), policy="error")
    assert looked[0].digest == looked[1].digest != looked[2].digest


def test_other_channels_are_refused_or_skipped(cases):
    case_set = cases(suffix=".tif", a=levels("a", 3), b=levels("b"), c=levels("c", 2))
    with refuses(r"c: the image has 2 channels .*; 2 of 3 cases, such as a"):
        check_cases(case_set, policy="error")
    looked = check_cases(case_set, policy="skip")
    assert [facts.channels for facts in looked] == [3, 3]
    assert shared_channels(looked) == 3


def test_channels_of_volumes_and_of_several_files_are_no_colours(tmp_path):
    equal = np.stack([levels("a")] * 3)[:, None]
    coloured = levels("a", 3).transpose(2, 0, 1)[:, None]
    volume, a, b = (tmp_path / name for name in ("v.nii", "a.png", "b.png"))
    save(volume, levels("v"))
    assert is_coloured(equal[:1], [volume]) is None
    assert is_coloured(equal, [a, b]) is None
    assert fitted(equal[:1], [volume], channels=3).shape[0] == 1
    assert fitted(equal, [a], channels=None) is equal
    assert fitted(coloured, [a], channels=1) is coloured


def test_most_decide_whether_images_are_gray_or_rgb():
    assert common_channels([(None, 2), (None, 2), (False, 1)]) is None
    assert common_channels([(None, 2), (True, 3), (False, 1), (False, 1)]) == 3
    assert common_channels([(False, 3), (False, 1)]) == 1
    assert common_channels([]) is None
