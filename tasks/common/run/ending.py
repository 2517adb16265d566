"""What follows training: every step by itself, so that one that fails takes nothing else along."""

import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Final

_SIGNALS: Final = signal.SIGINT, signal.SIGTERM
_EXPLAINED: Final = (ValueError, OSError, FloatingPointError, MemoryError)
"""Errors whose message says what is wrong; of others the place is shown as well."""


class EndingError(RuntimeError):
    """Training ended well, and something that follows it did not."""


class Ending:
    """Carries out the steps that follow training, and remembers what went wrong.

    After Ctrl-C or SIGTERM only the brief steps are carried out: those that write what is known.

    Attributes:
        faults: What failed, and why.
        cause: The first error; None if there was none.
        stopped: The number of the signal that stopped it; 0 for none.
    """

    def __init__(self) -> None:
        self.faults: dict[str, str] = {}
        self.cause: BaseException | None = None
        self.stopped = 0

    def do(self, what: str, action: Callable[[], object], *, brief: bool = False) -> bool:
        """Carry out a step; return whether it succeeded.

        Args:
            what: What the step makes, for the message.
            action: The step.
            brief: Whether it is carried out after a signal as well.
        """
        if self.stopped and not brief:
            self.faults[what] = "not begun"
            return False
        try:
            with self._listening():
                action()
        except (Exception, KeyboardInterrupt, SystemExit) as error:
            self._note(what, error)
            return False
        return True

    def _note(self, what: str, error: BaseException) -> None:
        self.cause = self.cause or error
        if self.stopped or not isinstance(error, Exception):  # Lightning exits after Ctrl-C
            self.stopped = self.stopped or signal.SIGINT
            self.faults[what] = f"interrupted by {signal.Signals(self.stopped).name}"
            return
        said = str(error).strip() or "no message"
        self.faults[what] = said if isinstance(error, _EXPLAINED) else f"{_kind(error)}: {said}"
        if not isinstance(error, _EXPLAINED):
            with suppress(OSError, ValueError):  # the terminal may be gone
                traceback.print_exception(error, file=sys.stderr)

    @contextmanager
    def _listening(self) -> Iterator[None]:
        """Make a KeyboardInterrupt of either signal, whatever Lightning left of their handlers."""
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


def _kind(error: BaseException) -> str:
    return type(error).__name__
