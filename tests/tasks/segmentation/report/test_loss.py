"""What Dice lacks to 1, against masks and cases by hand."""

import math

import numpy as np
import pytest

from tasks.segmentation.data.cases import Geometry, class_table
from tasks.segmentation.report.loss import class_loss, why_worst
from tasks.segmentation.scores.metrics import case_scores, summarise
from tests.tasks.segmentation.report.conftest import row

TWO = class_table({0: "background", 1: "a", 2: "b"})
ONE = class_table({0: "background", 1: "a"})


def why(cases, classes=TWO, **options):
    summary = summarise(cases, classes)
    return " ".join(why_worst(cases, summary, **{"tolerance": 2, "unit": "mm"} | options))


def test_the_parts_of_random_masks_add_up_and_count_wrong_pixels():
    """Each part is counted in the masks themselves, which the loss never sees."""
    random = np.random.default_rng(0)
    cases, lacks = {}, {"a": [], "b": []}
    place = Geometry(source="x", spacing=(1, 1, 1), unit="px", axis=None)
    for n in range(20):
        truth, found = (random.integers(0, 3, (1, 8, 8)).astype(np.uint8) for _ in range(2))
        truth[truth == n % 5 % 3], found[found == n % 3] = 0, 0
        cases[f"case{n}"] = case_scores(found, truth, TWO, place, tolerance=1)
        for label, name in ((1, "a"), (2, "b")):
            t, p = truth == label, found == label
            if not t.any() and not p.any():
                continue
            both = t.sum() + p.sum()
            if not p.any():
                lacks[name].append((1, 0, 0, 0))
            elif not t.any():
                lacks[name].append((0, 1, 0, 0))
            else:
                lacks[name].append((0, 0, (t & ~p).sum() / both, (p & ~t).sum() / both))
    summary = summarise(cases, TWO)
    for name in ("a", "b"):
        loss, expected = class_loss(cases, name), np.mean(lacks[name], axis=0)
        parts = [loss.missed, loss.false_alarms, loss.too_little, loss.too_much]
        assert min(parts) > 0
        assert parts == pytest.approx(expected)
        assert loss.total == pytest.approx(1 - summary[name]["dice"])


def test_a_class_that_no_case_has_lacks_nothing_that_is_known():
    assert math.isnan(class_loss({"x": {"a": row(0, 0, 0)}}, "a").total)
    assert math.isnan(class_loss({}, "a").missed)


def test_nsd_is_of_the_cases_that_have_the_class_on_both_sides():
    cases = {
        "x": {"a": row(10, 10, 5, nsd=0.8)},
        "y": {"a": row(10, 0, 0, nsd=0.0)},
        "z": {"a": row(10, 10, 9, nsd=1.0)},
    }
    assert class_loss(cases, "a").nsd == pytest.approx(0.9)


@pytest.mark.parametrize(
    ("rows", "first"),
    [
        ([row(10, 0, 0), row(10, 10, 9)], "0.500 because it is missed wholly in 1 of 2 cases"),
        ([row(0, 5, 0), row(10, 10, 9)], "0.500 because it is found in 1 cases that do not"),
        ([row(10, 5, 5)], "0.333 because parts of it are not found (recall 0.500)"),
        ([row(5, 10, 5)], "0.333 because more is found than there is (precision 0.500)"),
    ],
)
def test_the_largest_reason_comes_first(rows, first):
    cases = {f"case{n}": {"a": one, "b": row(9, 9, 9)} for n, one in enumerate(rows)}
    text = why(cases)
    assert text.startswith("'a' has the lowest Dice, ")
    assert "the mean of the others is 1.000. Why: Dice lacks " in text
    assert f"to 1: {first}" in text


def test_where_outlines_agree_the_errors_lie_along_the_boundary():
    near, far = ({"x": {"a": row(10, 10, 5, nsd=value)}} for value in (0.95, 0.4))
    assert "95% of the outlines lie within 2 mm of each other (NSD): what is wrong lies" in why(
        near, ONE
    )
    assert "40% of the outlines lie within 2 mm of each other (NSD): whole parts" in why(far, ONE)
    assert "NSD" not in why({"x": {"a": row(10, 10, 5)}}, ONE)


def test_one_class_no_other_class_no_error_and_no_dice_are_said():
    assert "There is one class, 'a', with Dice 0.500." in why({"x": {"a": row(10, 10, 5)}}, ONE)
    assert "no case has another class" in why({"x": {"a": row(9, 9, 5), "b": row(0, 0, 0)}})
    assert "That is as good as it can be." in why({"x": {"a": row(9, 9, 9)}}, ONE)
    assert "so there is no Dice" in why({"x": {"a": row(0, 0, 0)}}, ONE)
