"""Intervals hold the true score as often as they say; equal systems are not told apart."""

import math

import pytest

from benchmarks.scores.intervals import (
    ap,
    coverage,
    dice,
    equal_ap,
    equal_dice,
    no_difference,
    patients,
)


def at_least(share, trials):
    """Four standard errors below a share."""
    return share - 4 * math.sqrt(share * (1 - share) / trials)


@pytest.mark.parametrize(("population", "units"), [(dice(0.0), 30), (patients(), 40)])
def test_intervals_of_a_mean_hold_the_truth(population, units):
    found = coverage(population, units=units, trials=150, seed=1, resamples=300)
    assert found["ours"] >= at_least(0.95, 150)


def test_equal_segmenters_are_not_told_apart():
    found = no_difference(equal_dice, units=25, trials=100, seed=1, resamples=300)
    assert found["verdict"] >= at_least(0.95, 100)


@pytest.mark.slow
@pytest.mark.parametrize("units", [20, 50, 100, 200])
@pytest.mark.parametrize("population", [dice(0.0), patients()], ids=lambda p: p.title)
def test_coverage_of_means_is_93_to_97_percent(population, units):
    found = coverage(population, units=units, trials=1000, seed=2)
    assert 0.93 - 0.01 <= found["ours"] <= 0.97 + 0.01  # 1000 trials are within 0.02


@pytest.mark.slow
@pytest.mark.parametrize("units", [20, 50, 100])
def test_coverage_of_ap_is_93_to_97_percent(units):
    found = coverage(ap(), units=units, trials=500, seed=2)
    assert 0.93 - 0.015 <= found["ours"] <= 0.97 + 0.015


@pytest.mark.slow
@pytest.mark.parametrize("units", [10, 20, 50, 100])
@pytest.mark.parametrize("make", [equal_dice, equal_ap])
def test_equal_systems_are_not_told_apart_in_95_percent(make, units):
    found = no_difference(make, units=units, trials=400, seed=2)
    assert found["verdict"] >= at_least(0.95, 400)
