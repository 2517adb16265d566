import shutil

import numpy as np
import pytest
from PIL import Image

from tasks.detection.data.annotations import ImageRecord
from tasks.detection.data.findings import repeated_boxes
from tasks.detection.data.layouts.coco import coco_parts
from tasks.detection.data.splits import divide
from tasks.detection.options import DataOptions
from tests.tasks.detection.conftest import coco_file


def checked(root, **files):
    return divide(coco_parts(root=root, **files), DataOptions()).checked("error")


@pytest.fixture
def read(tmp_path):
    """Write a COCO file per split, from lists of (class, x) per image, and read it checked."""

    def write_and_read(classes, *, copies=None, **splits):
        for split, images in splits.items():
            boxes = {
                f"{split}{number}.png": [(label, x, 5, 20, 20) for label, x in objects]
                for number, objects in enumerate(images)
            }
            coco_file(tmp_path, f"{split}.json", boxes, classes=classes, sizes=[(60, 40)], first=0)
        for new, old in (copies or {}).items():
            shutil.copy(tmp_path / "images" / old, tmp_path / "images" / new)
        return checked(tmp_path, **{split: f"{split}.json" for split in splits})

    return write_and_read


ONCE = [(0, 0), (0, 30)]
FOUR = [(0, 0), (1, 10), (2, 0), (3, 30)]
UNTRAINED = "it is not trained, and its AP is not defined and left out of the mean"
SPELLING = "are different classes, though their names differ in spelling only"


@pytest.mark.parametrize(
    ("classes", "splits", "warnings"),
    [
        (
            ["cells", "red", "white"],
            {"train": [[(1, 0), (2, 30)]], "val": [[(1, 0), (2, 30)]]},
            "no split has a box of 'cells' (category 0, as Roboflow adds it): "
            f"{UNTRAINED}; data.classes=[red,white] leaves it out",
        ),
        (["red"], {"train": [[]], "val": [[]]}, f"no split has a box of 'red': {UNTRAINED}"),
        (
            ["red", "white", "big blue"],
            {"train": [ONCE, [(2, 30)]], "val": [[(0, 0), (1, 30)]], "test": [[(0, 9)]]},
            "train has no box of 'white', which others have: what is never shown is not learnt, "
            "and its AP of 0 counts in the mean\n"
            "val has no box of 'big blue': its AP there is not defined\n"
            "test has no box of 'big blue': its AP there is not defined",
        ),
        (
            ["Car", "car", "traffic light", "traffic_light"],
            {"train": [[*FOUR, (1, 30)]], "val": [FOUR]},
            f"'Car' (1 boxes in train) and 'car' (2 boxes in train) {SPELLING}\n"
            f"'traffic light' (1 boxes in train) and 'traffic_light' (1 boxes in train) {SPELLING}",
        ),
        (
            ["cell"],
            {"train": [ONCE, ONCE * 2, ONCE * 2], "val": [ONCE]},
            "4 of 10 boxes in train repeat another of their class, such as in train1.png: what "
            "finds each once has found half. Remove the copies",
        ),
    ],
)
def test_classes_and_boxes_that_look_wrong_are_named(read, classes, splits, warnings):
    assert "\n".join(read(classes, **splits).warnings) == warnings


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
    found = {"boxes": np.float32(boxes), "labels": np.array(labels)}
    record = ImageRecord(path=None, image_id=1, height=200, width=200, **found)
    assert repeated_boxes(record) == count


def test_an_image_in_two_splits_or_twice_in_one_is_told_of_by_its_content(read):
    one, other = [(0, 0)], [(0, 30)]
    copies = {"val1.png": "train0.png", "train2.png": "train1.png", "test0.png": "val0.png"}
    splits = read(["cell"], copies=copies, train=[one] * 3, val=[one, other], test=[one])
    assert splits.warnings == (
        "train0.png in train and val1.png in val are the same image with different boxes",
        "val0.png in val and test0.png in test are the same image",
        "train1.png and train2.png in train are the same image",
    )


def test_a_file_that_two_entries_name_is_told_of(read, tmp_path):
    read(["cell"], train=[[(0, 0)], [(0, 0)]], val=[[(0, 0)]])
    file = tmp_path / "train.json"
    file.write_text(file.read_text().replace("train1.png", "train0.png"))
    warnings = checked(tmp_path, train="train.json", val="train.json").warnings
    assert "train0.png in train and train0.png in val are the same image" in warnings
    assert "train0.png and train0.png in train are the same image" in warnings


def test_a_copy_that_was_saved_anew_is_found_and_images_of_one_value_are_no_copies(read, tmp_path):
    read(["cell"], train=[[(0, 0)]], val=[[(0, 0)], [(0, 0)]])
    files = {"train": "train.json", "val": "val.json"}
    one, *_ = paths = [tmp_path / "images" / f"{name}.png" for name in ("train0", "val0", "val1")]
    with Image.open(one) as image:
        image.save(paths[2], format="BMP")
    same = "train0.png in train and val1.png in val are the same image"
    assert checked(tmp_path, **files).warnings == (same,)
    for path in paths:
        Image.new("L", (60, 40)).save(path)
    assert checked(tmp_path, **files).warnings == ()
