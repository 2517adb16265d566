"""Advice in messages that fits the command that is running.

What reads data for training also reads it for scoring, where there are no options of training.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

_TRAINS: Final = ContextVar("trains", default=True)


@contextmanager
def without_training() -> Iterator[None]:
    """Within it no message names options of a training run, such as ``on_bad_image``."""
    token = _TRAINS.set(False)
    try:
        yield
    finally:
        _TRAINS.reset(token)


def advice(training: str, *, otherwise: str = "") -> str:
    """Return what a message advises.

    Args:
        training: Advice that names options of a training run.
        otherwise: What to advise to a command that has no such options.
    """
    return training if _TRAINS.get() else otherwise
