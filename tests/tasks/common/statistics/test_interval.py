"""Intervals against all resamples of three images, textbook formulas and scipy."""

import itertools
import math
from statistics import NormalDist

import numpy as np
import pytest
from scipy import stats

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


def test_the_interval_of_three_images_by_hand():
    """Of all 27 resamples, step by step as in Efron and Tibshirani, with the wider quantile."""
    means = sorted(np.mean(drawn) for drawn in itertools.product(THREE, repeat=3))
    mean = THREE.mean()
    assert np.isclose(means, mean).sum() == 6  # which count half
    bias = stats.norm.ppf((3 + sum(m < mean - 1e-9 for m in means)) / 27)
    without = [np.mean(np.delete(THREE, place)) for place in range(3)]
    apart = [np.mean(without) - one for one in without]
    skew = sum(a**3 for a in apart) / (6 * sum(a**2 for a in apart) ** 1.5)
    wide = math.sqrt(3 / 2) * stats.t.ppf(0.8, 2)
    levels = [bias + (bias + z) / (1 - skew * (bias + z)) for z in (-wide, wide)]
    found = intervals(mean_of(THREE), all_resamples(3), level=0.6)["dice"]
    assert [found.low, found.high] == pytest.approx(
        [np.quantile(means, stats.norm.cdf(level)) for level in levels]
    )
    assert (found.score, found.units) == (pytest.approx(mean), 3)
    assert found.low < mean < found.high


def test_bca_is_scipys_at_the_level_that_students_t_widens_it_to():
    values = np.random.default_rng(3).beta(5, 1, 25)
    found = intervals(mean_of(values), draw(25, resamples=40_000))["dice"]
    wide = NormalDist().cdf(math.sqrt(25 / 24) * stats.t.ppf(0.975, 24))
    expected = stats.bootstrap(
        (values,), np.mean, method="BCa", n_resamples=40_000, confidence_level=2 * wide - 1, rng=0
    ).confidence_interval
    assert found.low == pytest.approx(expected.low, abs=0.002)
    assert found.high == pytest.approx(expected.high, abs=0.001)
    assert found.high - found.score < found.score - found.low  # the skew is to the left


def test_what_never_varies_and_a_single_image_have_no_interval():
    for values in ([0.5] * 4, [0.5]):
        found = intervals(mean_of(values), draw(len(values)))["dice"]
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
