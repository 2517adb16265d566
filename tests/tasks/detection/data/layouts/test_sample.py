"""The generated data set: what is in it; its folder is tested with `sample_folder`."""

import json
from collections import Counter

import cv2
import numpy as np
import pytest

from tasks.detection.data.layouts.sample import write_sample

SPLITS = {"train": 240, "val": 9}


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    return write_sample(tmp_path_factory.mktemp("data") / "sample", images=SPLITS)


def read(root, split="train"):
    return json.loads((root / "annotations" / f"instances_{split}.json").read_text())


def boxes_by_image(content):
    return {
        image["id"]: [a for a in content["annotations"] if a["image_id"] == image["id"]]
        for image in content["images"]
    }


def lone_objects(root):
    """Yield the pixels and the xywh box of every image with a single object."""
    for image_id, objects in boxes_by_image(read(root)).items():
        if len(objects) == 1:
            yield read_image(root, image_id), objects[0]["bbox"]


def read_image(root, image_id, split="train"):
    return cv2.imread(str(root / "images" / f"{split}_{image_id - 1:04d}.png"))


def contents(root):
    files = (p for p in root.rglob("*") if p.is_file())
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in files}


def extent_by_grabcut(pixels):
    """Return the xyxy box of the one thing that differs from the image's border; no truth used."""
    mask = np.zeros(pixels.shape[:2], np.uint8)
    cv2.setRNGSeed(0)
    frame = (1, 1, mask.shape[1] - 2, mask.shape[0] - 2)
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(pixels, mask, frame, *models, 8, cv2.GC_INIT_WITH_RECT)
    found = np.isin(mask, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8)
    found = cv2.morphologyEx(found, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    stats = cv2.connectedComponentsWithStats(found)[2]  # the ground first
    x, y, w, h, _ = stats[1:][stats[1:, cv2.CC_STAT_AREA].argmax()]
    return np.array([x, y, x + w, y + h])


def test_boxes_agree_with_an_extent_found_in_the_pixels_alone(sample):
    lone = lone_objects(sample)
    errors = np.array([extent_by_grabcut(p) - [x, y, x + w, y + h] for p, (x, y, w, h) in lone])
    near = errors[np.abs(errors).max(1) <= 3]

    assert len(near) >= max(20, 0.8 * len(errors))  # GrabCut itself fails on a cloudy ground
    assert np.abs(near.mean(0)).max() < 0.5


def test_same_arguments_give_the_same_bytes_and_another_seed_others(tmp_path):
    images = {"train": 12, "val": 3}
    first = contents(write_sample(tmp_path / "first", images=images))
    again = contents(write_sample(tmp_path / "again", images=images))
    other = contents(write_sample(tmp_path / "other", images=images, seed=1))

    assert again == first
    assert all(again[name] != other[name] for name in again if name.endswith(".png"))


def test_an_image_does_not_depend_on_how_many_others_there_are(sample, tmp_path):
    few = contents(write_sample(tmp_path / "few", images={"val": 1, "train": 2}))
    many = contents(sample)

    names = ["images/train_0000.png", "images/train_0001.png", "images/val_0000.png"]
    assert [few[name] for name in names] == [many[name] for name in names]


def test_no_image_is_in_two_splits(sample):
    assert len(set(contents(sample).values())) == 240 + 9 + 2 + 1  # images, annotations, settings


@pytest.mark.parametrize("split", SPLITS)
def test_boxes_lie_inside_the_image_that_is_on_disk(sample, split):
    content = read(sample, split)
    files = sorted(p.name for p in (sample / "images").glob(f"{split}_*.png"))

    assert files == [image["file_name"] for image in content["images"]]
    shapes = {i["id"]: read_image(sample, i["id"], split).shape for i in content["images"]}
    assert shapes == {i["id"]: (i["height"], i["width"], 3) for i in content["images"]}
    for one in content["annotations"]:
        (x, y, w, h), (height, width, _) = one["bbox"], shapes[one["image_id"]]
        assert 0 <= x < x + w <= width
        assert 0 <= y < y + h <= height


def test_ids_are_as_coco_wants_them_and_categories_have_gaps(sample):
    content = read(sample)
    ids = [a["id"] for a in content["annotations"]]

    names = {c["id"]: c["name"] for c in content["categories"]}
    assert names == {1: "disk", 3: "square", 7: "triangle"}
    assert ids == list(range(1, len(ids) + 1))
    assert {a["iscrowd"] for a in content["annotations"]} == {0}


def test_area_is_what_geometry_says_for_a_lone_object(sample):
    lone = [one[0] for one in boxes_by_image(read(sample)).values() if len(one) == 1]

    assert {one["category_id"] for one in lone} == {1, 3, 7}
    for one in lone:
        _, _, w, h = one["bbox"]
        # A square turned by t fills 1 / (1 + sin 2t) of its box, an equilateral triangle 0.46
        # to 0.54 of it: 3 sqrt(3) / 4 over the area of the box around its corners.
        low, high = {1: (np.pi / 4, np.pi / 4), 3: (0.5, 1), 7: (0.46, 0.54)}[one["category_id"]]
        assert low - 0.03 <= one["area"] / (w * h) <= high + 0.03


def test_images_vary_in_shape_number_and_size_of_objects(sample):
    content = read(sample)
    grouped = boxes_by_image(content)
    sides = [max(a["bbox"][2:]) for a in content["annotations"]]
    shapes = Counter((image["height"], image["width"]) for image in content["images"])
    classes = Counter(a["category_id"] for a in content["annotations"])

    assert set(shapes) == {(128, 128), (112, 144), (144, 112)}
    assert min(shapes.values()) >= 24
    assert {len(objects) for objects in grouped.values()} == set(range(7))
    assert sum(not objects for objects in grouped.values()) == 240 // 16
    assert min(sides) >= 10  # 18 pixels, of which occlusion may leave fewer
    assert np.quantile(sides, 0.02) < 20
    assert 60 < max(sides) <= 65
    assert min(classes.values()) > 0.28 * sum(classes.values())


def test_some_objects_overlap_and_none_is_hidden_by_half(sample):
    disks = [a for a in read(sample)["annotations"] if a["category_id"] == 1]
    # Disks only get shorter when hidden, so that this is at least their visible share.
    shown = [a["area"] / (np.pi / 4 * max(a["bbox"][2:]) ** 2) for a in disks]
    assert min(shown) >= 0.6 - 0.05  # half a pixel at the rim of the smallest is 5 %
    assert sum(share < 0.9 for share in shown) >= 5


def test_every_object_stands_out_from_its_surroundings(sample):
    contrasts = []
    for pixels, (x, y, w, h) in lone_objects(sample):
        lab = cv2.cvtColor(pixels.astype(np.float32) / 255, cv2.COLOR_BGR2LAB)
        core = lab[y + 2 * h // 5 : y + 3 * h // 5 + 1, x + 2 * w // 5 : x + 3 * w // 5 + 1]
        inside = np.median(core.reshape(-1, 3), axis=0)
        lab[y : y + h, x : x + w] = np.nan
        outside = np.nanmedian(lab.reshape(-1, 3), axis=0)
        contrasts.append(np.linalg.norm(inside - outside))

    assert len(contrasts) >= 20
    assert min(contrasts) > 20  # a CIE76 difference of 2.3 is just noticed, 20 is another colour


def test_colour_tells_nothing_about_the_class(sample):
    colors = {1: [], 3: [], 7: []}
    for one in read(sample)["annotations"]:
        x, y, w, h = one["bbox"]
        pixels = read_image(sample, one["image_id"])
        colors[one["category_id"]].append(pixels[y + h // 2, x + w // 2])

    means = np.array([np.mean(values, axis=0) for values in colors.values()])

    # A channel deviates by 72, so the mean of 200 by 5, and two means differ by 7.
    assert np.ptp(means, axis=0).max() < 4 * 7


def test_a_complete_folder_with_the_same_settings_is_left_alone(sample):
    before = {p: p.stat().st_mtime_ns for p in sample.rglob("*")}

    assert write_sample(sample, images=SPLITS) == sample
    assert {p: p.stat().st_mtime_ns for p in sample.rglob("*")} == before


def test_other_settings_replace_the_folder(tmp_path):
    root = write_sample(tmp_path / "sample", images={"train": 3, "val": 1})

    write_sample(root, images={"train": 2}, size=64, seed=4)

    fresh = write_sample(tmp_path / "fresh", images={"train": 2}, size=64, seed=4)
    assert contents(root) == contents(fresh)


@pytest.mark.parametrize("missing", ["images/train_0001.png", "annotations/instances_train.json"])
def test_an_incomplete_folder_is_written_anew(tmp_path, missing):
    root = write_sample(tmp_path / "sample", images={"train": 2})
    complete = contents(root)
    (root / missing).unlink()

    write_sample(root, images={"train": 2})

    assert contents(root) == complete


def test_a_foreign_file_in_a_folder_of_ours_is_not_deleted(tmp_path):
    root = write_sample(tmp_path / "sample", images={"train": 1})
    (root / "notes.txt").write_text("mine")

    with pytest.raises(FileExistsError, match=r"holds 'notes.txt', .* name another folder"):
        write_sample(root, images={"train": 1}, seed=1)
    assert (root / "notes.txt").read_text() == "mine"


def test_settings_out_of_range_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"size=63 .* expected at least one split, size 64"):
        write_sample(tmp_path / "sample", size=63)
    assert not (tmp_path / "sample").exists()
