"""Intervals against all resamples of three images, textbook formulas and scipy."""

import itertools
import math
from statistics import NormalDist

import numpy as np
import pytest
from scipy import stats

from benchmarks.scores.intervals import Plain
from tasks.common.statistics.interval import as_json, interval_note, intervals
from tasks.common.statistics.resampling import draw, swaps
from tasks.common.statistics.score import MeanScore

THREE = np.array([0.2, 0.5, 0.9])


def mean_of(values, **options):
    return MeanScore(np.array(values)[:, None], name="dice", classes=["a"], **options)


def all_resamples(units):
    """The weights of every ordered draw: units to the power of units rows."""
    draws = itertools.product(range(units), repeat=units)
    return np.array([np.bincount(drawn, minlength=units) for drawn in draws], float)


def test_draws_are_every_resample_of_three_images_as_often_as_it_should_be():
    """Ten multisets: 1 of 27 draws is aaa, 3 are aab, 6 are abc."""
    expected, drawn = all_resamples(3), draw(3, resamples=27_000, seed=1)
    assert (drawn.sum(1) == 3).all()
    kinds, shares = np.unique(expected, axis=0, return_counts=True)
    same, counts = np.unique(drawn, axis=0, return_counts=True)
    np.testing.assert_array_equal(same, kinds)
    assert stats.chisquare(counts, shares * 1000).pvalue > 0.01
    np.testing.assert_array_equal(draw(3, resamples=5, seed=1), drawn[:5])
    values = mean_of(THREE).values(expected)[:, 0]
    assert values.mean() == pytest.approx(THREE.mean())
    assert values.var() == pytest.approx(THREE.var() / 3)


def test_the_studentised_interval_of_three_images_by_hand():
    """Of all 27 resamples, with limits that cut nothing off; three have no spread, one side each.

    t is (mean* - mean) / (s* / sqrt 3), whose quantiles are turned around.
    """
    score = mean_of(THREE, limits=(-99.0, 99.0))
    t = []
    for drawn in itertools.product(THREE, repeat=3):
        apart, spread = np.mean(drawn) - THREE.mean(), np.std(drawn) / math.sqrt(2)
        t.append(apart / spread if spread else math.copysign(math.inf, apart))
    t, error = sorted(t), THREE.std(ddof=1) / math.sqrt(3)
    found = intervals(score, all_resamples(3), level=0.6)["dice"]
    # The places of the quantiles 0.2 and 0.8 are 5.2 and 20.8 from 0 on.
    assert found.low == pytest.approx(THREE.mean() - t[21] * error)
    assert found.high == pytest.approx(THREE.mean() - t[5] * error)
    assert found.score == pytest.approx(THREE.mean())
    assert found.units == 3
    wide = intervals(score, all_resamples(3))["dice"]
    assert (wide.low, wide.high) == (pytest.approx(THREE.mean() - t[25] * error), 99)


def test_bca_is_scipys_at_the_level_that_students_t_widens_it_to():
    values = np.random.default_rng(3).beta(5, 1, 25)
    found = intervals(Plain(mean_of(values)), draw(25, resamples=40_000))["dice"]
    wide = NormalDist().cdf(math.sqrt(25 / 24) * stats.t.ppf(0.975, 24))
    expected = stats.bootstrap(
        (values,), np.mean, method="BCa", n_resamples=40_000, confidence_level=2 * wide - 1, rng=0
    ).confidence_interval
    assert found.low == pytest.approx(expected.low, abs=0.002)
    assert found.high == pytest.approx(expected.high, abs=0.001)
    assert found.high - found.score < found.score - found.low  # the skew is to the left


def test_what_never_varies_and_a_single_image_have_no_interval():
    for values in ([0.5] * 4, [0.5]):
        for score in (mean_of(values), Plain(mean_of(values))):
            found = intervals(score, draw(len(values)))["dice"]
            assert (found.score, found.known, found.ends) == (0.5, False, "-")
            assert not found.excludes_zero
            assert str(found) == "0.500"


def test_a_class_of_one_case_has_no_interval_and_others_do():
    values = np.array([[0.5, 0.9], [0.6, math.nan], [0.8, math.nan], [0.4, math.nan]])
    score = MeanScore(values, name="dice", classes=["a", "b"])
    found = intervals(score, draw(4))
    assert [one.known for one in found.values()] == [True, True, False]


def test_limits_of_a_score_are_those_of_its_interval():
    found = intervals(mean_of([0.99, 1.0, 1.0, 0.6]), draw(4))["dice"]
    assert 0 <= found.low < found.high == 1
    assert as_json({"dice": found})["dice"] == {
        "score": found.score,
        "low": found.low,
        "high": found.high,
    }


def test_of_few_units_a_note_says_so():
    assert interval_note(1, "image") == "one image has no interval"
    assert interval_note(12, "patient").startswith("with 12 patients, fewer than 20, the true")
    assert interval_note(20, "image") == ""


def test_swaps_are_all_there_are_where_they_are_few():
    which, is_all = swaps(3, permutations=8)
    assert is_all
    assert sorted(map(tuple, which)) == list(itertools.product((0, 1), repeat=3))
    which, is_all = swaps(3, permutations=7)
    assert (which.shape, is_all) == ((7, 3), False)
    assert set(np.unique(swaps(70)[0])) == {0, 1}
