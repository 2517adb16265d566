"""What a run keeps of its test: files from which other programs make the same scores."""

import json
from pathlib import Path

import numpy as np
import pytest
from pycocotools.coco import COCO

from tasks.detection.data.raw_annotations import LabelledImage, Region
from tasks.detection.scores.kept import write_kept
from tasks.detection.scores.metrics import coco_ap
from tasks.detection.scores.results import evaluate_results, read_truth
from tests.backbones.errors import refuses
from tests.tasks.detection.conftest import by_pycocotools, cleaned_set

BOXES = {
    "a_1.png": [(1, (0, 0, 9, 9)), (2, (5, 5, 30, 60))],  # the second goes over the edge
    "a_2.png": [],
    "b_1.png": [(2, (1, 1, 8, 8)), (1, (9, 9, 20, 20))],  # the second is a crowd
}


@pytest.fixture
def split():
    """Three images of cats and dogs."""
    images = []
    for name, rows in BOXES.items():
        regions = [Region(label=label, bbox=box, ignored=box[2] == 20) for label, box in rows]
        size = {"height": 30, "width": 40}
        images.append(LabelledImage(path=Path(name), file_name=name, regions=regions, **size))
    return cleaned_set(images, category_ids=(7, 3))


def found_in(split):
    """Two detections near each box, by image, not in the order of the ids."""
    rng = np.random.default_rng(0)
    results = {record.image_id: [] for record in reversed(split.images)}
    for entry in split.truth["annotations"]:
        for spread in (0.5, 3):
            box = (np.array(entry["bbox"]) + rng.normal(0, spread, 4)).clip(1).round(3).tolist()
            found = {"image_id": entry["image_id"], "category_id": entry["category_id"]}
            results[entry["image_id"]].append(found | {"bbox": box, "score": rng.random()})
    return results


def read(path):
    return json.loads(path.read_text())


def test_the_files_give_the_scores_of_the_run_again_here_and_in_pycocotools(split, tmp_path):
    results = found_in(split)
    write_kept(tmp_path / "scored", split.truth, results)
    truth, found = (tmp_path / "scored" / name for name in ("truth.json", "predictions.json"))
    scores = coco_ap(split.truth, [one for key in sorted(results) for one in results[key]])
    assert 0 < scores["ap"] < 1
    again, *_ = evaluate_results(found, read_truth(truth), limit=None)
    assert again == pytest.approx(scores, abs=0, nan_ok=True)
    assert by_pycocotools(read(truth), read(found)).stats[0] == scores["ap"]
    assert COCO(str(truth)).loadRes(str(found)).getImgIds() == [1, 2, 3]
    ids = [one["image_id"] for one in read(found)]
    assert ids == sorted(ids)
    assert len(set(ids)) == 2
    names = {path.name for path in (tmp_path / "scored").iterdir()}
    assert names == {"truth.json", "predictions.json"}
    assert not any("group" in image for image in read(truth)["images"])


def test_images_without_detections_are_kept_too(split, tmp_path):
    write_kept(tmp_path, split.truth, {1: [], 2: [], 3: []})
    assert read(tmp_path / "predictions.json") == []
    assert [image["file_name"] for image in read(tmp_path / "truth.json")["images"]] == [
        *("a_1.png", "a_2.png", "b_1.png")
    ]


def test_an_image_has_the_group_that_its_name_says(split, tmp_path):
    write_kept(tmp_path, split.truth, found_in(split), group=r"(\w)_\d")
    assert [image["group"] for image in read(tmp_path / "truth.json")["images"]] == ["a", "a", "b"]
    assert "group" not in split.truth["images"][0]
    with refuses("group is 'q' with 0 groups"):
        write_kept(tmp_path, split.truth, {}, group="q")
