"""The names of errors, against a case by hand and against pycocotools's own matches."""

import numpy as np
import pytest

from tasks.detection.report.errors import Kind, name_errors
from tasks.detection.scores.coco_eval import match
from tests.tasks.detection.conftest import by_pycocotools
from tests.tasks.detection.report.conftest import found_of, named_of, truth_of
from tests.tasks.detection.scores.test_coco_eval import awkward, smooth

CAT, DOG = 0, 1
TRUTH = truth_of(
    (0, CAT, 0, 0, 10, 10),  # found, and found again
    (0, CAT, 20, 0, 10, 10),  # taken for a dog
    (0, DOG, 40, 0, 10, 10),  # found beside itself
    (0, DOG, 60, 0, 10, 10),  # missed
    (1, DOG, 0, 0, 90, 90, "crowd"),
    images=3,
)
FOUND = found_of(
    (0, CAT, 1, 0, 10, 10, 0.9),  # IoU 9/11
    (0, CAT, 0, 0, 10, 10, 0.8),  # better placed, but later
    (0, DOG, 20, 0, 10, 10, 0.7),
    (0, DOG, 45, 0, 10, 10, 0.6),  # IoU 5/15
    (0, DOG, 60, 50, 10, 10, 0.5),  # nothing is there
    (1, DOG, 5, 5, 10, 10, 0.4),  # in the crowd
    (2, CAT, 0, 0, 10, 10, 0.3),  # in an empty image
    (0, DOG, 60, 0, 10, 10, 0.2),  # below the threshold
)


def test_every_box_has_the_name_of_what_became_of_it():
    named = named_of(TRUTH, FOUND, threshold=0.3)
    kinds = {
        round(score, 1): Kind(kind) for score, kind in zip(named.scores, named.kinds, strict=True)
    }
    assert kinds == {
        0.9: Kind.FOUND,
        0.8: Kind.DUPLICATE,
        0.7: Kind.WRONG_CLASS,
        0.6: Kind.BADLY_PLACED,
        0.5: Kind.FALSE,
        0.4: Kind.IGNORED,
        0.3: Kind.FALSE,
    }
    by_place = {
        tuple(box): kind
        for box, kind in zip(named.true_boxes[:, :2], named.true_kinds, strict=True)
    }
    assert by_place[20, 0] == Kind.WRONG_CLASS
    assert by_place[40, 0] == Kind.BADLY_PLACED
    assert by_place[60, 0] == Kind.MISSED
    assert sorted(named.true_kinds) == [0, 1, 2, 3, 6]


def test_the_confusion_matrix_has_the_truth_in_rows_and_the_background_both_ways():
    named = named_of(TRUTH, FOUND, threshold=0.3)
    assert named.confusion().tolist() == [
        [1, 1, 0],  # a cat is a cat, another a dog
        [0, 0, 2],  # one dog badly placed, one missed
        [2, 2, 0],  # a second cat and one in an empty image; a dog beside itself, one of nothing
    ]


def test_each_error_counts_once():
    counts = named_of(TRUTH, FOUND, threshold=0.3).counts()
    order = [Kind.FOUND, Kind.WRONG_CLASS, Kind.BADLY_PLACED, Kind.DUPLICATE, Kind.FALSE]
    assert counts[:, [*order, Kind.MISSED]].tolist() == [[1, 1, 0, 1, 1, 0], [0, 0, 1, 0, 1, 1]]


def test_an_image_is_as_wrong_as_the_scores_of_its_errors_and_its_missed_boxes():
    weights = named_of(TRUTH, FOUND, threshold=0.3).wrongness()
    assert weights == pytest.approx([0.8 + 0.7 + 0.6 + 0.5 + 1, 0, 0.3])


def test_a_detection_of_its_class_is_found_where_one_of_another_class_lies_better():
    truth = truth_of((0, CAT, 0, 0, 10, 10), (0, DOG, 1, 0, 10, 10))
    named = named_of(truth, found_of((0, CAT, 1, 0, 10, 10, 0.5), (0, DOG, 0, 0, 10, 10, 0.9)))
    assert named.kinds.tolist() == [Kind.FOUND] * 2
    assert named.confusion().tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 0]]


def test_of_two_boxes_that_overlap_as_much_the_last_is_taken_as_by_pycocotools():
    """The second detection lies on the first box alone; it is found only if that is left."""
    truth = truth_of((0, CAT, 0, 0, 10, 10), (0, CAT, 4, 0, 10, 10))
    found = found_of((0, CAT, 2, 0, 10, 10, 0.9), (0, CAT, 0, 0, 6, 10, 0.8))
    matches = by_pycocotools(truth, found).evalImgs[0]["dtMatches"][0]
    assert matches.tolist() == [2, 1]
    named = named_of(truth, found)
    assert named.kinds.tolist() == [Kind.FOUND] * 2
    assert named.partners.tolist() == [1, 0]


def test_nothing_is_found_in_nothing():
    named = named_of(truth_of(images=2), [])
    assert named.confusion().sum() == named.counts().sum() == named.wrongness().sum() == 0
    assert len(named.kinds) == 0
    assert named_of(truth_of(), found_of((0, DOG, 0, 0, 9, 9, 0.5))).kinds.tolist() == [Kind.FALSE]


@pytest.mark.parametrize(("case", "seed"), [(awkward, 8), (awkward, 10), (smooth, 0)])
def test_what_is_found_is_what_pycocotools_matches(case, seed):
    """Which detection with which true box; in `awkward` scores and IoUs are often equal."""
    truth, results = case(seed)
    matched = match(truth, results)
    named = name_errors(matched, threshold=0, classes=[str(c) for c in matched.category_ids])
    ours = set()
    for row in np.flatnonzero(named.kinds == Kind.FOUND):
        image, partner = named.image_ids[named.images[row]], named.partners[row]
        assert named.true_images[partner] == named.images[row]
        assert named.true_labels[partner] == named.labels[row]
        box, its = named.boxes[row], named.true_boxes[partner]
        ours.add((image, int(named.labels[row]), named.scores[row], *box, *its))
    oracle = by_pycocotools(truth, results)
    boxes = {entry["id"]: entry for entry in oracle.cocoGt.dataset["annotations"]}
    found = {entry["id"]: entry for entry in oracle.cocoDt.dataset["annotations"]}
    theirs = set()
    for one in oracle.evalImgs:
        if one is None or one["aRng"] != [0, 1e10]:
            continue
        pairs = zip(one["dtIds"], one["dtMatches"][0], one["dtIgnore"][0], strict=True)
        for detection, box, ignored in pairs:
            if box and not ignored:
                label = matched.category_ids.index(one["category_id"])
                its = found[detection]
                place = (*its["bbox"], *boxes[int(box)]["bbox"])
                theirs.add((one["image_id"], label, its["score"], *place))
    assert ours == theirs
    assert len(ours) > 10
    flags = (named.kinds == Kind.FOUND).sum(), (named.kinds == Kind.IGNORED).sum()
    right, wrong = matched.right[0, 0], matched.wrong[0, 0]
    assert flags == (right.sum(), (~right & ~wrong).sum())


def test_all_detections_and_all_boxes_are_in_the_matrix():
    truth, results = awkward(3)
    matched = match(truth, results)
    named = name_errors(matched, threshold=0.4, classes=[str(c) for c in matched.category_ids])
    table = named.confusion()
    regular = ~matched.targets.crowds
    for label in range(len(named.classes)):
        own = named.labels == label
        assert table[:, label].sum() == (own & (named.kinds != Kind.IGNORED)).sum()
        assert table[label].sum() == (regular & (matched.targets.labels == label)).sum()
