"""Scores of detectors whose answers are known."""

import json
import math

import pytest
import torch
from torch import nn

from backbones import BackboneOptions, Conventions
from tasks.detection.model.card import DetectorCard
from tasks.detection.options import DetectorOptions
from tasks.detection.scores.evaluate import evaluate, print_ap, print_evaluation, read_annotations

CARD = DetectorCard(
    backbone="resnet18",
    backbone_options=BackboneOptions(),
    options=DetectorOptions(),
    classes=("cat", "dog"),
    category_ids=(1, 2),
    conventions=Conventions(mean=(0.0,) * 3, std=(1.0,) * 3),
    provenance="none",
)


class Knows(nn.Module):
    """Returns the boxes of a split in its order, with some left out."""

    def __init__(self, split, *, only=lambda _index: True):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.records = iter(split.images)
        self.only = only

    def forward(self, images):
        answers = []
        for image in images:
            record = next(self.records)
            assert image.shape[1:] == (record.height, record.width)
            keep = self.only(record.image_id)
            boxes = torch.from_numpy(record.boxes)[: len(record.boxes) if keep else 0]
            labels = torch.from_numpy(record.labels)[: len(boxes)]
            answers.append({"boxes": boxes, "labels": labels, "scores": torch.ones(len(boxes))})
        return answers


def test_a_detector_that_knows_everything_has_an_ap_of_1(write_coco):
    split = write_coco("val", count=4)
    scores = evaluate(Knows(split), CARD, split)
    assert scores["ap"] == pytest.approx(1.0)
    assert scores["ap/cat"] == pytest.approx(1.0)
    assert math.isnan(scores["ap/dog"])


def test_a_detector_that_knows_half_the_images_has_half_the_recall(write_coco):
    split = write_coco("val", count=4)
    scores = evaluate(Knows(split, only=lambda index: index % 2 == 0), CARD, split)
    assert scores["ar_100"] == pytest.approx(0.5)
    assert scores["ap"] == pytest.approx(51 / 101)  # precision 1 at recalls up to 1/2


def test_the_splits_own_category_ids_are_used(tmp_path, write_coco):
    """A file that numbers the checkpoint's classes in another way."""
    write_coco("val", count=2)
    file = tmp_path / "annotations" / "val.json"
    content = json.loads(file.read_text())
    content["categories"] = [{"id": 40, "name": "dog"}, {"id": 77, "name": "cat"}]
    for entry in content["annotations"]:
        entry["category_id"] = 77
    file.write_text(json.dumps(content))
    split = read_annotations(file, tmp_path / "images", classes=CARD.classes)
    assert list(split.category_ids) == [77, 40]
    assert evaluate(Knows(split), CARD, split)["ap/cat"] == pytest.approx(1.0)


def test_annotations_with_other_classes_are_refused(tmp_path, write_coco):
    write_coco("val", count=2, classes=("cow", "dog"))
    with pytest.raises(ValueError, match="cow"):
        read_annotations(
            tmp_path / "annotations" / "val.json", tmp_path / "images", classes=CARD.classes
        )


def test_a_missing_image_is_an_error_before_anything_is_scored(tmp_path, write_coco):
    write_coco("val", count=3)
    (tmp_path / "images" / "val1.png").unlink()
    with pytest.raises(ValueError, match=r"1 of 3 images .*val1.png does not exist. .* holds") as e:
        read_annotations(
            tmp_path / "annotations" / "val.json", tmp_path / "images", classes=CARD.classes
        )
    assert str(e.value).endswith("Repair or remove them.")  # on_bad_image is an option of training


def test_a_folder_is_read_as_pascal_voc(tmp_path, write_coco):
    write_coco("val", count=1)
    (tmp_path / "xml").mkdir()
    (tmp_path / "xml" / "val0.xml").write_text(
        "<annotation><filename>val0.png</filename>"
        "<size><width>40</width><height>30</height><depth>3</depth></size>"
        "<object><name>dog</name><difficult>0</difficult><bndbox><xmin>1</xmin><ymin>1</ymin>"
        "<xmax>10</xmax><ymax>20</ymax></bndbox></object></annotation>"
    )
    split = read_annotations(tmp_path / "xml", tmp_path / "images", classes=CARD.classes)
    assert split.images[0].boxes.tolist() == [[0, 0, 10, 20]]
    zero = read_annotations(
        tmp_path / "xml", tmp_path / "images", classes=CARD.classes, one_based=False
    )
    assert zero.images[0].boxes.tolist() == [[1, 1, 10, 20]]
    assert evaluate(Knows(split), CARD, split)["ap/dog"] == pytest.approx(1.0)


def test_what_is_twice_in_the_truth_is_told_of(tmp_path, write_coco, capsys):
    write_coco("val", count=3)
    file = tmp_path / "annotations" / "val.json"
    content = json.loads(file.read_text())
    first, other = content["images"][0], content["images"][2]
    other |= {key: first[key] for key in ("width", "height")}
    x, y, width, height = content["annotations"][0]["bbox"]
    content["annotations"] += [
        {**entry, "id": 100 + number, "bbox": [x + width, y + height, -width, -height]}
        for number, entry in enumerate(content["annotations"][:1])
    ]
    file.write_text(json.dumps(content))
    (tmp_path / "images" / "val2.png").write_bytes((tmp_path / "images" / "val0.png").read_bytes())
    split = read_annotations(file, tmp_path / "images", classes=CARD.classes)
    print_evaluation(split, evaluate(Knows(split), CARD, split), CARD)
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
