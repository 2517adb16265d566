"""What takes long is said now and then, and nothing where it does not."""

from tasks.common.report import progress
from tasks.common.report.progress import with_progress


def test_lines_come_every_few_seconds_and_none_at_the_end(monkeypatch, capsys):
    clock = iter([0.0, 2.0, 6.0, 6.0, 7.0, 20.0])  # start, then after each; a line asks again
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))

    assert list(with_progress("abcd", total=4, what="letters read")) == list("abcd")

    assert capsys.readouterr().out == "2 of 4 letters read\n"


def test_what_is_quick_says_nothing(capsys):
    assert list(with_progress(range(3), total=3, what="read")) == [0, 1, 2]
    assert capsys.readouterr().out == ""
