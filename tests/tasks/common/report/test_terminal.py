"""What a run prints, read back from the terminal."""

import math

from tasks.common.report import terminal
from tasks.common.report.terminal import print_facts, print_line, print_scores, with_progress


def test_facts_are_printed_below_their_title(capsys):
    print_facts("Keel", {"data": "/a/b.json", "lr": "0.02 (as configured)"})
    title, data, lr, _ = capsys.readouterr().out.splitlines()
    assert "Keel" in title
    assert data.split()[1:3] == ["data", "/a/b.json"]
    assert lr.split()[1:3] == ["lr", "0.02"]


def test_scores_have_three_decimals_and_nan_is_a_dash(capsys):
    rows = {"all": (0.12345, math.nan), "disk": (7, "text")}
    print_scores("Scores", ("AP", "AP50"), rows)
    lines = capsys.readouterr().out.splitlines()
    cells = [line.replace("│", " ").replace("┃", " ").split() for line in lines]
    assert ["Scores"] in cells
    assert ["AP", "AP50"] in cells
    assert ["all", "0.123", "-"] in cells
    assert ["disk", "7", "text"] in cells


def test_names_in_brackets_and_colons_are_printed_as_they_are(capsys):
    """Rich would take them for styles and emoji, or refuse them."""
    name = "[/x] [red] :dog:"
    print_line(name)
    print_facts("Keel", {name: name})
    print_scores(name, (name,), {name: (0.5,)})
    assert capsys.readouterr().out.count(name) == 1 + 2 + 3


def test_a_long_line_is_not_broken(capsys):
    line = "word " * 60
    print_line(line)
    assert capsys.readouterr().out == line + "\n"


def test_no_number_is_cut_where_the_terminal_is_narrow(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    headings = [f"{word} error" for word in ("volume", "absolute", "relative", "signed", "other")]
    rows = {"mean of classes": [123456.789, -2296.5, 0.25, math.nan, 10.0], "a": [1.0] * 5}
    print_scores("Scores", headings, rows)
    text = capsys.readouterr().out
    assert "…" not in text
    assert all(len(line) <= 60 for line in text.splitlines())
    for number in ("123456.789", "-2296.500", "0.250", "10.000", "volume", "absolute", "classes"):
        assert text.count(number) == (2 if number == "classes" else 1)
    assert text.count("Scores") == 1


def test_progress_is_printed_every_few_seconds_and_not_at_the_end(monkeypatch, capsys):
    assert list(with_progress(range(3), total=3, what="read")) == [0, 1, 2]
    assert capsys.readouterr().out == ""  # it was quick
    clock = iter([0.0, 2.0, 6.0, 6.0, 7.0, 20.0])  # start, then after each; a line asks again
    monkeypatch.setattr(terminal.time, "monotonic", lambda: next(clock))
    assert list(with_progress("abcd", total=4, what="letters read")) == list("abcd")
    assert capsys.readouterr().out == "2 of 4 letters read\n"
