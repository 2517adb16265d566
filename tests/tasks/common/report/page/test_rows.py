"""Bars and boxes, by hand: a row is 1000 wide and 32 high."""

import math

import pytest

from tasks.common.report.page.blocks import Bars, BoxPlot
from tasks.common.report.page.rows import Box, bars, box_plot
from tests.tasks.common.report.page.parsed import parse


def made(**options):
    return parse(bars(Bars(title="AP", x_label="AP", alt="a is worse.", **options)))


def paths(tree, kind):
    return [path.attributes["d"] for path in tree.all("path", kind)]


def values(tree):
    return [value.text for value in tree.all("div", "value")][:-1]  # the last is of the scale


def test_a_bar_is_as_long_as_its_value():
    tree = made(values={"a": 0.5, "b": 1.0, "c": math.nan})
    assert paths(tree, "bar") == ["M0 9H500V23H0Z", "M0 9H1000V23H0Z"]
    assert [name.text for name in tree.all("div", "name")] == ["a", "b", "c", ""]
    assert values(tree) == ["0.5", "1", "-"]


def test_large_values_have_no_exponent():
    assert values(made(values={"a": 1200.4, "b": 12.345})) == ["1200", "12.3"]


def test_an_interval_has_two_ends():
    tree = made(values={"a": 0.5, "b": 1.0}, low={"a": 0.4}, high={"a": 0.6})
    assert paths(tree, "whisker") == ["M400 16H600M400 12v8M600 12v8"]
    assert values(tree) == ["0.5 (0.4 to 0.6)", "1"]


def test_bars_of_either_sign_begin_at_zero():
    tree = made(values={"a": -1.0, "b": 3.0})
    assert paths(tree, "bar") == ["M250 9H0V23H250Z", "M250 9H1000V23H250Z"]


def test_the_five_numbers_of_a_box():
    box = Box.of([1, 2, 3, 4, 5, 6, 7, 8, 9, 15])  # whiskers reach to 7.75 + 1.5 * 4.5 = 14.5
    assert box == Box(low=1, first=3.25, median=5.5, third=7.75, high=9)
    assert Box.of([1, 2, 3, 4, 5, 6, 7, 8, 9, 14]).high == 14
    assert Box.of([2.0]) == Box(low=2, first=2, median=2, third=2, high=2)


@pytest.fixture
def tree():
    groups = {
        "<a>": [("one", 0.0), ("two", 1.0), ("three & 4", 2.0), ("none", math.nan)],
        "empty": [],
    }
    return parse(box_plot(BoxPlot(title="Dice", y_label="Dice", groups=groups, alt="All.")))


def test_a_box_has_its_quartiles_and_every_value_its_name(tree):
    # The axis runs from 0 to 2.08; the quartiles of 0, 1, 2 are 0.5 and 1.5.
    assert paths(tree, "box") == ["M240.38 8H721.15V24H240.38Z"]
    assert paths(tree, "median") == ["M480.77 8V24"]
    assert paths(tree, "whisker") == ["M0 16H240.38M721.15 16H961.54"]
    assert [t.text for t in tree.all("title")] == ["one: 0.000", "two: 1.000", "three & 4: 2.000"]
    assert [d.partition(" ")[0] for d in paths(tree, "hit")] == ["M0", "M480.77", "M961.54"]


def test_a_group_says_how_many_of_its_values_are_shown(tree):
    assert [name.text for name in tree.all("div", "name")] == ["<a> (3 of 4)", "empty (0)", ""]
    assert values(tree) == ["1.000", "-"]
