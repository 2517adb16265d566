"""Means of resampled cases, by hand and by the repeated cases themselves."""

import math

import numpy as np
import pytest

from tasks.common.statistics.score import Difference, MeanScore, parts_of

NAN = math.nan
CASES = np.array([[0.9, NAN], [0.6, 0.5], [NAN, 0.7], [0.3, NAN]])


def mean_of(values, **options):
    return MeanScore(np.array(values, float), name="dice", classes=["a", "b"], **options)


def repeated(values, counts):
    """The mean over classes of the mean of what is known, with each case so often."""
    rows = np.repeat(values, counts, axis=0)
    known = [column[~np.isnan(column)] for column in rows.T]
    means = [float(column.mean()) if column.size else NAN for column in known]
    return [float(np.mean([m for m in means if not math.isnan(m)])), *means]


@pytest.mark.parametrize("counts", [(1, 1, 1, 1), (2, 0, 1, 1), (0, 1, 3, 0), (1, 0, 0, 3)])
def test_a_weight_is_how_often_a_case_is_there(counts):
    score = mean_of(CASES)
    assert score.names == ("dice", "dice/a", "dice/b")
    values = score.values(np.array([counts], float))[0]
    np.testing.assert_allclose(values, repeated(CASES, counts), rtol=1e-12)


def test_a_patient_counts_with_all_cases():
    score = mean_of(CASES, clusters=["x", "y", "x", "y"])
    assert score.units == 2
    np.testing.assert_allclose(
        score.values(np.array([[2.0, 1.0]]))[0], repeated(CASES, [2, 1, 2, 1]), rtol=1e-12
    )


def test_two_sets_beside_each_other_are_one_of_all_cases():
    first, second = mean_of(CASES), mean_of(CASES[::-1] / 2)
    both = first.beside(second)
    weights = np.array([[1, 0, 2, 0, 0, 1, 0, 1.0]])
    expected = repeated(np.concatenate([CASES, CASES[::-1] / 2]), weights[0].astype(int))
    assert both.units == 8
    np.testing.assert_allclose(both.values(weights)[0], expected, rtol=1e-12)
    alone = both.values(np.array([[1, 1, 1, 1, 0, 0, 0, 0.0]]))[0]
    np.testing.assert_allclose(alone, first.of_all())
    swapped = Difference(first, second).beside(Difference(second, first))
    assert swapped.values(np.ones((1, 8)))[0] == pytest.approx(0)


def test_parts_are_all_rows_in_order():
    weights = np.arange(30.0).reshape(10, 3)
    parts = parts_of(weights, 1 << 18)
    assert [len(part) for part in parts] == [4, 4, 2]
    np.testing.assert_array_equal(np.concatenate(parts), weights)
