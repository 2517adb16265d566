"""Scores of detectors whose answers are known."""

import json
import math

import pytest

from tasks.detection.options import DetectorOptions
from tasks.detection.scores.evaluate import evaluate, print_ap, print_evaluation, read_annotations
from tasks.detection.scores.trained import TrainedDetector
from tests.backbones.errors import refuses
from tests.tasks.detection.conftest import CARD, Knows, voc_document, voc_object


@pytest.fixture
def read(tmp_path):
    """Read annotations of the images below ``tmp_path`` with the checkpoint's classes."""
    return lambda annotations="annotations/val.json", **options: read_annotations(
        tmp_path / annotations, tmp_path / "images", classes=CARD.classes, **options
    )


@pytest.fixture
def changed(tmp_path, write_coco, read):
    """Write images, let a function change the content of their COCO file, and read it."""

    def write_and_read(change, *, count):
        write_coco("val", count=count)
        file = tmp_path / "annotations" / "val.json"
        content = json.loads(file.read_text())
        change(content)
        file.write_text(json.dumps(content))
        return read()

    return write_and_read


def knows(split, *answer):
    return TrainedDetector(network=Knows(split, *answer), card=CARD)


def test_knowing_everything_is_an_ap_of_1_and_half_the_images_half_the_recall(write_coco):
    split = write_coco("val", count=4)
    scores = evaluate(knows(split), split)
    assert scores["ap"] == scores["ap/cat"] == pytest.approx(1.0)
    assert math.isnan(scores["ap/dog"])
    half = knows(split, lambda record: record.boxes[: 0 if record.image_id % 2 else None])
    scores = evaluate(half, split)
    assert scores["ar_100"] == pytest.approx(0.5)
    assert scores["ap"] == pytest.approx(51 / 101)  # precision 1 at recalls up to 1/2


def test_the_splits_own_category_ids_are_used(changed):
    """A file that numbers the checkpoint's classes in another way."""

    def renumber(content):
        content["categories"] = [{"id": 40, "name": "dog"}, {"id": 77, "name": "cat"}]
        for entry in content["annotations"]:
            entry["category_id"] = 77

    split = changed(renumber, count=2)
    assert list(split.category_ids) == [77, 40]
    assert evaluate(knows(split), split)["ap/cat"] == pytest.approx(1.0)


def test_other_classes_and_missing_images_are_refused(tmp_path, read, write_coco):
    write_coco("val", count=2, classes=("cow", "dog"))
    with refuses("cow"):
        read()
    write_coco("val", count=3)
    (tmp_path / "images" / "val1.png").unlink()
    with refuses(r"1 of 3 images .*val1.png does not exist. .* holds") as e:
        read()
    assert str(e.value).endswith("Repair or remove them.")  # on_bad_image is an option of training


def test_images_too_narrow_for_the_detector_are_refused_before_any_is_scored(read, write_coco):
    write_coco("val", count=2)
    with refuses("2 of 2 images cannot be used: val0.png is 40x30 pixels, too narrow"):
        read(options=DetectorOptions(min_size=1, max_size=1))


def test_a_folder_is_read_as_pascal_voc(tmp_path, read, write_coco):
    write_coco("val", count=1)
    (tmp_path / "xml").mkdir()
    document = voc_document(voc_object("dog", (1, 1, 10, 20)), width=40, height=30)
    (tmp_path / "xml" / "val0.xml").write_text(document)
    split = read("xml")
    assert split.images[0].boxes.tolist() == [[0, 0, 10, 20]]
    assert read("xml", one_based=False).images[0].boxes.tolist() == [[1, 1, 10, 20]]
    assert evaluate(knows(split), split)["ap/dog"] == pytest.approx(1.0)


def test_what_is_twice_in_the_truth_is_told_of(tmp_path, changed, capsys):
    def double(content):
        content["images"][2] |= {key: content["images"][0][key] for key in ("width", "height")}
        x, y, width, height = content["annotations"][0]["bbox"]
        corners = [x + width, y + height, -width, -height]
        content["annotations"].append({**content["annotations"][0], "bbox": corners})
        images = tmp_path / "images"
        (images / "val2.png").write_bytes((images / "val0.png").read_bytes())

    split = changed(double, count=3)
    print_evaluation(split, evaluate(knows(split), split), CARD)
    said = " ".join(capsys.readouterr().out.split())
    assert "3 images, 4 boxes, 1 with corners put in order" in said
    assert "warning: 1 of 4 boxes in the truth repeat another of their class" in said
    assert "warning: val0.png and val2.png in the truth are the same image" in said


def test_the_table_has_a_row_per_class_and_per_size(capsys):
    scores = {"ap": 0.5, "ap50": 0.75, "ar_150": 0.6, "ap/cat": 0.25, "ap50/cat": 1.0}
    scores |= {"ar_150/cat": 0.4, "ap_small": 0.1, "ap_medium": 0.2, "ar_small": 0.3}
    scores |= dict.fromkeys(["ap/dog", "ap50/dog", "ar_150/dog"], math.nan)
    scores |= dict.fromkeys(["ap_large", "ar_medium", "ar_large"], math.nan)
    print_ap("Scores", scores, ("cat", "dog"), limit=150)
    lines = capsys.readouterr().out.replace("│", " ").replace("┃", " ").splitlines()
    rows = [" ".join(line.split()) for line in lines]
    assert "AP AP50 AR" in rows
    assert "all classes 0.500 0.750 0.600" in rows
    assert "cat 0.250 1.000 0.400" in rows
    assert "dog - - -" in rows
    assert "boxes under 32 x 32 px 0.100 - 0.300" in rows
    assert "larger boxes - - -" in rows
    assert "AP is over the best 150 detections of a class in an image, at most." in lines
