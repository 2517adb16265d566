"""COCO AP by hand; test_coco_eval compares it with pycocotools."""

import copy
import math

import pytest
import torch

from tasks.detection.options import DetectorOptions
from tasks.detection.scores.metrics import coco_ap, to_results
from tests.tasks.detection.conftest import one_class


def found(*boxes):
    """Detections in the order of falling scores."""
    of = {"image_id": 5, "category_id": 3}
    return [of | {"bbox": box, "score": 0.9 - 0.1 * i} for i, box in enumerate(boxes)]


def test_ap_by_hand():
    """Two boxes; the best detection is right, the second wrong, the third right.

    The precision is 1 up to a recall of 1/2 (51 of the 101 levels), then 2/3 (the other 50).
    """
    truth = one_class([[0, 0, 50, 50], [100, 100, 50, 50]])
    results = found([0, 0, 50, 50], [200, 200, 50, 50], [100, 100, 50, 50])
    scores = coco_ap(truth, results)
    assert scores["ap50"] == pytest.approx((51 + 50 * 2 / 3) / 101)
    assert scores["ap"] == pytest.approx((51 + 50 * 2 / 3) / 101)
    assert scores["ap/cell"] == scores["ap"]
    assert scores["ar_1"] == 0.5
    assert scores["ar_100"] == scores["ar_100/cell"] == 1.0


def test_ap_is_the_mean_over_ten_thresholds_by_hand():
    """An overlap of 40 x 50 in a union of 50 x 50 is an IoU of 0.8: right up to 0.80, 7 of 10."""
    scores = coco_ap(one_class([[0, 0, 50, 50]]), found([0, 0, 40, 50]))
    assert scores["ap"] == pytest.approx(0.7)
    assert scores["ap50"] == scores["ap75"] == pytest.approx(1.0)


@pytest.mark.parametrize("count", [100, 150, 300])
def test_all_that_a_detector_may_return_count(count):
    """150 perfect detections have a recall of 100 / 150 with COCO's limit: AP 67 / 101."""
    truth = one_class([[20 * i, 0, 10, 10] for i in range(count)])
    results = [entry | {"score": 0.9} for entry in truth["annotations"]]
    more, usual = (DetectorOptions(detections_per_image=n).scored_detections for n in (300, 5))
    scores = coco_ap(truth, results, limit=more)
    assert scores["ap"] == scores["ap/cell"] == scores["ar_300"] == pytest.approx(1.0)
    assert scores["ar_10"] == pytest.approx(10 / count)
    assert usual == 100
    reached = {100: 1.0, 150: 67 / 101, 300: 34 / 101}[count]
    assert coco_ap(truth, results, limit=usual)["ap"] == pytest.approx(reached)


def test_a_detection_in_a_crowd_counts_neither_way():
    truth = one_class([[0, 0, 50, 50]], crowd=([100, 100, 200, 200],))
    assert coco_ap(truth, found([120, 120, 50, 50], [0, 0, 50, 50]))["ap"] == pytest.approx(1.0)


def test_without_any_detection_all_scores_are_0():
    scores = coco_ap(one_class([[0, 0, 50, 50]]), [])
    measured = {name: score for name, score in scores.items() if not math.isnan(score)}
    assert {"ap", "ap50", "ar_100", "ap/cell", "ap50/cell"} < set(measured)
    assert set(measured.values()) == {0.0}


def test_a_class_or_a_size_without_boxes_is_nan_and_no_part_of_the_mean():
    truth = one_class([[0, 0, 50, 50]])
    truth["categories"].append({"id": 4, "name": "platelet"})
    scores = coco_ap(truth, found([0, 0, 50, 50]))
    assert scores["ap"] == pytest.approx(1.0)
    assert scores["ap_medium"] == pytest.approx(1.0)
    missing = {name for name, score in scores.items() if math.isnan(score)}
    sizes = {f"{kind}_{size}" for kind in ("ap", "ar") for size in ("small", "large")}
    assert missing == {f"{name}/platelet" for name in ("ap", "ap50", "ar_100")} | sizes


def test_a_split_without_any_box_is_nan():
    scores = coco_ap(one_class([]), found([0, 0, 50, 50]))
    assert all(math.isnan(score) for score in scores.values())


def test_what_is_scored_is_not_changed():
    truth, results = one_class([[0, 0, 50, 50]]), found([0, 0, 40, 50])
    before = copy.deepcopy((truth, results))
    coco_ap(truth, results)
    assert (truth, results) == before


def test_results_have_the_data_sets_ids_and_boxes_as_xywh():
    prediction = {
        "boxes": torch.tensor([[1.0, 2.0, 11.0, 7.5], [0.0, 0.0, 3.25, 4.0]]),
        "labels": torch.tensor([2, 1]),
        "scores": torch.tensor([0.75, 0.123456]),
    }
    assert to_results(prediction, image_id=9, category_ids=[5, 90]) == [
        {"image_id": 9, "category_id": 90, "bbox": [1, 2, 10, 5.5], "score": 0.75},
        {"image_id": 9, "category_id": 5, "bbox": [0, 0, 3.25, 4], "score": 0.12346},
    ]


def test_results_of_bfloat16_are_plain_numbers():
    prediction = {
        "boxes": torch.tensor([[1.0, 2.0, 11.0, 7.0]], dtype=torch.bfloat16),
        "labels": torch.tensor([1]),
        "scores": torch.tensor([0.5], dtype=torch.bfloat16),
    }
    (result,) = to_results(prediction, image_id=1, category_ids=[1])
    assert [type(value) for value in result["bbox"]] == [float] * 4
    assert result["bbox"] == [1, 2, 10, 5]
    assert to_results({k: v[:0] for k, v in prediction.items()}, image_id=1, category_ids=[1]) == []
