"""What follows training: every step by itself, so that one that fails does not stop the others."""

import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Final, TypeVar

from backbones.errors import UserError

T = TypeVar("T")

_SIGNALS: Final = signal.SIGINT, signal.SIGTERM
_EXPLAINED: Final = (UserError, OSError, FloatingPointError, MemoryError)
"""Errors whose message says what is wrong; others are shown with their trace."""


class Ending:
    """Carries out what follows training; after a signal the brief steps only; notes what failed."""

    def __init__(self) -> None:
        self.faults: dict[str, str] = {}
        self.cause: BaseException | None = None
        self.stopped = 0

    @property
    def text(self) -> str:
        """How a run has ended: ``finished``, or that a part of what follows training failed."""
        if self.stopped:
            return f"trained; interrupted by {signal.Signals(self.stopped).name} after that"
        return "trained; what follows failed in part" if self.faults else "finished"

    def do(self, what: str, action: Callable[[], T], *, brief: bool = False) -> T | None:
        """Carry out the step ``what``; return its result, or None if it failed or was left out."""
        if self.stopped and not brief:
            self.faults[what] = "not begun"
            return None
        try:
            with self._listening():
                return action()
        except (Exception, KeyboardInterrupt, SystemExit) as error:
            self._note(what, error)
            return None

    def _note(self, what: str, error: BaseException) -> None:
        self.cause = self.cause or error
        if self.stopped or not isinstance(error, Exception):  # Lightning exits after Ctrl-C
            self.stopped = self.stopped or signal.SIGINT
            self.faults[what] = f"interrupted by {signal.Signals(self.stopped).name}"
            return
        text = str(error).strip() or "no message"
        kind = type(error).__name__
        self.faults[what] = text if isinstance(error, _EXPLAINED) else f"{kind}: {text}"
        if not isinstance(error, _EXPLAINED):
            with suppress(OSError, ValueError):  # the terminal may be gone
                traceback.print_exception(error, file=sys.stderr)

    @contextmanager
    def _listening(self) -> Iterator[None]:
        """Raise KeyboardInterrupt on either signal, whichever handlers Lightning has set."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._interrupt) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def _interrupt(self, number: int, _frame: FrameType | None) -> None:
        self.stopped = self.stopped or number
        raise KeyboardInterrupt
