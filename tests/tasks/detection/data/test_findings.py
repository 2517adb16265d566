import json
import shutil

import numpy as np
import pytest
from PIL import Image

from tasks.detection.data.annotations import ImageRecord
from tasks.detection.data.findings import repeated_boxes
from tasks.detection.data.layouts.coco import coco_parts
from tasks.detection.data.splits import divide
from tasks.detection.options import DataOptions

SIZE = (60, 40)


def checked(root, **files):
    return divide(coco_parts(root=root, **files), DataOptions()).checked("error")


@pytest.fixture
def read(tmp_path):
    """Write a COCO file per split, from lists of (class, x) per image, and read it checked."""
    (tmp_path / "images").mkdir()

    def write_and_read(classes, *, copies=None, **splits):
        categories = [{"id": number, "name": name} for number, name in enumerate(classes)]
        for seed, (split, images) in enumerate(splits.items()):
            entries, boxes = [], []
            for number, objects in enumerate(images):
                name = f"{split}{number}.png"
                pixels = np.random.default_rng((seed, number)).integers(0, 255, (40, 60), np.uint8)
                Image.fromarray(pixels).save(tmp_path / "images" / name)
                entries.append({"id": number, "file_name": name, "height": 40, "width": 60})
                boxes += [
                    {"image_id": number, "category_id": label, "bbox": [x, 5, 20, 20]}
                    for label, x in objects
                ]
            content = {"images": entries, "annotations": boxes, "categories": categories}
            (tmp_path / f"{split}.json").write_text(json.dumps(content))
        for new, old in (copies or {}).items():
            shutil.copy(tmp_path / "images" / old, tmp_path / "images" / new)
        files = {split: f"{split}.json" for split in splits}
        return checked(tmp_path, **files)

    return write_and_read


ONCE = [(0, 0), (0, 30)]


@pytest.mark.parametrize(
    ("classes", "splits", "warnings"),
    [
        (
            ["cells", "red", "white"],
            {"train": [[(1, 0), (2, 30)]], "val": [[(1, 0), (2, 30)]]},
            [
                "no split has a box of 'cells' (category 0, as Roboflow adds it): it is not "
                "trained, and its AP is not defined and left out of the mean; "
                "data.classes=[red,white] leaves it out"
            ],
        ),
        (
            ["red"],
            {"train": [[]], "val": [[]]},
            [
                "no split has a box of 'red': it is not trained, and its AP is not defined and "
                "left out of the mean"
            ],
        ),
        (
            ["red", "white", "big blue"],
            {
                "train": [[(0, 0)], [(0, 0), (2, 30)]],
                "val": [[(0, 0), (1, 30)]],
                "test": [[(0, 9)]],
            },
            [
                "train has no box of 'white', which others have: what is never shown is not "
                "learnt, and its AP of 0 counts in the mean",
                "val has no box of 'big blue': its AP there is not defined",
                "test has no box of 'big blue': its AP there is not defined",
            ],
        ),
        (
            ["Car", "car", "traffic light", "traffic_light"],
            {
                "train": [[(0, 0), (1, 10), (1, 30), (2, 0), (3, 30)]],
                "val": [[(0, 0), (1, 10), (2, 0), (3, 30)]],
            },
            [
                "'Car' (1 boxes in train) and 'car' (2 boxes in train) are different classes, "
                "though their names differ in spelling only",
                "'traffic light' (1 boxes in train) and 'traffic_light' (1 boxes in train) are "
                "different classes, though their names differ in spelling only",
            ],
        ),
        (
            ["cell"],
            {"train": [ONCE, ONCE * 2, ONCE * 2], "val": [ONCE]},
            [
                "4 of 10 boxes in train repeat another of their class, such as in train1.png: what "
                "finds each once has found half. Remove the copies"
            ],
        ),
    ],
)
def test_classes_and_boxes_that_look_wrong_are_named(read, classes, splits, warnings):
    assert list(read(classes, **splits).warnings) == warnings


@pytest.mark.parametrize(
    ("boxes", "labels", "count"),
    [
        ([[0, 0, 10, 10]], [1], 0),
        ([[0, 0, 10, 10]] * 3, [1, 1, 1], 2),
        ([[0, 0, 10, 10]] * 3, [1, 2, 1], 1),
        ([[10, 10, 110, 60], [14, 12, 112, 61]], [1, 1], 1),
        ([[10, 10, 110, 60], [17, 10, 110, 60]], [1, 1], 0),
        ([[10, 10, 20, 20], [11, 10, 20.5, 19.2]], [1, 1], 1),
        ([[10, 10, 13, 13], [11, 10, 14, 13]], [1, 1], 0),
        ([[0, 0, 10, 10], [0, 20, 10, 30], [0, 0, 10, 10], [0, 20, 10, 30]], [1] * 4, 2),
        ([[0, 0, 50, 50], [1, 20, 9, 30], [2, 0, 50, 50]], [1] * 3, 1),
    ],
)
def test_a_box_repeats_another_of_its_class_and_nearly_its_place(boxes, labels, count):
    record = ImageRecord(
        path=None,
        image_id=1,
        height=200,
        width=200,
        boxes=np.float32(boxes),
        labels=np.array(labels),
    )
    assert repeated_boxes(record) == count


def test_an_image_in_two_splits_or_twice_in_one_is_told_of_by_its_content(read):
    splits = read(
        ["cell"],
        copies={"val1.png": "train0.png", "train2.png": "train1.png", "test0.png": "val0.png"},
        train=[[(0, 0)], [(0, 0)], [(0, 0)]],
        val=[[(0, 0)], [(0, 30)]],
        test=[[(0, 0)]],
    )
    assert splits.warnings == (
        "train0.png in train and val1.png in val are the same image with different boxes",
        "val0.png in val and test0.png in test are the same image",
        "train1.png and train2.png in train are the same image",
    )


def test_a_file_that_two_entries_name_is_told_of(read, tmp_path):
    read(["cell"], train=[[(0, 0)], [(0, 0)]], val=[[(0, 0)]])
    content = json.loads((tmp_path / "train.json").read_text())
    content["images"][1]["file_name"] = "train0.png"
    (tmp_path / "train.json").write_text(json.dumps(content))
    splits = checked(tmp_path, train="train.json", val="train.json")
    assert "train0.png in train and train0.png in val are the same image" in splits.warnings
    assert "train0.png and train0.png in train are the same image" in splits.warnings


def test_a_copy_that_was_saved_anew_is_found_and_images_of_one_value_are_no_copies(read, tmp_path):
    read(["cell"], train=[[(0, 0)]], val=[[(0, 0)], [(0, 0)]])
    files = {"train": "train.json", "val": "val.json"}
    with Image.open(tmp_path / "images" / "train0.png") as image:
        image.save(tmp_path / "images" / "val1.png", format="BMP")
    assert checked(tmp_path, **files).warnings == (
        "train0.png in train and val1.png in val are the same image",
    )
    for name in ("train0.png", "val0.png", "val1.png"):
        Image.new("L", SIZE).save(tmp_path / "images" / name)
    assert checked(tmp_path, **files).warnings == ()
