"""Detections and masks of two runs of one network, by hand."""

import numpy as np
import pytest

from tasks.common.export.comparing import box_iou, compare_detections, compare_masks, match
from tasks.common.export.keel_runtime import Detections


def found(*rows):
    """Detections of rows (x1, y1, x2, y2, label, score)."""
    table = np.array(rows, np.float32).reshape(-1, 6)
    return Detections(table[:, :4], table[:, 4].astype(np.int64), table[:, 5])


ONE = (0, 0, 100, 100, 1, 0.9)


def test_iou_of_boxes_by_hand():
    boxes = np.array([[0, 0, 2, 2], [1, 0, 3, 2], [5, 5, 5, 5]], np.float32)
    assert box_iou(boxes, boxes).round(4).tolist() == [[1, 0.3333, 0], [0.3333, 1, 0], [0, 0, 1]]


@pytest.mark.parametrize(
    ("other", "pairs"),
    [
        ((0, 0, 100, 99.5, 1, 0.9), [(0, 0)]),
        ((0, 0, 100, 98, 1, 0.9), []),  # an IoU of 0.98
        ((0, 0, 100, 100, 2, 0.9), []),  # another label
        ((0, 0, 100, 100, 1, 0.902), []),  # scores 0.002 apart
        ((0, 0, 100, 100, 1, 0.9009), [(0, 0)]),
    ],
)
def test_what_matches(other, pairs):
    assert match(found(ONE), found(other)) == pairs


def test_each_is_used_once():
    twice = found(ONE, ONE)
    assert match(found(ONE), twice) == [(0, 0)]
    agreement = compare_detections([(found(ONE), twice)], threshold=0.05, most=100)
    assert agreement.figures["unmatched"] == 1
    assert agreement.faults


@pytest.mark.parametrize(
    ("score", "most", "limit", "unmatched"),
    [(0.0505, 100, 1, 0), (0.06, 100, 0, 1), (0.06, 2, 1, 0)],
)
def test_alone_at_the_lowest_score_that_is_kept_is_no_fault(score, most, limit, unmatched):
    pair = found(ONE, (0, 0, 9, 9, 1, score)), found(ONE)
    figures = compare_detections([pair], threshold=0.05, most=most).figures
    assert (figures["at the limit"], figures["unmatched"]) == (limit, unmatched)


def many(count, *, left, score=0.999):
    """Detections in a row, far apart, of nearly one score."""
    return found(*((left + 20 * k, 0, left + 20 * k + 10, 10, 1, score) for k in range(count)))


def test_images_in_which_nothing_is_found_compare_nothing():
    agreement = compare_detections([(found(), found())], threshold=0.05, most=100)
    assert "nothing was compared" in agreement.faults[0]
    assert agreement.figures["lowest IoU"] is None
    pairs = [(found(ONE), found(ONE)), (found(), found())]
    assert compare_detections(pairs, threshold=0.05, most=100).faults == ()


@pytest.mark.parametrize(
    ("exported", "threshold"),
    [(many(100, left=10), 0.05), (found(), 0.9985), (many(100, left=0, score=0.2), 0.05)],
)
def test_not_all_are_left_out_at_the_limit(exported, threshold):
    """Every score is at the lowest that is kept, and no box has an equal."""
    pair = many(100, left=0), exported
    assert compare_detections([pair], threshold=threshold, most=100).faults
    assert compare_detections([pair[:1] * 2], threshold=threshold, most=100).faults == ()


def test_masks_by_hand():
    shares = np.full((2, 1, 1000), 0.5, np.float32)
    labels = np.zeros((1, 1000), np.uint8)
    other = labels.copy()
    other[0, :2] = 1
    agreement = compare_masks([((labels, shares), (other, shares + np.float32(0.002)))])
    assert agreement.figures["share of equal pixels"] == 0.998
    assert agreement.figures["largest difference of probabilities"] == pytest.approx(
        0.002, rel=1e-4
    )
    assert len(agreement.faults) == 2
    assert compare_masks([((labels, shares), (labels, shares))]).faults == ()


def test_probabilities_that_are_no_numbers_are_a_fault():
    labels, shares = np.zeros((1, 4), np.uint8), np.full((2, 1, 4), np.nan, np.float32)
    assert compare_masks([((labels, shares), (labels, shares))]).faults
