"""What stands in the cells of a table, and how it is sorted and shaded."""

import math

from tasks.common.report.page.blocks import Matrix, Table
from tasks.common.report.page.tables import matrix, table
from tests.tasks.common.report.page.parsed import parse


def made(headings, rows, note=""):
    return parse(table(Table(title="Scores", headings=headings, rows=rows, note=note)))


def cells(tree):
    return [[cell.text for cell in row.children] for row in tree.one("tbody").all("tr")]


def test_floats_have_three_digits_and_what_is_not_there_is_a_dash():
    rows = [["a", 0.40439, 3, None], ["<b>", math.nan, 12, 0.5]]
    tree = made(["class", "AP", "n", "AR"], rows, note="Of all.")
    assert cells(tree) == [["a", "0.404", "3", "-"], ["<b>", "-", "12", "0.500"]]
    assert [head.text for head in tree.all("th")[:4]] == ["class", "AP", "n", "AR"]
    assert tree.one("p", "note").text == "Of all."


def test_numbers_stand_right_and_are_sorted_by_their_whole_value():
    tree = made(["class", "AP"], [["a", 0.40439], ["b", None]])
    first, second = (row.children[1] for row in tree.one("tbody").all("tr"))
    assert first.attributes == {"class": "n", "data-v": "0.40439"}
    assert second.attributes == {"class": "n"}
    assert tree.one("tbody").all("th")[0].attributes["class"] == "short"


def test_a_table_without_rows_has_its_headings():
    assert cells(made(["a", "b"], [])) == []


def test_a_matrix_is_shaded_by_the_share_of_a_row():
    block = Matrix(
        title="Confusion",
        rows=["a", "b"],
        columns=["a", "b", "none"],
        values=[[3, 1, 0], [0, 0, 0]],
        row_label="truth",
        column_label="found",
        alt="Most are right.",
    )
    tree = parse(matrix(block))
    shares = [cell.attributes["style"] for cell in tree.all("td")]
    assert shares[:3] == ["--share:75%", "--share:25%", "--share:0%"]
    assert shares[3:] == ["--share:0%"] * 3
    assert cells(tree) == [["a", "3", "1", "0"], ["b", "0", "0", "0"]]
    assert [cell.text for cell in tree.all("td", "half")] == ["3"]
    assert tree.all("th")[0].text == "truth \\ found"
