"""Coordinates of lines and points, by hand: a drawing is 1000 wide and 400 high."""

import json
import math

import pytest

from tasks.common.report.page.blocks import Line, LineChart, Mark, Point, Scatter
from tasks.common.report.page.lines import MOST_POINTS, line_chart, scatter
from tests.tasks.common.report.page.parsed import parse

SQUARE = {"x_limits": (0.0, 2.0), "y_limits": (0.0, 1.0)}


def drawn(*lines, marks=(), **limits):
    chart = LineChart(
        title="Loss",
        x_label="step",
        y_label="loss",
        lines=lines,
        marks=marks,
        alt="Falls.",
        **(limits or SQUARE),
    )
    return parse(line_chart(chart))


def paths(tree, kind):
    return [path.attributes["d"] for path in tree.all("path", kind)]


def test_points_lie_where_their_values_say():
    tree = drawn(Line(name="a", x=[0, 1, 2], y=[0, 0.5, 1]))
    assert paths(tree, "line") == ["M0 400L500 200L1000 0"]
    assert paths(tree, "dots") == ["M0 400h0M500 200h0M1000 0h0"]
    assert tree.one("div", "plot").attributes["aria-label"] == "Falls."
    assert [tick.text for tick in tree.all("span", "xt")] == ["0", "1", "2"]
    assert tree.all("span", "xt")[1].attributes["style"] == "left:50%"


def test_what_is_not_finite_is_a_gap_and_a_lonely_point_is_a_dot():
    tree = drawn(Line(name="a", x=[0, 1, 2, 3], y=[0, math.nan, 1, 1]), x_limits=(0, 4))
    assert paths(tree, "line") == ["M0 400M500 15.38L750 15.38"]
    many = [float(k % 2) for k in range(100)]
    many[50] = many[52] = math.nan
    alone = drawn(Line(name="a", x=range(100), y=many), x_limits=(0, 100), y_limits=(0, 1))
    assert paths(alone, "dots") == ["M510 0h0"]


def test_a_band_is_one_outline_between_its_edges():
    line = Line(name="a", x=[0, 2], y=[0.5, 0.5], low=[0.25, 0.25], high=[0.75, 0.75])
    assert paths(drawn(line), "band") == ["M0 100L1000 100L1000 300L0 300Z"]
    part = Line(name="a", x=[0, 1, 2], y=[0.5] * 3, low=[0.25] * 3, high=[0.75, 0.75, math.nan])
    assert paths(drawn(part), "band") == ["M0 100L500 100L500 300L0 300Z"]


def test_lines_of_one_name_share_colour_and_key():
    lines = [Line(name="a", x=[0, 2], y=[0, 1], faint=faint) for faint in (True, False)]
    tree = drawn(*lines, Line(name="b", x=[0, 2], y=[1, 0]))
    assert [key.text for key in tree.all("button", "key")] == ["a", "b"]
    classes = [path.attributes["class"] for path in tree.all("path", "line")]
    assert classes == ["line s0 d0 faint", "line s0 d0", "line s1 d0"]
    assert [path.attributes["data-key"] for path in tree.all("path", "line")] == ["0", "0", "1"]


def test_the_eighth_line_has_the_first_colour_with_dashes():
    tree = drawn(*(Line(name=str(k), x=[0, 2], y=[0, 1]) for k in range(8)))
    assert tree.all("path", "line")[7].attributes["class"] == "line s0 d1"


def test_hovering_has_the_values_themselves():
    tree = drawn(Line(name="a", x=[0, 1, 2], y=[0.123456789, math.nan, 1]))
    data = json.loads(tree.one("div", "plot").attributes["data-chart"])
    assert data["lines"][0]["points"] == [[0, 0.12346], [2, 1]]
    assert (data["x"], data["y"]) == ([0, 2, True], [0, 1, False])


def test_a_long_line_keeps_its_ends_and_its_extremes():
    values = [0.5 + 0.001 * (k % 7) for k in range(20_001)]
    values[1234], values[-1], values[4321] = 1.0, 0.25, 0.0
    tree = drawn(Line(name="a", x=range(20_001), y=values), x_limits=(0, 20_000), y_limits=(0, 1))
    (path,) = paths(tree, "line")
    assert path.count("L") < MOST_POINTS
    assert "L61.7 0L" in path
    assert "L216.05 400L" in path
    assert path.startswith("M0 200")
    assert path.endswith("L1000 300")


def test_a_mark_points_a_value_out():
    tree = drawn(Line(name="a", x=[0, 2], y=[0, 1]), marks=[Mark(x=1.5, y=0.75, text="best <1>")])
    mark = tree.one("span", "mark")
    assert mark.text == "best <1>"
    assert mark.attributes["style"] == "left:75%;bottom:75%"
    assert mark.attributes["class"] == "mark left"  # there is more room on the left
    assert paths(tree, "mark-line") == ["M750 0V400"]


@pytest.mark.parametrize("lines", [[], [Line(name="a", x=[1], y=[math.nan])]])
def test_a_chart_without_values_says_so(lines):
    assert drawn(*lines).one("span", "empty").text == "no values"


def test_points_with_intervals_and_names():
    points = [Point(name="r18", x=0, y=0.0), Point(name="r50", x=10.5, y=100, low=75, high=125)]
    chart = Scatter(title="AP", x_label="time", y_label="AP", points=points, alt="Rises.")
    tree = parse(scatter(chart))
    # x runs from 0 to 10.5 + 4 %, y from 0 to 125 + 4 %.
    assert paths(tree, "hit") == ["M0 400h0", "M961.54 92.31h0"]
    assert paths(tree, "whisker") == ["M961.54 169.23V15.38"]
    titles = [title.text for title in tree.all("title")]
    assert titles == ["r18: 0, 0", "r50: 10.5, 100 (75 to 125)"]
    assert [label.text for label in tree.all("span", "label")] == ["r18", "r50"]
