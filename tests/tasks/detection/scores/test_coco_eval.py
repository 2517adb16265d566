"""The evaluator against pycocotools: all numbers of its arrays with ==, on cases made to differ."""

import json

import numpy as np
import pytest
from pycocotools import mask

from tasks.detection.data.layouts.coco import read_coco
from tasks.detection.scores import coco_match
from tasks.detection.scores.coco_eval import evaluate
from tasks.detection.scores.metrics import coco_ap
from tests.backbones.errors import refuses
from tests.tasks.detection.conftest import by_pycocotools

IMAGES = [30, 4, 2**60 + 1, 17, 9, 25]  # not in order; the last has nothing in it
CLASSES = [90, 2, 11, 5]  # the last has no boxes in the truth
SIDES = [16, 31, 32, 33, 95, 96, 97]  # areas at the borders of the ranges, and beside them


def awkward(seed):
    """Truth and detections on a coarse grid, so that IoUs, scores and areas are often equal."""
    rng = np.random.default_rng(seed)
    annotations, results = [], []
    for image in IMAGES[:-1]:
        for _ in range(int(rng.integers(0, 12))):
            side = int(rng.choice(SIDES))
            box = [*map(int, rng.integers(0, 5, 2) * 8), side, side]
            entry = {"image_id": image, "category_id": int(rng.choice(CLASSES[:-1])), "bbox": box}
            area = side * side if rng.random() < 0.5 else float(rng.choice([1024, 9216, 500.5]))
            crowd = int(rng.random() < 0.25)
            annotations.append(entry | {"id": len(annotations) + 1, "area": area, "iscrowd": crowd})
        for _ in range(int(rng.integers(0, 40))):
            side = int(rng.choice(SIDES))
            corner = rng.integers(0, 5, 2) * 8
            box = [*map(float, corner), float(side), float(rng.choice([side, 24]))]
            entry = {"image_id": image, "category_id": int(rng.choice(CLASSES)), "bbox": box}
            results.append(entry | {"score": round(float(rng.random()), 1)})
    return whole(annotations), results


def smooth(seed):
    """Detections near boxes, all numbers different, over 100 of a class in an image."""
    rng = np.random.default_rng(seed)
    annotations, results = [], []
    for image in IMAGES[:-1]:
        for _ in range(int(rng.integers(5, 15))):
            box = np.concatenate([rng.uniform(0, 200, 2), np.exp(rng.uniform(2, 5.5, 2))])
            label = int(rng.choice(CLASSES[:2]))
            entry = {"image_id": image, "category_id": label}
            area, crowd = float(box[2] * box[3] * rng.uniform(0.3, 1)), int(rng.random() < 0.1)
            number = {"id": len(annotations) + 1, "area": area, "iscrowd": crowd}
            annotations.append(entry | number | {"bbox": box.tolist()})
            for _ in range(int(rng.integers(0, 30))):
                near = box + rng.normal(0, rng.choice([0.02, 0.2]), 4) * box[[2, 3, 2, 3]]
                results.append(entry | {"bbox": near.clip(1).tolist(), "score": rng.random()})
    return whole(annotations), results


def whole(annotations):
    categories = [{"id": label, "name": f"class {label}"} for label in CLASSES]
    images = [{"id": image} for image in IMAGES]
    return {"images": images, "annotations": annotations, "categories": categories}


def assert_same_bits(truth, results, *, limit=100):
    """Return pycocotools's evaluation, which ours equals."""
    expected = by_pycocotools(truth, results, limit=limit)
    ours = evaluate(truth, results, limit=limit)
    np.testing.assert_array_equal(ours.precision, expected.eval["precision"][..., -1])
    np.testing.assert_array_equal(ours.recall, expected.eval["recall"])
    if limit == 100:
        numbers = list(coco_ap(truth, results).values())[:12]
        np.testing.assert_array_equal(np.nan_to_num(numbers, nan=-1), expected.stats)
    return expected


@pytest.mark.parametrize(
    ("case", "seeds"),
    [(awkward, 12), (smooth, 2), pytest.param(smooth, 6, marks=pytest.mark.slow)],
)
def test_precision_recall_and_the_twelve_numbers_have_the_bits_of_pycocotools(case, seeds):
    measured = [assert_same_bits(*case(seed)).stats for seed in range(seeds)]
    assert (np.max(measured, axis=0) > 0.05).all()  # the cases reach every one of the numbers


@pytest.mark.parametrize("limit", [10, 12, 60, 300])
def test_with_another_limit_the_arrays_have_the_bits_of_pycocotools(limit):
    for case, seed in ((awkward, 0), (smooth, 1), (smooth, 2)):
        truth, results = case(seed)
        expected = assert_same_bits(truth, results, limit=limit)
        # The first numbers of pycocotools's summary, by its own rule, at the last of the limits.
        known = expected.eval["precision"][..., 0, -1]
        recalls = expected.eval["recall"][..., 0, -1]
        scores = coco_ap(truth, results, limit=limit)
        assert scores["ap"] == known[known > -1].mean()
        assert scores[f"ar_{limit}"] == recalls[recalls > -1].mean()


