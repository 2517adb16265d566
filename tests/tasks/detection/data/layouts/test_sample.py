"""The generated data set: what is in it; its folder is tested with `sample_folder`."""

import json
from collections import Counter

import cv2
import numpy as np
import pytest

from tasks.detection.data.layouts.sample import write_sample
from tests.backbones.errors import refuses
from tests.tasks.common.data.sample_set.test_folder import contents

SPLITS = {"train": 144, "val": 9}


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    return write_sample(tmp_path_factory.mktemp("data") / "sample", images=SPLITS)


@pytest.fixture(scope="module")
def train(sample):
    """The annotation file of train; its images with their objects."""
    content, images = read(sample, "train"), []
    for image in content["images"]:
        objects = [one for one in content["annotations"] if one["image_id"] == image["id"]]
        images.append((cv2.imread(str(sample / "images" / image["file_name"])), objects))
    return content, images


@pytest.fixture(scope="module")
def lone(train):
    """The pixels and the object of every image with a single one."""
    return [(pixels, objects[0]) for pixels, objects in train[1] if len(objects) == 1]


def read(root, split):
    return json.loads((root / "annotations" / f"instances_{split}.json").read_text())


def extent_by_grabcut(pixels):
    """Return the xyxy box of the one thing that differs from the image's border; no truth used."""
    mask = np.zeros(pixels.shape[:2], np.uint8)
    cv2.setRNGSeed(0)
    frame = (1, 1, mask.shape[1] - 2, mask.shape[0] - 2)
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(pixels, mask, frame, *models, 4, cv2.GC_INIT_WITH_RECT)
    found = np.isin(mask, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8)
    found = cv2.morphologyEx(found, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    stats = cv2.connectedComponentsWithStats(found)[2]  # the ground first
    x, y, w, h, _ = stats[1:][stats[1:, cv2.CC_STAT_AREA].argmax()]
    return np.array([x, y, x + w, y + h])


def test_boxes_agree_with_an_extent_found_in_the_pixels_alone(lone):
    errors = []
    for pixels, one in lone[:14]:
        x, y, w, h = one["bbox"]
        errors.append(extent_by_grabcut(pixels) - [x, y, x + w, y + h])
    near = np.array([error for error in errors if np.abs(error).max() <= 3])
    assert len(near) >= 11  # GrabCut itself fails on a cloudy ground
    assert np.abs(near.mean(0)).max() < 0.5


def test_same_arguments_give_the_same_bytes_and_another_seed_others(sample, tmp_path):
    images = {"val": 1, "train": 3}
    first = contents(write_sample(tmp_path / "first", images=images))
    again = contents(write_sample(tmp_path / "again", images=images))
    other = contents(write_sample(tmp_path / "first", images=images, seed=1))
    more = contents(sample)
    pictures = [name for name in first if name.endswith(".png")]
    assert again == first
    assert all(again[name] != other[name] for name in pictures)
    assert all(again[name] == more[name] for name in pictures)
    assert len(set(more.values())) == len(more) == 144 + 9 + 2 + 1  # annotations, settings


@pytest.mark.parametrize("split", SPLITS)
def test_boxes_lie_inside_the_image_and_ids_are_as_coco_wants_them(sample, split):
    content = read(sample, split)
    files = sorted((sample / "images").glob(f"{split}_*.png"))
    assert [file.name for file in files] == [image["file_name"] for image in content["images"]]
    shapes = [cv2.imread(str(file)).shape for file in files]
    assert shapes == [(i["height"], i["width"], 3) for i in content["images"]]
    for number, one in enumerate(content["annotations"], start=1):
        (x, y, w, h), (height, width, _) = one["bbox"], shapes[one["image_id"] - 1]
        assert 0 <= x < x + w <= width
        assert 0 <= y < y + h <= height
        assert (one["id"], one["iscrowd"]) == (number, 0)
    names = {category["id"]: category["name"] for category in content["categories"]}
    assert names == {1: "disk", 3: "square", 7: "triangle"}


def test_area_is_what_geometry_says_for_a_lone_object(lone):
    assert {one["category_id"] for _, one in lone} == {1, 3, 7}
    for _, one in lone:
        _, _, w, h = one["bbox"]
        # A square turned by t fills 1 / (1 + sin 2t) of its box, an equilateral triangle 0.46
        # to 0.54 of it: 3 sqrt(3) / 4 over the area of the box around its corners.
        low, high = {1: (np.pi / 4, np.pi / 4), 3: (0.5, 1), 7: (0.46, 0.54)}[one["category_id"]]
        assert low - 0.03 <= one["area"] / (w * h) <= high + 0.03


def test_images_vary_in_shape_number_and_size_of_objects(train):
    content, images = train
    sides = [max(a["bbox"][2:]) for a in content["annotations"]]
    shapes = Counter((image["height"], image["width"]) for image in content["images"])
    classes = Counter(a["category_id"] for a in content["annotations"])
    numbers = Counter(len(objects) for _, objects in images)
    assert set(shapes) == {(128, 128), (112, 144), (144, 112)}
    assert min(shapes.values()) >= 14
    assert set(numbers) == set(range(7))
    assert numbers[0] == 144 // 16
    assert min(sides) >= 10  # 18 pixels, of which occlusion may leave fewer
    assert np.quantile(sides, 0.02) < 20
    assert 60 < max(sides) <= 65
    assert min(classes.values()) > 0.28 * sum(classes.values())


def test_some_objects_overlap_and_none_is_hidden_by_half(train):
    disks = [a for a in train[0]["annotations"] if a["category_id"] == 1]
    # Disks only get shorter when hidden, so that this is at least their visible share.
    shown = [a["area"] / (np.pi / 4 * max(a["bbox"][2:]) ** 2) for a in disks]
    assert min(shown) >= 0.6 - 0.05  # half a pixel at the rim of the smallest is 5 %
    assert sum(share < 0.9 for share in shown) >= 5


def test_every_object_stands_out_from_its_surroundings(lone):
    contrasts = []
    for pixels, one in lone:
        x, y, w, h = one["bbox"]
        lab = cv2.cvtColor(pixels.astype(np.float32) / 255, cv2.COLOR_BGR2LAB)
        core = lab[y + 2 * h // 5 : y + 3 * h // 5 + 1, x + 2 * w // 5 : x + 3 * w // 5 + 1]
        inside = np.median(core.reshape(-1, 3), axis=0)
        lab[y : y + h, x : x + w] = np.nan
        outside = np.nanmedian(lab.reshape(-1, 3), axis=0)
        contrasts.append(np.linalg.norm(inside - outside))
    assert len(contrasts) >= 20
    assert min(contrasts) > 20  # a CIE76 difference of 2.3 is just noticed, 20 is another colour


def test_colour_tells_nothing_about_the_class(train):
    colors = {1: [], 3: [], 7: []}
    for pixels, objects in train[1]:
        for one in objects:
            x, y, w, h = one["bbox"]
            colors[one["category_id"]].append(pixels[y + h // 2, x + w // 2])
    means = np.array([np.mean(values, axis=0) for values in colors.values()])
    # A channel deviates by 72, so the mean of 120 by 7, and two means differ by 9.
    assert np.ptp(means, axis=0).max() < 3.5 * 9


def test_settings_out_of_range_and_foreign_folders_are_refused(tmp_path):
    with refuses(r"size=63 .* expected at least one split, size 64"):
        write_sample(tmp_path / "sample", size=63)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match=r"holds 'notes.txt', .* name another folder"):
        write_sample(tmp_path)
