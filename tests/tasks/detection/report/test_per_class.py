"""Curves, tables and the worst class, against pycocotools's arrays and cases by hand."""

import math

import numpy as np
import pytest

from tasks.detection.report.charts import (
    MEAN,
    confusion_matrix,
    error_table,
    precision_recall,
    score_table,
    threshold_chart,
)
from tasks.detection.report.errors import Kind
from tasks.detection.report.findings import find
from tasks.detection.report.per_class import why_worst, worst_class
from tasks.detection.report.sizes import share_rows
from tasks.detection.report.thresholds import thresholds
from tests.tasks.detection.conftest import by_pycocotools
from tests.tasks.detection.report.conftest import found_of, sized, truth_of
from tests.tasks.detection.scores.test_coco_eval import awkward

CAT, DOG = 0, 1


def many(count, *, found, label=DOG, wrong=(), score=0.9):
    """Boxes of a class in a row, and detections of the first ``found``; ``wrong`` ones shifted."""
    boxes = [(0, label, 30 * n, 40 * label, 10, 10) for n in range(count)]
    rows = [(*box, score) for box in boxes[:found]]
    return boxes, rows + [(0, label, 30 * n, 200, 10, 10, score) for n in wrong]


def why(truth, found):
    findings = find(truth, found, limit=100)
    return " ".join(why_worst(findings.classes, findings.named))


def test_the_curves_are_those_of_pycocotools():
    truth, results = awkward(4)
    findings = find(sized(truth), results, limit=100)
    oracle = by_pycocotools(truth, results)
    names = findings.named.classes
    for iou, place in ((0.5, 0), (0.75, 5)):
        chart = precision_recall(findings.evaluation, names, iou=iou)
        expected = oracle.eval["precision"][place, :, :, 0, -1]
        known = [label for label in range(len(names)) if expected[0, label] > -1]
        assert 1 < len(known) < len(names)
        lines = {line.name.rpartition(" ")[0]: line for line in chart.lines}
        assert list(lines) == [MEAN, *(names[label] for label in known)]
        for label in known:
            assert lines[names[label]].y == expected[:, label].tolist()
            assert f"({expected[:, label].mean():.3f})" in lines[names[label]].name
        assert lines[MEAN].y == pytest.approx(expected[:, known].mean(1))
        assert lines[MEAN].x == oracle.params.recThrs.tolist()


def test_the_table_has_cocos_numbers_of_each_class():
    truth, results = awkward(5)
    findings = find(sized(truth), results, limit=100)
    names = findings.named.classes
    assert sum(row.boxes for row in findings.classes) > 10
    for label, row in enumerate(findings.classes):
        oracle = by_pycocotools(truth, results, category=findings.matched.category_ids[label])
        ours = np.nan_to_num([row.ap, row.ap50, row.ap75, row.ar], nan=-1)
        np.testing.assert_array_equal(ours, oracle.stats[[0, 1, 2, 8]])
        there = [a for a in truth["annotations"] if a["category_id"] == oracle.params.catIds[0]]
        assert row.boxes == sum(not a["iscrowd"] for a in there)
    scores = score_table(findings.classes, limit=100)
    for table in (scores, error_table(findings.classes, findings.named)):
        assert [len(cells) for cells in table.rows] == [len(table.headings)] * len(names)
    assert scores.rows[1][2] is None  # the class that is nowhere in the truth


@pytest.mark.parametrize("seed", [4, 7])
def test_what_ap_lacks_adds_up_and_is_that_of_pycocotools(seed):
    truth, results = awkward(seed)
    findings = find(sized(truth), results, limit=100)
    for label, row in enumerate(findings.classes):
        oracle = by_pycocotools(truth, results, category=findings.matched.category_ids[label])
        if oracle.stats[0] < 0:
            assert math.isnan(row.misplaced + row.unreached + row.outranked)
            continue
        curve, reached = (
            oracle.eval["precision"][0, :, 0, 0, -1],
            oracle.eval["recall"][0, 0, 0, -1],
        )
        levels = sum(0 < reached >= level - 1e-12 for level in oracle.params.recThrs)
        assert row.unreached == pytest.approx(1 - levels / 101)
        assert row.outranked == pytest.approx((levels - curve[:levels].sum()) / 101)
        assert row.misplaced + row.unreached + row.outranked == pytest.approx(1 - row.ap)
        own = thresholds(findings.matched, label=label)
        assert row.best == (None if own.best is None else own.chosen)


