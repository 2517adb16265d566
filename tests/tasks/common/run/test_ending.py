"""Steps that follow training: each by itself."""

import os
import signal

import pytest
import torch

from backbones.errors import UserError
from tasks.common.run.ending import Ending


@pytest.fixture
def ending():
    return Ending()


def failing(error):
    def fail():
        raise error

    return fail


@pytest.mark.parametrize(
    ("error", "said", "traced"),
    [
        (UserError("x.png is damaged"), "x.png is damaged", False),
        (OSError(28, "No space left on device"), "[Errno 28] No space left on device", False),
        (BrokenPipeError(32, "Broken pipe"), "[Errno 32] Broken pipe", False),
        (torch.OutOfMemoryError("CUDA out of memory"), "OutOfMemoryError: CUDA out of", True),
        (ValueError("a defect"), "ValueError: a defect", True),
        (TypeError("a defect"), "TypeError: a defect", True),
        (RuntimeError(), "RuntimeError: no message", True),
    ],
)
def test_a_step_that_fails_takes_no_other_along(ending, capsys, error, said, traced):
    assert ending.do("the test", failing(error)) is None
    assert ending.do("the report", lambda: 1) == 1
    assert ending.do("the pictures", failing(UserError("later"))) is None
    assert list(ending.faults) == ["the test", "the pictures"]
    assert said in ending.faults["the test"]
    assert ending.cause is error
    assert ending.stopped == 0
    assert ("Traceback" in capsys.readouterr().err) == traced


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_after_a_signal_only_brief_steps_are_carried_out(ending, number):
    before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    assert ending.do("the test", lambda: os.kill(os.getpid(), number)) is None
    assert ending.do("the report", lambda: "report", brief=True) == "report"
    assert ending.do("the pictures", lambda: "pictures") is None
    name = signal.Signals(number).name
    assert ending.faults == {"the test": f"interrupted by {name}", "the pictures": "not begun"}
    assert ending.stopped == number
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == before


def test_an_exit_is_a_signal_that_lightning_took(ending):
    assert ending.do("the test", failing(SystemExit(1))) is None
    assert ending.stopped == signal.SIGINT


def test_nothing_failed_is_nothing_to_say(ending):
    assert ending.do("the test", lambda: 0) == 0
    assert (ending.faults, ending.cause) == ({}, None)
