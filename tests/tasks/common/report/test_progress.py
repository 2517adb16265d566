"""A bar on a terminal, numbered lines elsewhere."""

from io import StringIO

import pytest
from rich.console import Console

from tasks.common.report.progress import Step, progress


@pytest.fixture
def shown():
    """Show steps and return what was printed."""

    def show(steps, *, terminal=False):
        console = Console(file=StringIO(), force_terminal=terminal, highlight=False)
        with progress("images", console) as step:
            for one in steps:
                step(one)
        return console.file.getvalue()

    return show


def test_without_a_terminal_lines_have_their_numbers(shown):
    steps = [Step(text="a note"), Step(text="b.png: 2", done=1, total=2), Step(done=2, total=2)]
    assert shown(steps) == "a note\n1 of 2 b.png: 2\n"


@pytest.mark.parametrize("terminal", [True, False])
def test_a_name_that_is_no_text_is_printed(shown, terminal):
    assert "b\\udcff.png: skipped" in shown([Step(text="b\udcff.png: skipped")], terminal=terminal)


def test_a_long_silence_is_broken(shown, monkeypatch):
    seconds = iter([0, 3, 6, 6, 7, 9, 12, 12])
    monkeypatch.setattr("tasks.common.report.progress.time.monotonic", lambda: next(seconds))
    steps = [Step(done=number, total=9) for number in range(1, 6)]
    assert shown(steps) == "2 of 9 images\n5 of 9 images\n"


def test_on_a_terminal_lines_stand_above_a_bar_with_the_speed(shown):
    steps = [Step(text=f"{n}.png: it is seen", done=n, total=4) for n in (1, 2, 3)]
    printed = shown(steps, terminal=True)
    assert "1.png: it is seen" in printed
    assert "3 of 4 images" in printed
    assert " images/s" in printed
    assert shown([Step(text="a note")], terminal=True).count("of") == 0
