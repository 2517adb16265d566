"""Detections written for files and folders, with a detector whose answers are known."""

import json

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools.coco import COCO
from torch import nn

from tasks.detection.checkpoint import DetectorCard
from tasks.detection.model import DetectorOptions
from tasks.detection.predict import (
    detect,
    draw_predictions,
    find_images,
    predict_files,
    read_image_ids,
)

CARD = DetectorCard(
    backbone="resnet18",
    norm="batch",
    in_channels=3,
    options=DetectorOptions(),
    classes=("cat", "dog"),
    category_ids=(3, 90),
    mean=(0.0,) * 3,
    std=(1.0,) * 3,
    epsilon=1e-5,
    provenance="none",
)


class Answers(nn.Module):
    """Says the same of every image, and keeps what it was shown."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.shown = []

    def forward(self, images):
        self.shown += images
        found = {
            "boxes": torch.tensor([[2.0, 3.0, 12.0, 8.0], [0.0, 0.0, 4.0, 4.0]]),
            "labels": torch.tensor([2, 1]),
            "scores": torch.tensor([0.9, 0.3]),
        }
        return [found] * len(images)


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for index, name in enumerate(["b.png", "a.JPG", "c.png"]):
        pixels = np.full((20, 30, 3), [index, 100, 200], np.uint8)
        Image.fromarray(pixels).save(folder / name)
    (folder / "notes.txt").touch()
    return folder


def predict(folder, output, **options):
    values = {"output": output, "threshold": 0.5} | options
    return list(predict_files(Answers(), CARD, find_images(folder), **values))


def test_a_threshold_that_is_no_score_is_refused(folder, tmp_path):
    with pytest.raises(ValueError, match=r"threshold takes a score from 0 to 1, got 7"):
        predict(folder, tmp_path / "out", threshold=7)
    assert not (tmp_path / "out").exists()


def test_the_images_of_a_folder_are_found_in_order(folder):
    assert [file.name for file in find_images(folder)] == ["a.JPG", "b.png", "c.png"]
    assert find_images(folder / "b.png") == [folder / "b.png"]


def test_nothing_to_find_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no file or folder '.*nowhere'; give an image"):
        find_images(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"no image in '.*'; expected files that end in"):
        find_images(tmp_path)


def test_an_image_is_shown_to_the_detector_as_rgb_in_unit_range():
    detector = Answers()
    detect(detector, np.full((20, 30, 3), [0, 51, 255], np.uint8))
    (image,) = detector.shown
    assert image.shape == (3, 20, 30)
    torch.testing.assert_close(image[:, 0, 0], torch.tensor([0, 0.2, 1]))
    detect(detector, np.zeros((20, 30), np.uint8))
    assert detector.shown[1].shape == (1, 20, 30)


def test_all_detections_are_written_as_coco_results(folder, tmp_path):
    predict(folder, tmp_path / "out")
    results = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert [result["image_id"] for result in results] == [1, 1, 2, 2, 3, 3]
    assert results[0] == {
        "image_id": 1,
        "category_id": 90,
        "bbox": [2, 3, 10, 5],
        "score": pytest.approx(0.9, abs=1e-5),
    }
    assert results[1]["category_id"] == 3


def test_images_and_results_go_together_in_pycocotools(folder, tmp_path):
    predict(folder, tmp_path / "out")
    truth = json.loads((tmp_path / "out" / "images.json").read_text())
    assert truth["images"][1] == {"id": 2, "file_name": "b.png", "height": 20, "width": 30}
    assert truth["categories"] == [{"id": 3, "name": "cat"}, {"id": 90, "name": "dog"}]
    coco = COCO()
    coco.dataset = {**truth, "annotations": []}
    coco.createIndex()
    loaded = coco.loadRes(str(tmp_path / "out" / "predictions.json"))
    assert len(loaded.getAnnIds(imgIds=[2], catIds=[90])) == 1


def test_an_overlay_shows_what_is_above_the_threshold(folder, tmp_path, monkeypatch):
    drawn = []

    def save(path, image, boxes, labels, *, classes, scores):
        drawn.append((path.name, image.shape, boxes.tolist(), [classes[k - 1] for k in labels]))
        assert scores.tolist() == pytest.approx([0.9])

    monkeypatch.setattr("tasks.detection.predict.save_overlay", save)
    lines = predict(folder / "b.png", tmp_path / "out")
    assert drawn == [("b.png", (20, 30, 3), [[2, 3, 12, 8]], ["dog"])]
    assert lines == ["b.png: 1 of 2 detections shown"]


def test_every_image_has_an_overlay_of_its_size(folder, tmp_path):
    predict(folder, tmp_path / "out")
    overlays = sorted((tmp_path / "out" / "overlays").iterdir())
    assert [path.name for path in overlays] == ["a.png", "b.png", "c.png"]
    for path in overlays:
        height, width = cv2.imread(str(path)).shape[:2]
        assert width / height == 30 / 20


def test_images_of_one_name_have_overlays_of_their_own(folder, tmp_path):
    Image.new("RGB", (30, 20)).save(folder / "b.bmp")
    predict(folder, tmp_path / "out")
    assert len(list((tmp_path / "out" / "overlays").iterdir())) == 4


def test_the_ids_of_an_annotation_file_are_taken(folder, tmp_path):
    entries = [{"file_name": f"x/{n}", "id": i} for n, i in (("b.png", 7), ("c.png", 1))]
    (tmp_path / "a.json").write_text(json.dumps({"images": entries}))
    ids = read_image_ids(tmp_path / "a.json")
    assert ids == {"b.png": 7, "c.png": 1}
    predict(folder / "b.png", tmp_path / "out", image_ids=ids)
    results = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert {result["image_id"] for result in results} == {7}


@pytest.mark.parametrize("ids", [{"b.png": 1}, {}])
def test_files_without_an_id_are_refused_before_any_is_written(folder, tmp_path, ids):
    message = rf"{3 - len(ids)} of 3 files are not in the annotation file, such as 'a.JPG'"
    with pytest.raises(ValueError, match=message):
        predict(folder, tmp_path / "out", image_ids=ids)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("content", ["no json", "{}", "[]", '{"images": [{"id": 1}]}'])
def test_a_file_without_image_ids_is_refused(tmp_path, content):
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(ValueError, match=r"a.json is no COCO annotation file .*'file_name'"):
        read_image_ids(tmp_path / "a.json")


def test_a_file_that_is_no_image_is_named(folder, tmp_path):
    (folder / "b.png").write_bytes(b"GIF89a no image")
    message = r"1 of 1 files cannot be read: 'b.png'; .* The first: .*b.png cannot be decoded"
    with pytest.raises(ValueError, match=message):
        predict(folder / "b.png", tmp_path / "out")


def test_damaged_files_are_named_before_the_first_detection(folder, tmp_path):
    for index in range(6):
        (folder / f"d{index}.jpg").touch()
    (folder / "e.png").mkdir()
    detector = Answers()
    message = r"7 of 10 files cannot be read: 'd0.jpg', .*'d4.jpg' and 2 more; .*d0.jpg is empty"
    with pytest.raises(ValueError, match=message):
        list(
            predict_files(
                detector, CARD, find_images(folder), output=tmp_path / "out", threshold=0.5
            )
        )
    assert detector.shown == []
    assert not (tmp_path / "out").exists()


def test_the_picture_of_a_split_shows_images_with_boxes_first(write_coco, tmp_path, monkeypatch):
    split = write_coco("val", count=5)
    bare = [record for record in split.images if record.image_id in (0, 2)]
    for record in bare:
        object.__setattr__(record, "boxes", record.boxes[:0])
    split.truth["annotations"].append({"image_id": 3, "bbox": [1, 2, 3, 4], "iscrowd": 1})
    chosen = []
    monkeypatch.setattr(
        "tasks.detection.predict.prediction_grid",
        lambda samples, *, classes, path: chosen.extend(samples),  # noqa: ARG005
    )
    draw_predictions(Answers(), CARD, split, tmp_path / "p.png", count=3)
    assert [sample.heading for sample in chosen] == ["val1.png", "val3.png", "val4.png"]
    assert chosen[0].boxes.tolist() == [[2, 3, 12, 8], [0, 0, 4, 4]]
    assert chosen[0].truth_boxes.tolist() == [[0, 0, 2, 9]]
    assert [sample.crowd_boxes.tolist() for sample in chosen] == [[], [[1, 2, 4, 6]], []]
