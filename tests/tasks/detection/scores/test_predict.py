"""Detections written for files and folders, with a detector whose answers are known."""

import json

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from tasks.common.predict.predict import PredictOptions
from tasks.detection.scores.predict import draw_predictions, find_images, predict_files
from tasks.detection.scores.trained import TrainedDetector
from tests.backbones.errors import refuses
from tests.tasks.detection.conftest import CARD, coco_of


class Answers(nn.Module):
    """Finds the same in every image, and keeps the images."""

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


def blank(path):
    path.parent.mkdir(exist_ok=True)
    Image.new("RGB", (30, 20)).save(path)


@pytest.fixture
def folder(tmp_path):
    for name in ("b.png", "a.JPG", "c.png"):
        blank(tmp_path / "photos" / name)
    (tmp_path / "photos" / "notes.txt").touch()
    return tmp_path / "photos"


def predict(folder, output, *, detector=None, threshold=0.5, settings=None, **options):
    files = find_images([folder], output=output)
    model = TrainedDetector(network=detector or Answers(), card=CARD)
    chosen = PredictOptions(output=output, **settings or {})
    return predict_files(model, files, chosen, threshold=threshold, **options)


def texts(steps):
    return [step.text for step in steps if step.text]


def written(output):
    """Return the entries of ``images.json``, and those of ``predictions.json``."""
    files = (output / f"{name}.json" for name in ("images", "predictions"))
    images, results = (json.loads(file.read_text()) for file in files)
    return images["images"], results


def overlays(output):
    pictures = (output / "overlays").rglob("*.png")
    return sorted(str(path.relative_to(output / "overlays")) for path in pictures)


def test_images_are_found_in_order_and_overlays_of_an_earlier_prediction_are_none(folder):
    for _ in range(2):
        found = find_images([folder], output=folder / "out")
        assert [file.name for file in found] == ["a.JPG", "b.png", "c.png"]
        list(predict(folder, folder / "out"))


def test_all_detections_are_written_as_coco_results_for_pycocotools(folder, tmp_path):
    list(predict(folder, tmp_path / "out"))
    images, results = written(tmp_path / "out")
    assert [result["image_id"] for result in results] == [1, 1, 2, 2, 3, 3]
    score = pytest.approx(0.9, abs=1e-5)
    assert results[0] == {"image_id": 1, "category_id": 90, "bbox": [2, 3, 10, 5], "score": score}
    assert results[1]["category_id"] == 3
    assert images[1] == {"id": 2, "file_name": "b.png", "height": 20, "width": 30}
    truth = json.loads((tmp_path / "out" / "images.json").read_text())
    assert truth["categories"] == [{"id": 3, "name": "cat"}, {"id": 90, "name": "dog"}]
    coco = coco_of(truth | {"annotations": []})
    loaded = coco.loadRes(str(tmp_path / "out" / "predictions.json"))
    assert len(loaded.getAnnIds(imgIds=[2], catIds=[90])) == 1


def test_an_overlay_shows_what_is_above_the_threshold(folder, tmp_path, monkeypatch):
    drawn = []

    def draw(image, boxes, labels, *, classes, scores):
        drawn.append((image.shape, boxes.tolist(), [classes[k - 1] for k in labels]))
        assert scores.tolist() == pytest.approx([0.9])
        return np.full((3, 4, 3), 200, np.uint8)

    monkeypatch.setattr("tasks.detection.scores.predict.draw_boxes", draw)
    lines = texts(predict(folder / "b.png", tmp_path / "out"))
    assert drawn == [((20, 30, 3), [[2, 3, 12, 8]], ["dog"])]
    (overlay,) = (tmp_path / "out" / "overlays").iterdir()
    assert overlay.name == "b.png"
    assert (np.asarray(Image.open(overlay)) == 200).all()
    end = f"1 of 1 files predicted; results are in {tmp_path}/out"
    assert lines == ["b.png: 1 of 2 detections shown", end]


def test_every_image_has_an_overlay_of_its_own_and_of_its_shape(folder, tmp_path):
    blank(folder / "b.bmp")
    list(predict(folder, tmp_path / "out"))
    assert overlays(tmp_path / "out") == ["a.png", "b.bmp.png", "b.png.png", "c.png"]
    for path in (tmp_path / "out" / "overlays").iterdir():
        height, width = cv2.imread(str(path)).shape[:2]
        assert width / height == 30 / 20


