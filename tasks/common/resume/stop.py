"""Signals that ask a run to stop, and when it does."""

import atexit
import multiprocessing
import os
import signal
import threading
from types import FrameType
from typing import Final

_SIGNALS: Final = signal.SIGINT, signal.SIGTERM


class StopRequest(Exception):  # noqa: N818 (no error)
    """Raised between two steps, once all is saved, with the number of the signal."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


class StopSignals:
    """Notes Ctrl-C and SIGTERM, so that a run can stop where it can go on exactly.

    A second Ctrl-C raises KeyboardInterrupt, wherever the run is. A scheduler may send SIGTERM
    more than once. `received` is the first signal's number, 0 before.
    """

    def __init__(self) -> None:
        self.received = 0
        self._confirms = True

    def listen(self, *, confirms: bool) -> None:
        """Take over the signals until the fit ends; ``confirms``: announce one on the terminal."""
        self._confirms = confirms
        if threading.current_thread() is threading.main_thread():  # only there they can be
            for number in _SIGNALS:
                signal.signal(number, self._note)
        atexit.unregister(end_loaders)
        atexit.register(end_loaders)  # before multiprocessing's own, which waits for them

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if self.received and number == signal.SIGINT:
            raise KeyboardInterrupt
        if not self.received and self._confirms:
            # Not print: the signal may have come in the middle of one.
            name = signal.Signals(number).name
            line = f"\n{name}: stopping after this step or validation; Ctrl-C again stops at once\n"
            os.write(2, line.encode())
        self.received = self.received or number


def leave_stopping_to_the_run() -> None:
    """Ignore signals in a process that loads data: the run needs it for its step, then ends it."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def end_loaders() -> None:
    """Kill the processes that load data: they ignore the signal by which Python would end them."""
    if loaders := [child for child in multiprocessing.active_children() if child.daemon]:
        # torch's handler raises for one that is killed.
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for loader in loaders:
            loader.kill()
