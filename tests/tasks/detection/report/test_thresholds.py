"""Thresholds against brute force: every threshold matched anew, with what it leaves out gone."""

import numpy as np
import pytest

from tasks.detection.report.thresholds import USUAL, thresholds
from tasks.detection.scores.coco_eval import match
from tests.tasks.detection.conftest import by_pycocotools
from tests.tasks.detection.report.conftest import found_of, truth_of
from tests.tasks.detection.scores.test_coco_eval import awkward


def by_hand(truth, results):
    """Threshold, precision, recall and F1 of pycocotools's matches at each score, falling."""
    rows = []
    for score in sorted({one["score"] for one in results}, reverse=True):
        kept = [one for one in results if one["score"] >= score]
        images = [e for e in by_pycocotools(truth, kept).evalImgs if e and e["aRng"] == [0, 1e10]]
        counted = [~e["dtIgnore"][0].astype(bool) for e in images]
        tp = sum(
            (e["dtMatches"][0].astype(bool) & c).sum() for e, c in zip(images, counted, strict=True)
        )
        found = sum(c.sum() for c in counted)
        there = sum(not one["iscrowd"] for one in truth["annotations"])
        rows.append((score, tp / found, tp / there, 2 * tp / (found + there)))
    return np.array(rows)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_curve_and_its_best_f1_are_those_of_brute_force(seed):
    truth, results = awkward(seed)
    expected, curve = by_hand(truth, results), thresholds(match(truth, results))
    ours = np.stack([curve.scores, curve.precision, curve.recall, curve.f1], axis=1)
    np.testing.assert_allclose(ours, expected, rtol=1e-12)
    assert curve.best == expected[:, 3].argmax()
    assert curve.chosen == expected[expected[:, 3].argmax(), 0]


def test_a_class_has_a_curve_of_its_own():
    truth = truth_of((0, 0, 0, 0, 9, 9), (0, 1, 20, 0, 9, 9))
    found = found_of((0, 0, 0, 0, 9, 9, 0.3), (0, 1, 50, 0, 9, 9, 0.8), (0, 1, 20, 0, 9, 9, 0.4))
    cats, dogs = (thresholds(match(truth, found), label=label) for label in (0, 1))
    assert (cats.scores.tolist(), cats.f1.tolist(), cats.chosen) == ([0.3], [1.0], 0.3)
    assert dogs.precision.tolist() == [0, 0.5]
    assert dogs.f1.tolist() == [0, pytest.approx(2 / 3)]
    assert dogs.chosen == 0.4


def test_of_equal_f1_the_higher_threshold_is_chosen():
    truth = truth_of((0, 0, 0, 0, 9, 9), (0, 0, 20, 0, 9, 9), (0, 0, 40, 0, 9, 9))
    rows = [(0, 0, 0, 0, 9, 9, 0.9), (0, 0, 60, 0, 9, 9, 0.8), (0, 0, 20, 0, 9, 9, 0.7)]
    # F1: 2/4, 2/5, 4/6; and with the last, which is wrong and right at once, 4/7, 6/8
    curve = thresholds(match(truth, found_of(*rows)))
    assert curve.f1 == pytest.approx([2 / 4, 2 / 5, 4 / 6])
    more = [(0, 0, 80, 0, 9, 9, 0.6)] * 2 + [(0, 0, 40, 0, 9, 9, 0.5)]
    curve = thresholds(match(truth, found_of(*rows, *more)))
    assert curve.f1 == pytest.approx([2 / 4, 2 / 5, 4 / 6, 4 / 8, 6 / 9])
    assert curve.chosen == 0.7


@pytest.mark.parametrize(
    ("truth", "found", "count"),
    [
        (truth_of(images=2), [], 0),
        (truth_of((0, 0, 0, 0, 9, 9)), [], 0),
        (truth_of(), found_of((0, 0, 0, 0, 9, 9, 0.9)), 1),
        (truth_of((0, 0, 0, 0, 9, 9)), found_of((0, 0, 50, 0, 9, 9, 0.9)), 1),
    ],
)
def test_where_nothing_is_right_the_usual_threshold_is_taken(truth, found, count):
    curve = thresholds(match(truth, found))
    assert (len(curve.scores), curve.best, curve.chosen) == (count, None, USUAL)


def test_a_thinned_curve_has_its_ends_and_true_points():
    rng = np.random.default_rng(0)
    boxes = [(0, 0, int(10 * k), 0, 9, 9) for k in range(300)]
    rows = [(*box, score) for box, score in zip(boxes, rng.random(300), strict=True)]
    curve = thresholds(match(truth_of(*boxes[::2]), found_of(*rows[:100])))
    some = curve.thinned(20)
    assert 10 < len(some.scores) <= 20
    assert (some.scores[0], some.scores[-1]) == (curve.scores[0], curve.scores[-1])
    whole = set(zip(curve.scores, curve.precision, curve.recall, curve.f1, strict=True))
    assert set(zip(some.scores, some.precision, some.recall, some.f1, strict=True)) <= whole
    assert curve.thinned(1000) is curve
