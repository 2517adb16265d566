"""A page with every kind of block, and a name in every text."""

import numpy as np
import pytest

from tasks.common.report.page.blocks import (
    Alerts,
    Bars,
    BoxPlot,
    Code,
    Facts,
    Figure,
    Figures,
    Gallery,
    Line,
    LineChart,
    Mark,
    Matrix,
    Page,
    Picture,
    Point,
    Scatter,
    Section,
    Table,
    Text,
)


def blocks(name):
    """One block of every kind, with ``name`` wherever a text of the data may stand."""
    axes = {"title": name, "x_label": name, "y_label": name, "alt": name}
    picture = Picture(
        image=np.full((48, 64, 3), 120, np.uint8), caption=name, alt=name, badges=(name,)
    )
    return [
        Figures(figures=[Figure(value=name, label=name, note=name), Figure(value="1", label="n")]),
        Text(paragraphs=[name, "Second."]),
        LineChart(
            **axes,
            lines=[
                Line(name=name, x=range(50), y=[k / 50 for k in range(50)]),
                Line(name="b", x=[0, 20, 40], y=[1, 0.5, 0.25], low=[0.5] * 3, high=[1] * 3),
            ],
            marks=[Mark(x=20, y=0.4, text=name)],
        ),
        Scatter(**axes, points=[Point(name=name, x=1, y=2, low=1, high=3)]),
        BoxPlot(title=name, y_label=name, groups={name: [(name, 0.5), (name, 0.75)]}, alt=name),
        Bars(
            title=name, x_label=name, values={name: 1.0}, low={name: 0.5}, high={name: 2}, alt=name
        ),
        Matrix(
            title=name,
            rows=[name, "b"],
            columns=[name, "b"],
            values=[[3, 1], [1, 5]],
            row_label=name,
            column_label=name,
            alt=name,
        ),
        Table(
            title=name, headings=[name, *map(str, range(20))], rows=[[name] * 21] * 30, note=name
        ),
        Facts(title=name, facts={name: f"{name}\nsecond line"}),
        Alerts(title=name, texts=[name, "b"]),
        Code(title=name, text=f"python {name} {'x' * 200}"),
        Gallery(title=name, pictures=[picture] * 3, note=name, legend={name: (230, 159, 0)}),
    ]


@pytest.fixture
def page():
    """Make a page whose texts are all ``name``."""

    def make(name="cell", sections=2):
        parts = [Section(title=name, blocks=blocks(name), intro=name) for _ in range(sections)]
        return Page(title=name, subtitle=name, sections=parts)

    return make


@pytest.fixture
def ordered():
    """A page whose table, chart and pictures have an order that shows what was done to them."""
    rows = [["a", 0.5], ["b", None], ["c", 12.0], ["d", -0.25]]
    line = Line(name="loss", x=range(9), y=[2.0 * k for k in range(9)])
    chart = LineChart(
        title="Loss", x_label="step", y_label="loss", lines=[line], y_limits=(0, 16), alt="Rises."
    )
    pictures = [
        Picture(image=np.zeros((9, 9, 3), np.uint8), caption=name, alt=name)
        for name in ("first", "second")
    ]
    parts = [
        Table(title="Scores", headings=["class", "AP"], rows=rows),
        chart,
        Gallery(title="Worst", pictures=pictures),
    ]
    return Page(title="run", subtitle="", sections=[Section(title="All", blocks=parts)])