def test_each_part_that_ap_lacks_is_named():
    """Half of the boxes are found, and two wrong ones have higher scores."""
    dogs, found = many(4, found=2, score=0.5)
    rows = [*found, *[(0, DOG, 30 * n, 300, 9, 9, 0.9) for n in range(2)]]
    text = why(truth_of(*dogs), found_of(*rows))
    # Of 101 levels 51 are reached, with the precision 2/4: AP is 0.252.
    assert (
        "AP lacks 0.748 to 1: 0.495 because boxes are found at no score; 0.252 because wrong"
        in text
    )
    wrong = [(0, DOG, 30 * n, 300, 9, 9, 0.9) for n in range(15)]
    buried = why(truth_of(*dogs[:1]), found_of(*found[:1], *wrong))  # found, with precision 1/16
    assert "AP lacks 0.938 to 1: 0.938 because wrong detections have higher scores" in buried
    assert "as good as it can be" in why(truth_of(*dogs[:1]), found_of((*dogs[0], 0.9)))


def test_sizes_have_cocos_numbers_and_the_counts_of_boxes():
    truth, results = awkward(6)
    findings = find(sized(truth), results, limit=100)
    stats = by_pycocotools(truth, results).stats
    sizes = findings.sizes
    np.testing.assert_array_equal([row.ap for row in sizes], stats[3:6])
    np.testing.assert_array_equal([row.ar for row in sizes], stats[9:12])
    areas = [a["area"] for a in truth["annotations"] if not a["iscrowd"]]
    small = sum(area <= 32**2 for area in areas)
    large = sum(area >= 96**2 for area in areas)
    assert (sizes[0].boxes, sizes[2].boxes) == (small, large)
    assert sum(area == 32**2 for area in areas) > 0  # on the border, and in both


@pytest.mark.parametrize("factor", [1, 2, 0.25])
def test_shares_do_not_change_with_the_size_of_the_whole(factor):
    """Images of 640 x 640 pixels, where shares are pixels; then all of it larger or smaller."""
    truth, results = awkward(6)
    pixels = find(sized(truth), results, limit=100).sizes

    def scaled(entry, **more):
        return {**entry, "bbox": [factor * number for number in entry["bbox"]], **more}

    annotations = [scaled(a, area=a["area"] * factor**2) for a in truth["annotations"]]
    other = {**sized(truth, 640 * factor), "annotations": annotations}
    shares = share_rows(other, [scaled(one) for one in results], limit=100)
    assert len(shares) == len(pixels) == 3
    for ours, its in zip(shares, pixels, strict=True):
        assert (ours.boxes, ours.ap, ours.ar) == (its.boxes, its.ap, its.ar)


def test_the_worst_class_is_that_of_the_lowest_ap_and_its_most_frequent_error_is_named():
    cats, seen = many(4, found=4, label=CAT)
    dogs, found = many(10, found=3, wrong=(0, 1))
    findings = find(truth_of(*cats, *dogs), found_of(*seen, *found), limit=100)
    assert worst_class(findings.classes).name == "dog"
    text = " ".join(why_worst(findings.classes, findings.named))
    assert "'dog' has the lowest AP, 0." in text
    assert "the mean of the others is 1.000" in text
    assert "With a score of at least 0.900 it has 9 errors at IoU 0.5; 7 of them (78%) are" in text
    assert "missed: objects that no box lies on. 30% of its boxes are found." in text


def test_what_the_own_best_threshold_would_find_is_said():
    """A class of four with low scores, among many with high ones and as many wrong."""
    dogs, found = many(4, found=2)
    rows = [*found, (0, DOG, 60, 40, 10, 10, 0.3), (0, DOG, 90, 40, 10, 10, 0.3)]
    cats, seen = many(20, found=20, label=CAT, score=0.8)
    wrong = [(0, CAT, 30 * n, 300, 9, 9, 0.5) for n in range(30)]
    text = why(truth_of(*dogs, *cats), found_of(*rows, *seen, *wrong, (0, DOG, 0, 90, 9, 9, 0.95)))
    assert "50% of its boxes are found; with 0.300, its own best threshold, 100% are." in text


