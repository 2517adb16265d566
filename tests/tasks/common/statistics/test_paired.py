"""Two systems on one test set, against scipy and a full enumeration."""

import math

import numpy as np
import pytest
from scipy import stats

from tasks.common.statistics.interval import Interval
from tasks.common.statistics.paired import (
    Comparison,
    Scored,
    adjusted,
    as_json,
    check_same_truth,
    compare,
    p_text,
    permutation_test,
)
from tasks.common.statistics.score import MeanScore
from tests.backbones.errors import refuses


def mean_of(values):
    return MeanScore(np.array(values)[:, None], name="dice", classes=["a"])


def answered(values, **changes):
    names = [f"{number}.png" for number in range(len(values))]
    about = {"heading": "Dice", "noun": "image", "truth": dict.fromkeys(names, "box")}
    return Scored(score=mean_of(values), **about | changes)


def pair(units, *, by, seed=0):
    generator = np.random.default_rng(seed)
    first = generator.beta(8, 2, units)
    return first, np.clip(first + by + 0.05 * generator.normal(size=units), 0, 1)


@pytest.mark.parametrize(("units", "by"), [(8, 0.03), (11, 0.0), (5, 0.5)])
def test_all_ways_to_swap_have_the_p_value_of_scipy(units, by):
    first, second = pair(units, by=by)
    expected = stats.permutation_test(
        (second, first),
        lambda a, b, axis: np.mean(a - b, axis=axis),
        permutation_type="samples",
        n_resamples=math.inf,
        vectorized=True,
    )
    found = permutation_test(mean_of(first), mean_of(second), permutations=2**units)
    assert found[0] == pytest.approx(expected.pvalue)


def test_random_ways_to_swap_are_near_all_of_them_and_never_0():
    first, second = pair(14, by=0.01)
    exact, drawn = (
        permutation_test(mean_of(first), mean_of(second), permutations=count)[0]
        for count in (2**14, 4000)
    )
    assert 0.02 < exact < 0.98
    assert drawn == pytest.approx(exact, abs=4 * math.sqrt(exact * (1 - exact) / 4000))
    far = permutation_test(mean_of(np.zeros(40)), mean_of(np.ones(40)), permutations=999)
    assert far[0] == 1 / 1000


@pytest.mark.parametrize("sign", [1, -1])
def test_a_difference_is_found_and_named(sign):
    first, second = pair(40, by=0.05)
    sets = [answered(values) for values in (first, second)[::sign]]
    compared = compare(*sets)
    found = compared["dice"].difference
    assert found.score == pytest.approx(sign * np.mean(second - first))
    assert found.low < found.score < found.high
    ends = sorted((abs(found.low), abs(found.high)))
    kind = "better" if sign > 0 else "worse"
    text = f"{kind} by {abs(found.score):.3f} (95% interval {ends[0]:.3f} to {ends[1]:.3f})"
    assert compared["dice"].verdict() == text
    assert compared["dice"].differs()
    assert p_text(compared["dice"].p) == "<0.001"
    assert as_json(compared)["dice"]["verdict"] == text
    assert as_json(compared)["dice"]["p"] < 0.05


def test_equal_and_alike_systems_do_not_differ():
    first, second = pair(40, by=0)
    assert (
        compare(answered(first), answered(second))["dice"]
        .verdict()
        .startswith("no detectable difference (-0.0")
    )
    same = compare(answered(first), answered(first))["dice"]
    assert (same.p, same.verdict()) == (1, "no difference in any resample")


def test_five_images_are_too_few_however_large_the_difference():
    compared = compare(answered([0.1, 0.2, 0.3, 0.2, 0.1]), answered([0.9, 0.8, 0.9, 0.7, 0.95]))
    assert compared["dice"].p == 2 / 2**5
    assert compared["dice"].verdict().endswith("; 5 are too few to show one)")


def test_a_verdict_needs_the_test_and_the_interval():
    apart = Interval(score=0.02, low=0.01, high=0.03, units=50)
    around = Interval(score=0.02, low=-0.01, high=0.05, units=50)
    assert Comparison(difference=apart, p=0.01).differs()
    assert not Comparison(difference=apart, p=0.2).differs()
    assert not Comparison(difference=apart, p=0.01).differs(p=0.06)
    assert Comparison(difference=around, p=0.01).verdict() == (
        "no detectable difference (-0.010 to 0.050)"
    )


def test_holms_p_values_keep_their_order_and_leave_nan():
    assert adjusted([0.01, math.nan, 0.04, 0.03]) == pytest.approx(
        [0.03, math.nan, 0.06, 0.06], nan_ok=True
    )
    assert adjusted([0.9, 0.8]) == [1, 1]


@pytest.mark.parametrize(
    ("values", "changes", "message"),
    [
        ([0.5, 0.6], {}, "1 of 3 images are in the first only: '2.png'. Only scores of the same"),
        (
            [0.5, 0.6, 0.7],
            {"truth": {"0.png": "box", "1.png": "box", "9.png": "box"}},
            "1 of 4 images are in the first only: '2.png'. Only scores of the same test set can",
        ),
        (
            [0.5, 0.6, 0.7],
            {"truth": {"0.png": "box", "1.png": "other", "2.png": "box"}},
            "the truth of 1 of 3 images is not the same in the first and the second: '1.png'",
        ),
        ([0.5, 0.6, 0.7], {"noun": "patient"}, "the first has 3 images, the second has 3 patients"),
    ],
)
def test_other_test_sets_are_refused(values, changes, message):
    with refuses(message):
        compare(answered([0.1, 0.2, 0.3]), answered(values, **changes))


def test_other_classes_are_refused():
    other = MeanScore(np.ones((3, 1)), name="dice", classes=["b"])
    with refuses("x has the scores dice, dice/a; y has dice, dice/b"):
        check_same_truth(
            answered([0.1, 0.2, 0.3]),
            Scored(score=other, heading="Dice", noun="image", truth={}),
            names=("x", "y"),
        )
