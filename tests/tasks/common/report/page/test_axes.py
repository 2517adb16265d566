"""Ranges and ticks, by hand."""

import math

import pytest

from tasks.common.report.page.axes import Axis, number, tick_text


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1.0, 2.0, 3.0], (0.0, 3.08)),  # from zero, as the least is below half of the largest
        ([0.75, 1.75], (0.0, 1.79)),
        ([10.5, 12.5], (10.42, 12.58)),  # 4 % of room on either side
        ([-1.5, 1.5], (-1.62, 1.62)),
        ([3.0], (2.5, 3.5)),
        ([0.5], (0.25, 0.75)),
        ([math.nan, 10.5, math.inf, 12.5], (10.42, 12.58)),
        ([], (0.0, 1.04)),
    ],
)
def test_the_range_of_values(values, expected):
    axis = Axis.of(values)
    assert (axis.low, axis.high) == pytest.approx(expected)


def test_limits_that_are_given_are_kept():
    assert Axis.of([0.2, 0.4], (0.0, 1.0)) == Axis(low=0.0, high=1.0)
    assert Axis.of([1, 2, 3], (0, 4)) == Axis(low=0, high=4, whole=True)


@pytest.mark.parametrize(
    ("low", "high", "whole", "most", "expected"),
    [
        (0, 1, False, 6, ["0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        (0, 0.0104, False, 6, ["0", "0.005", "0.010"]),
        (1, 3, True, 6, ["1", "2", "3"]),
        (0.5, 1.5, True, 6, ["1"]),
        (0, 155, True, 6, ["0", "50", "100", "150"]),
        (-0.3, 0.3, False, 5, ["-0.2", "0", "0.2"]),
        (0, 2e-5, False, 5, ["0", "5e-6", "1e-5", "1.5e-5", "2e-5"]),
        (0, 3e6, True, 4, ["0", "1e6", "2e6", "3e6"]),
    ],
)
def test_ticks_are_round_and_few(low, high, whole, most, expected):
    ticks = Axis(low=low, high=high, whole=whole).ticks(most)
    assert [text for _, text in ticks] == expected
    assert all(low - 1e-9 <= value <= high + 1e-9 for value, _ in ticks)


def test_a_value_lies_where_its_share_says():
    axis = Axis(low=10, high=20)
    assert [axis.share(value) for value in (10, 12.5, 20)] == [0, 0.25, 1]


def test_numbers_are_short():
    assert [number(value) for value in (1000.0, 0.125, -0.001, 12.3)] == [
        "1000",
        "0.12",
        "0",
        "12.3",
    ]
    assert tick_text(123456.0, 1000.0) == "123456"
