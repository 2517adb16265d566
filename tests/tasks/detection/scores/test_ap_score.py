"""AP of weighted images against pycocotools on files in which those images are repeated."""

import itertools

import numpy as np
import pytest

from tasks.common.statistics.paired import permutation_test
from tasks.detection.scores.ap_score import scored
from tasks.detection.scores.metrics import coco_ap
from tests.tasks.detection.conftest import by_pycocotools
from tests.tasks.detection.scores.test_coco_eval import IMAGES, awkward, smooth


def named(truth, **of_image):
    """The truth with a file name for each image, whose order is not that of the ids."""
    images = [
        {"id": id_, "file_name": f"{name}.png"}
        | {key: values[name] for key, values in of_image.items()}
        for name, id_ in enumerate(IMAGES)
    ]
    return truth | {"images": images}


def repeated(truth, results, counts):
    """A COCO file with each image so often, and the detections in it."""
    copies = {
        image: [10 * place + k for k in range(count)]
        for place, (image, count) in enumerate(zip(IMAGES, counts, strict=True))
    }
    boxes = [e | {"image_id": c} for e in truth["annotations"] for c in copies[e["image_id"]]]
    return (
        truth
        | {
            "images": [{"id": c} for of_one in copies.values() for c in of_one],
            "annotations": [box | {"id": number} for number, box in enumerate(boxes, 1)],
        },
        [one | {"image_id": c} for one in results for c in copies[one["image_id"]]],
    )


def by_hand(truth, results):
    """AP, AP50 and AP of each class of pycocotools; NaN where nothing is to be found."""
    precision = by_pycocotools(truth, results).eval["precision"][..., 0, -1]
    parts = [precision, precision[0], *np.moveaxis(precision, 2, 0)]
    return [p[p > -1].mean() if (p > -1).any() else np.nan for p in parts]


@pytest.mark.parametrize("seed", range(2))
def test_an_image_of_weight_2_is_that_image_twice_in_the_file(seed):
    """Crowds, small boxes and an image without boxes are among them; no scores are equal."""
    truth, results = smooth(seed)
    truth["annotations"][seed]["iscrowd"] = 1
    score = scored(named(truth), results).score
    assert score.names == ("ap", "ap50", "ap/class 2", "ap/class 5", "ap/class 11", "ap/class 90")
    rows = np.random.default_rng(seed).integers(0, 4, (3, len(IMAGES)))
    rows[0] = 1
    rows[1] = [0, 0, 2, 0, 0, 0]
    values = score.values(rows.astype(float))
    for counts, found in zip(rows, values, strict=True):
        expected = by_hand(*repeated(truth, results, counts))
        np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert (values[:, 0] > 0.05).all()


@pytest.mark.parametrize("seed", range(4))
def test_with_equal_scores_ap_of_all_images_is_pycocotoolss(seed):
    truth, results = awkward(seed)
    score = scored(truth, results).score
    expected = coco_ap(truth, results)
    assert score.of_all() == pytest.approx([expected[n] for n in score.names], nan_ok=True)


def test_images_of_a_group_are_drawn_together():
    truth, results = smooth(1)
    found = scored(named(truth, group=["b", "a", "b", "c", "a", "c"]), results)
    assert (found.score.units, found.noun) == (3, "group")
    expected = by_hand(*repeated(truth, results, [0, 2, 0, 1, 2, 1]))
    np.testing.assert_allclose(found.score.values(np.array([[2.0, 0, 1]]))[0], expected)


def test_swapped_images_are_those_of_the_other_detector():
    """Every way to swap, scored by swapping detections in the results; the last image has none."""
    truth, first = smooth(2)
    second = [one | {"score": one["score"] ** 2} for one in first[::2]]
    sides = [{i: [r for r in one if r["image_id"] == i] for i in IMAGES} for one in (first, second)]
    scores = []
    for ways in itertools.product((0, 1), repeat=len(IMAGES) - 1):
        mixed = [r for i, way in zip(IMAGES, ways, strict=False) for r in sides[way][i]]
        scores.append(coco_ap(truth, mixed)["ap"])
    differences = np.array(scores[::-1]) - scores  # the other way round is as far from the end
    far = np.abs(differences) >= abs(differences[0]) - 1e-12
    both = [scored(truth, results).score for results in (first, second)]
    assert permutation_test(*both)[0] == far.mean()
    assert 0.02 < far.mean() < 1


def test_the_truth_is_told_by_its_boxes_and_not_their_order():
    truth, results = smooth(0)
    one = scored(named(truth), results).truth
    turned = truth | {"annotations": truth["annotations"][::-1]}
    assert scored(named(turned), []).truth == one
    moved = [e | {"bbox": [0, 0, 9, 9]} if e["id"] == 1 else e for e in truth["annotations"]]
    other = scored(named(truth | {"annotations": moved}), results).truth
    assert [name for name in one if one[name] != other[name]] == ["0.png"]


def test_nothing_found_is_an_ap_of_0():
    truth, _ = smooth(0)
    values = scored(truth, []).score.of_all()
    assert values[:2].tolist() == [0, 0]


@pytest.mark.parametrize("seed", range(2))
def test_equal_scores_of_two_detectors_stay_in_the_order_of_the_images(seed):
    truth, first = awkward(seed)
    second = [one | {"bbox": [1, 1, 30, 30]} if n % 2 else one for n, one in enumerate(first)]
    both = scored(truth, first).score.beside(scored(truth, second).score)
    ids = sorted(IMAGES)
    for way in np.random.default_rng(seed).integers(0, 2, (4, len(ids))):
        sources = dict(zip(ids, way, strict=True))
        mixed = [
            one
            for s, part in enumerate((first, second))
            for one in part
            if sources[one["image_id"]] == s
        ]
        expected = coco_ap(truth, mixed)
        # Units are in the order of the images' names, here their ids as texts.
        units = [sources[int(name)] for name in sorted(map(str, ids))]
        weights = np.concatenate([1 - np.array(units), units])[None].astype(float)
        found = dict(zip(both.names, both.values(weights)[0], strict=True))
        assert found == pytest.approx({n: expected[n] for n in both.names}, nan_ok=True)
