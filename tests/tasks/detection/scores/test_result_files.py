"""Detections in files of every format, read back by our own readers of data sets."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from tasks.detection.commands import FORMATS
from tasks.detection.data.layouts.voc import read_voc, read_xml
from tasks.detection.data.layouts.yolo import yolo_parts
from tasks.detection.scores.result_files import RESULT_FILES, FoundIn
from tasks.detection.scores.trained import Detections
from tests.tasks.detection.conftest import CARD

NAMED = replace(CARD, classes=('a <b> & "c": d', "dog"))


def found_in(name, boxes, *, labels, scores, size=(20, 30), classes=NAMED.classes, least=0.5):
    """Detections in an image of height and width, of which some are shown."""
    detections = Detections(
        boxes=np.array(boxes, np.float32).reshape(-1, 4),
        labels=np.array(labels, np.int64),
        scores=np.array(scores, np.float32),
        names=tuple(classes[label - 1] for label in labels),
        height=size[0],
        width=size[1],
    )
    output = name.rpartition(".")[0] or name
    shown = detections.above(least)
    return FoundIn(number=7, name=name, output=output, all=detections, shown=shown)


TWO = found_in("x/b.png", [[2, 3, 12, 8], [0, 0, 4.25, 4.6]], labels=[2, 1], scores=[0.9, 0.3])
NOTHING = found_in("a.jpg", [], labels=[], scores=[])


def write(folder, name, *pictures, card=NAMED):
    result = RESULT_FILES[name](folder, card)
    for picture in pictures:
        result.add(picture)
    result.finish()


def files(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def test_the_command_line_knows_every_format():
    assert list(FORMATS) == list(RESULT_FILES)


def test_coco_has_every_detection_and_every_picture(tmp_path):
    write(tmp_path, "coco", TWO, NOTHING)
    assert files(tmp_path) == ["images.json", "predictions.json"]
    first, second = json.loads((tmp_path / "predictions.json").read_text())
    score = pytest.approx(0.9, abs=1e-5)
    assert first == {"image_id": 7, "category_id": 90, "bbox": [2, 3, 10, 5], "score": score}
    assert (second["category_id"], second["bbox"]) == (3, [0, 0, 4.25, 4.6])
    entries = json.loads((tmp_path / "images.json").read_text())["images"]
    assert [entry["file_name"] for entry in entries] == ["x/b.png", "a.jpg"]


def test_the_table_has_a_row_for_every_detection(tmp_path):
    write(tmp_path, "csv", TWO, NOTHING)
    with (tmp_path / "predictions.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["file", "class", "score", "x1", "y1", "x2", "y2"]
    assert rows == [
        ["x/b.png", "dog", "0.9", "2.0", "3.0", "12.0", "8.0"],
        ["x/b.png", NAMED.classes[0], "0.3", "0.0", "0.0", "4.25", "4.6"],
    ]


@pytest.mark.parametrize(("name", "end"), [("yolo", " 0.90000"), ("yolo-labels", "")])
def test_yolo_has_a_line_for_each_that_is_shown_in_shares_of_the_sides(tmp_path, name, end):
    write(tmp_path, name, TWO, NOTHING)
    assert files(tmp_path) == ["classes.txt", "data.yaml", "labels/a.txt", "labels/x/b.txt"]
    # the centre (7, 5.5) and the size 10 x 5, in 30 x 20 pixels
    line = f"1 0.233333 0.275000 0.333333 0.250000{end}\n"
    assert (tmp_path / "labels/x/b.txt").read_text() == line
    assert (tmp_path / "labels/a.txt").read_text() == ""
    assert (tmp_path / "classes.txt").read_text().splitlines() == list(NAMED.classes)


def many(*, size=(200, 300), count=40):
    """Detections with corners anywhere, none thinner than two pixels."""
    random = np.random.default_rng(0)
    height, width = size
    low = random.uniform(0, [width - 3, height - 3], (count, 2))
    high = low + random.uniform(2, [width, height] - low)
    boxes, labels = np.concatenate([low, high], axis=1), random.integers(1, 3, count).tolist()
    return found_in("x/b.png", boxes, labels=labels, scores=np.ones(count), size=size)


def images_beside(folder, found):
    """The picture itself, in ``images`` and in ``JPEGImages``."""
    for name in ("images", "JPEGImages"):
        path = folder / name / found.name
        path.parent.mkdir(parents=True)
        Image.new("RGB", (found.all.width, found.all.height)).save(path)


def test_labels_of_yolo_are_read_back_as_they_were(tmp_path):
    found = many()
    images_beside(tmp_path, found)
    write(tmp_path, "yolo-labels", found)
    part = yolo_parts(root=tmp_path)["train"]
    assert part.classes == list(NAMED.classes)
    (image,) = part.images
    assert [region.label for region in image.regions] == found.all.labels.tolist()
    xywh = np.array([region.bbox for region in image.regions])
    corners = np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1)
    # centre and size are rounded to 1e-6 of a side
    np.testing.assert_allclose(corners, found.all.boxes, atol=300 * 0.75e-6 + 2e-5)


def test_labels_of_voc_are_read_back_in_whole_pixels(tmp_path):
    found = many()
    images_beside(tmp_path, found)
    write(tmp_path, "voc", found)
    split = read_voc(tmp_path / "Annotations", tmp_path / "JPEGImages", classes=NAMED.classes)
    (image,) = split.images
    assert image.path == tmp_path / "JPEGImages/x/b.png"
    assert image.labels.tolist() == found.all.labels.tolist()
    np.testing.assert_array_equal(image.boxes, np.round(found.all.boxes))
    root = read_xml(tmp_path / "Annotations/x/b.xml")
    assert root.findtext("filename") == "b.png"
    assert [root.findtext(f"size/{key}") for key in ("width", "height", "depth")] == [
        "300", "200", "3"
    ]  # fmt: skip
    assert {item.findtext("score") for item in root.iter("object")} == {"1.00000"}


def test_a_picture_without_detections_is_there_for_voc_too(tmp_path):
    write(tmp_path, "voc", NOTHING, TWO)
    assert files(tmp_path) == ["Annotations/a.xml", "Annotations/x/b.xml"]
    assert list(read_xml(tmp_path / "Annotations/a.xml").iter("object")) == []
    assert len(list(read_xml(tmp_path / "Annotations/x/b.xml").iter("object"))) == 1


@pytest.mark.parametrize(
    ("box", "read"),
    [
        ([3.4, 5, 3.45, 9], [3, 5, 5, 9]),  # rounded it would be empty
        ([3, 5, 4, 9], [3, 5, 5, 9]),  # a single pixel counts as a stray click
        ([29.8, 19.2, 30, 20], [28, 18, 30, 20]),
        ([0, 0, 30, 20], [0, 0, 30, 20]),
    ],
)
def test_a_thin_box_is_widened_to_two_pixels_for_voc(tmp_path, box, read):
    found = found_in("b.png", [box], labels=[1], scores=[1])
    images_beside(tmp_path, found)
    write(tmp_path, "voc", found)
    split = read_voc(tmp_path / "Annotations", tmp_path / "JPEGImages", classes=NAMED.classes)
    assert split.images[0].boxes.tolist() == [read]