def test_the_cases_have_what_makes_evaluators_differ():
    truths, found = zip(*(awkward(seed) for seed in range(8)), strict=True)
    boxes = [entry for truth in truths for entry in truth["annotations"]]
    assert {entry["iscrowd"] for entry in boxes} == {0, 1}
    assert {1024, 9216} <= {entry["area"] for entry in boxes}
    scores = [one["score"] for one in found[0]]
    assert len(set(scores)) < len(scores) / 2
    _, results = smooth(0)
    places = [(one["image_id"], one["category_id"]) for one in results]
    assert max(map(places.count, places)) > 100


@pytest.mark.parametrize(("corners", "recall"), [((0, 20), 1.0), ((20, 0), 0.5)])
def test_of_two_equal_overlaps_the_last_box_is_taken(corners, recall):
    """The first detection overlaps both by 0.6; the second needs the box at 0 to be left."""
    place = {"image_id": 4, "category_id": 2}
    box = {"area": 1600, "iscrowd": 0} | place
    truth = whole([box | {"id": 1 + x, "bbox": [x, 0, 40, 40]} for x in corners])
    found = [(10, 0.9), (0, 0.8)]
    results = [place | {"bbox": [x, 0, 40, 40], "score": score} for x, score in found]
    found = evaluate(truth, results)
    assert found.recall[0, found.category_ids.index(2), 0, -1] == recall
    assert_same_bits(truth, results)


def test_pairs_compared_in_small_parts_give_the_same(monkeypatch):
    monkeypatch.setattr(coco_match, "PAIRS_AT_ONCE", 7)
    assert_same_bits(*awkward(0))


def test_any_ids_give_the_same_numbers():
    """Ids that are text, and annotations from id 0, which pycocotools takes for "no match"."""
    truth, results = awkward(1)
    expected = evaluate(truth, results)
    images = {image: f"image {sorted(IMAGES).index(image)}" for image in IMAGES}
    for entry in [*truth["annotations"], *results]:
        entry["image_id"] = images[entry["image_id"]]
    for entry in truth["images"]:
        entry["id"] = images[entry["id"]]
    for number, entry in enumerate(truth["annotations"]):
        entry["id"] = number
    found = evaluate(truth, results)
    np.testing.assert_array_equal(found.precision, expected.precision)
    np.testing.assert_array_equal(found.recall, expected.recall)


def test_objects_of_a_category_that_is_not_listed_count_neither_way():
    truth, results = awkward(2)
    truth["categories"] = truth["categories"][1:]  # the others stay in annotations and results
    assert_same_bits(truth, results)


def test_without_results_nothing_is_found_and_without_images_nothing_measured():
    truth, _ = awkward(3)
    found = evaluate(truth, [])
    assert set(np.unique(found.precision)) == set(np.unique(found.recall)) == {-1, 0}
    found = evaluate({"images": [], "annotations": [], "categories": [{"id": 1}]}, [])
    assert (found.precision == -1).all()
    assert found.recall.shape == (10, 1, 4, 3)


def test_a_low_limit_and_results_of_another_split_are_refused():
    truth, results = awkward(4)
    with refuses(r"limit is 9; expected at least 10 detections"):
        evaluate(truth, results, limit=9)
    with refuses(r"1 images of the results .* 6 of the truth.*8.*split"):
        evaluate(truth, [*results, results[0] | {"image_id": 8}])


def test_the_overlap_has_the_bits_of_pycocotools():
    rng = np.random.default_rng(0)
    found, targets = rng.uniform(0, 60, (2, 200, 4))
    targets[:20] = found[:20]
    found[20:24, 2:] = 0
    crowds = rng.random(200) < 0.3
    overlaps = mask.iou(found, targets, crowds.astype(np.uint8))
    rows, columns = np.indices(overlaps.shape).reshape(2, -1)
    ours = coco_match.overlap(found[rows], targets[columns], crowds[columns])
    np.testing.assert_array_equal(ours.reshape(overlaps.shape), overlaps)
    assert 0.2 < (overlaps > 0).mean() < 0.9


def test_what_a_class_has_is_pycocotools_on_that_class_alone():
    truth, results = awkward(0)
    scores, measured = coco_ap(truth, results), []
    for label in CLASSES[:-1]:
        stats = by_pycocotools(truth, results, category=label).stats
        names = ("ap", "ap50", "ar_100")
        measured.append(tuple(scores[f"{name}/class {label}"] for name in names))
        assert measured[-1] == tuple(stats[[0, 1, 8]])
    assert len(set(measured)) == 3


def test_real_annotations_are_scored_as_by_pycocotools(real_data):
    """With the truth that we read, as with the file's own."""
    folder = real_data("coco128")
    file = folder / "annotations" / "instances_train2017.json"
    truth = read_coco(file, folder / "train2017").truth
    rng, results = np.random.default_rng(0), []
    for entry in truth["annotations"] * 2:
        near = (np.array(entry["bbox"]) + rng.normal(0, 4, 4)).clip(1).tolist()
        about = {key: entry[key] for key in ("image_id", "category_id")}
        results.append(about | {"bbox": near, "score": float(rng.random())})
    found = assert_same_bits(truth, results).stats
    assert 0.05 < found[0] < 0.95
    of_file = by_pycocotools(json.loads(file.read_text()), results)
    np.testing.assert_array_equal(found, of_file.stats)