def test_files_of_one_name_in_two_folders_stay_two(folder, tmp_path):
    for name in ("x", "y"):
        blank(folder / name / "1.jpg")
    lines = texts(predict(folder, tmp_path / "out", image_ids=[5, 6, 7, 11, 22]))
    images, results = written(tmp_path / "out")
    ids = {entry["file_name"]: entry["id"] for entry in images}
    assert ids == {"a.JPG": 5, "b.png": 6, "c.png": 7, "x/1.jpg": 11, "y/1.jpg": 22}
    assert [result["image_id"] for result in results] == [5, 5, 6, 6, 7, 7, 11, 11, 22, 22]
    assert overlays(tmp_path / "out")[-2:] == ["x/1.png", "y/1.png"]
    assert lines[-2] == "y/1.jpg: 1 of 2 detections shown"


def test_an_image_too_narrow_for_the_detector_is_skipped(folder, tmp_path):
    Image.new("RGB", (300, 2)).save(folder / "b.png")
    lines = []
    with refuses("1 of 3 files were skipped: 'b.png'"):
        lines.extend(iter(predict(folder, tmp_path / "out")))
    images, _ = written(tmp_path / "out")
    assert [entry["file_name"] for entry in images] == ["a.JPG", "c.png"]


def test_damaged_files_are_skipped_and_named_and_the_others_are_written(folder, tmp_path):
    (folder / "b.png").write_bytes(b"GIF89a no image")
    (folder / "0.jpg").touch()
    (folder / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    lines, message = [], r"3 of 5 files were skipped: '0.jpg', 'b.png', 'gone.jpg'; everything else"
    with refuses(message):
        lines.extend(iter(predict(folder, tmp_path / "out")))
    images, _ = written(tmp_path / "out")
    assert [(entry["id"], entry["file_name"]) for entry in images] == [(2, "a.JPG"), (4, "c.png")]
    assert len(overlays(tmp_path / "out")) == 2
    lines = predict(folder, tmp_path / "again")
    assert [next(lines).text.partition(",")[0] for _ in range(3)][2] == "b.png: skipped"


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError, None])
def test_what_was_done_is_kept_however_the_loop_ends(folder, tmp_path, error):
    """By Ctrl-C in the middle of a detection, out of memory in a large image, or by its caller."""

    class Fails(Answers):
        def forward(self, images):
            if len(self.shown) == 2:
                raise error
            return super().forward(images)

    lines = predict(folder, tmp_path / "out", detector=Fails())
    next(lines), next(lines)
    if error is None:
        lines.close()
    else:
        with pytest.raises(error):
            next(lines)
    images, results = written(tmp_path / "out")
    assert [entry["file_name"] for entry in images] == ["a.JPG", "b.png"]
    assert len(results) == 4


def damage(folder):
    for file in folder.iterdir():
        file.write_bytes(b"GIF89a no image")


@pytest.mark.parametrize(
    ("spoil", "threshold", "message"),
    [
        (damage, 7, "threshold takes a score from 0 to 1, got 7"),
        (lambda folder: blank(folder / "B.png"), 0.5, "of 'B.png' and 'b.png', would be called"),
        (damage, 0.5, "3 of 3 files were skipped: 'a.JPG', 'b.png', 'c.png'; nothing is written"),
    ],
    ids=["threshold", "one overlay for two", "every file damaged"],
)
def test_what_cannot_be_predicted_writes_nothing(folder, tmp_path, spoil, threshold, message):
    spoil(folder)
    with refuses(message):
        list(predict(folder, tmp_path / "out", threshold=threshold))
    assert not (tmp_path / "out").exists()


def test_the_picture_of_a_split_shows_images_with_boxes_first(write_coco, tmp_path, monkeypatch):
    split = write_coco("val", count=5)
    bare = [record for record in split.images if record.image_id in (0, 2)]
    for record in bare:
        object.__setattr__(record, "boxes", record.boxes[:0])
    split.truth["annotations"].append({"image_id": 3, "bbox": [1, 2, 3, 4], "iscrowd": 1})
    chosen = []
    monkeypatch.setattr(
        "tasks.detection.scores.predict.prediction_grid",
        lambda samples, *, classes, path: chosen.extend(samples),  # noqa: ARG005
    )
    draw_predictions(
        TrainedDetector(network=Answers(), card=CARD), split, tmp_path / "p.png", count=3
    )
    assert [sample.heading for sample in chosen] == ["val1.png", "val3.png", "val4.png"]
    assert chosen[0].boxes.tolist() == [[2, 3, 12, 8], [0, 0, 4, 4]]
    assert chosen[0].truth_boxes.tolist() == [[0, 0, 2, 9]]
    assert [sample.crowd_boxes.tolist() for sample in chosen] == [[], [[1, 2, 4, 6]], []]