def test_a_class_that_is_taken_for_another_says_for_which():
    dogs, _ = many(3, found=0)
    cats, seen = many(3, found=3, label=CAT)
    rows = [*seen, *((0, CAT, *box[2:], 0.9) for box in dogs)]
    text = why(truth_of(*cats, *dogs), found_of(*rows))
    assert "3 of them (100%) are wrong class: found, but taken for another class." in text
    assert "Most often it is taken for 'cat' (3)." in text


@pytest.mark.parametrize(
    ("shift", "times", "kind"),
    [(6, 1, Kind.BADLY_PLACED), (1, 2, Kind.DUPLICATE), (25, 1, Kind.FALSE)],
)
def test_other_errors_have_their_names(shift, times, kind):
    boxes = [(0, DOG, 40 * n, 0, 10, 10) for n in range(3)]
    rows = [(*box, 0.9) for box in boxes]
    more = [(0, DOG, 40 * n + shift, 0, 10, 10, 0.95) for n in range(3) for _ in range(times)]
    if kind is Kind.BADLY_PLACED:
        rows = rows[:1]
    text = why(truth_of(*boxes), found_of(*rows, *more))
    assert f"are {kind.text}: " in text


def test_without_errors_the_placing_of_the_boxes_is_what_is_left():
    text = why(truth_of((0, CAT, 0, 0, 10, 10)), found_of((0, CAT, 2, 0, 10, 10, 0.9)))
    assert "There is one class" not in text  # two are known, one has boxes
    assert (
        "no other class has a box in the truth. Why: AP lacks 0.600 to 1: 0.600 because its" in text
    )
    assert "(AP is 1.000 at IoU 0.5 and 0.000 at IoU 0.75). With a score of at least 0.9" in text
    assert "it has no error at IoU 0.5." in text
    one = truth_of((0, CAT, 0, 0, 10, 10), classes=("cat",))
    assert "There is one class, 'cat', with AP 0.000." in why(one, [])


def test_without_boxes_there_is_no_worst_class_and_no_curve():
    findings = find(truth_of(images=2), found_of((0, CAT, 0, 0, 9, 9, 0.5)), limit=100)
    assert worst_class(findings.classes) is None
    assert "No class has a box" in why(truth_of(), [])
    assert precision_recall(findings.evaluation, findings.named.classes, iou=0.5) is None
    assert all(math.isnan(row.ap) for row in findings.sizes)


def test_the_best_threshold_is_marked():
    dogs, found = many(4, found=2)
    chart = threshold_chart(find(truth_of(*dogs), found_of(*found), limit=100).thresholds)
    (mark,) = chart.marks
    assert (mark.x, mark.y) == (0.9, pytest.approx(2 * 2 / (2 + 4)))
    assert [line.name for line in chart.lines] == ["precision", "recall", "F1"]


def test_classes_beyond_24_are_one_in_the_matrix_and_seven_have_a_curve():
    names = tuple(f"c{n}" for n in range(30))
    boxes = [(0, n, 20 * n, 0, 10, 10) for n in range(30) for _ in range(2 if n > 5 else 1)]
    rows = [(0, n, 20 * n, 0, 10, 10, 0.9) for n in range(0, 30, 2)]
    rows += [(0, 29, 0, 90, 10, 10, 0.8), (0, 1, 0, 90, 10, 10, 0.8)]
    findings = find(truth_of(*boxes, classes=names), found_of(*rows), limit=100)
    matrix, whole = confusion_matrix(findings.named), findings.named.confusion()
    assert len(matrix.columns) == 25
    assert matrix.rows[-2:] == ["other classes", "nothing there"]
    assert "c5" not in matrix.rows[:-2]
    assert np.sum(matrix.values) == whole.sum()
    assert np.sum(matrix.values[-1]) == whole[-1].sum()
    assert np.array(matrix.values)[:, -1].sum() == whole[:, -1].sum()
    chart = precision_recall(findings.evaluation, names, iou=0.5)
    assert len(chart.lines) == 8
    assert "the 7 worst of 30 classes" in chart.title
